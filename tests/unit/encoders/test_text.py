"""Text: the backbone's tokenizer, its limits, and an absent text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from adaptkit.encoders import BackboneContext, Encoder
from adaptkit.errors import DataError, RecipeError
from adaptkit.recipe.modality import TextModality


def build(folder: Path, *, limit: int | None = None, **keys: Any) -> Encoder:
    from transformers import AutoTokenizer

    context = BackboneContext(width=16, tokenizer=lambda: AutoTokenizer.from_pretrained(folder), max_tokens=limit)
    return Encoder.build(TextModality(**{"kind": "text", "route": "backbone", **keys}), "question", context)


def test_a_batch_is_padded_to_its_longest_text(tiny_bert: Path) -> None:
    encoder = build(tiny_bert)
    batch = encoder.collate([encoder.prepare("is it big ?", "s"), encoder.prepare("red", "s")], ["a", "b"])
    assert batch["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    assert batch["input_ids"].shape == (2, 6)
    assert batch["present"].tolist() == [True, True]
    assert {"input_ids", "attention_mask", "present"} <= batch.keys()
    assert all(isinstance(tensor, torch.Tensor) for tensor in batch.values())


@pytest.mark.parametrize(("limit", "own", "expected"), [(4, None, 4), (None, 3, 3), (5, 4, 4), (4, 5, 4)])
def test_the_smaller_limit_cuts(tiny_bert: Path, limit: int | None, own: int | None, expected: int) -> None:
    encoder = build(tiny_bert, limit=limit, max_tokens=own)
    assert encoder.tokens == expected
    assert encoder.collate(["is it the big red thing ?"], ["a"])["input_ids"].shape == (1, expected)


def test_an_absent_text_is_the_empty_one(tiny_bert: Path) -> None:
    encoder = build(tiny_bert, missing="zero")
    batch = encoder.collate([None, "red"], ["a", "b"])
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["present"].tolist() == [False, True]


def test_the_tokenizer_is_loaded_when_first_needed() -> None:
    calls = []
    context = BackboneContext(width=16, tokenizer=lambda: calls.append(1))
    Encoder.build(TextModality(kind="text", route="backbone"), "question", context)
    assert not calls


def test_what_is_no_text_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(DataError, match="sample 7  question is of type int, not text"):
        build(tiny_bert).prepare(3, "sample 7")
    with pytest.raises(RecipeError, match='text cannot take route = "side"'):
        build(tiny_bert, route="side")
    with pytest.raises(RecipeError, match="this backbone reads no text"):
        Encoder.build(TextModality(kind="text", route="backbone"), "question", BackboneContext(width=16))
