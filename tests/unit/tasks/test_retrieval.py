"""Retrieval: marks of items, the loss over a batch, and what is found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from adaptkit.errors import DataError, RecipeError
from adaptkit.tasks import Task
from adaptkit.tasks.retrieval.table import Retrieval


def build(**keys: Any) -> Task:
    return Task.build(Retrieval(kind="retrieval", query="caption", **keys), "match", None)


def outputs(samples: int, width: int = 5) -> torch.Tensor:
    torch.manual_seed(0)
    halves = F.normalize(torch.randn(2, samples, width), dim=2)
    return torch.cat([halves[0] / 0.07, halves[1]], dim=1)


def test_equal_items_get_equal_marks_in_every_batch() -> None:
    marks = build().encode(["video1", 2, "video1"], list("abc"))
    assert marks[0] == marks[2] != marks[1]
    assert build().encode(["x", "video1"], list("ab"))[1] == marks[0]
    assert marks.dtype == torch.int64
    with pytest.raises(DataError, match=r"sample a  the label 1\.5 is of type float"):
        build().encode([1.5], ["sample a"])


def test_without_shared_items_the_loss_is_that_of_clip() -> None:
    logits = outputs(4)
    products = logits[:, :5] @ logits[:, 5:].T
    diagonal = torch.arange(4)
    expected = (F.cross_entropy(products, diagonal) + F.cross_entropy(products.T, diagonal)) / 2
    torch.testing.assert_close(build().loss(logits, torch.tensor([3, 1, 7, 5])), expected)


def test_samples_of_one_item_are_positives_of_each_other() -> None:
    logits, marks = outputs(3), torch.tensor([4, 9, 4])
    products = (logits[:, :5] @ logits[:, 5:].T).tolist()
    total = 0.0
    for table in (products, list(zip(*products, strict=True))):
        for row, positives in zip(table, ([0, 2], [1], [0, 2]), strict=True):
            spread = torch.tensor(row).logsumexp(0).item()
            total += sum(spread - row[at] for at in positives) / len(positives) / 3 / 2
    assert build().loss(logits, marks).item() == pytest.approx(total, rel=1e-5)
    one_item = build().loss(logits, torch.tensor([1, 1, 1]))
    assert one_item.requires_grad is False
    assert one_item.isfinite()


def test_the_loss_is_computed_in_float32_and_of_one_sample_it_is_0() -> None:
    assert build().loss(outputs(3).bfloat16(), torch.tensor([0, 1, 2])).dtype == torch.float32
    assert build().loss(outputs(1), torch.tensor([5])) == 0


def test_decoding_finds_each_item_once_by_its_name() -> None:
    items = torch.eye(3)[[0, 1, 1, 2]]
    queries = torch.tensor([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.6, 0.8]]) * 14
    found = build().decode(torch.cat([queries, items], dim=1), ["a", "b", "b", "c"])
    assert [line["items"] for line in found] == [["c", "a", "b"], ["b", "a", "c"], ["a", "b", "c"], ["c", "b", "a"]]
    assert found[0]["cosines"] == pytest.approx([0.8, 0.6, 0.0])


def test_decoding_gives_ten_of_many() -> None:
    (first, *_) = build().decode(outputs(12), [str(number) for number in range(12)])
    assert len(first["items"]) == len(set(first["items"])) == 10
    assert first["cosines"] == sorted(first["cosines"], reverse=True)


def test_monitors_and_outputs() -> None:
    assert build(width=32).outputs == 64
    assert build().monitor == "q2g_r1"
    assert build(monitor="g2q_mnr").higher_is_better("g2q_mnr") is False
    with pytest.raises(RecipeError, match="'n_gallery' is no metric"):
        build(monitor="n_gallery")
