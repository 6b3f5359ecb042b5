"""Metrics where a share of the samples lacks modalities."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adaptkit.errors import UsageError
from adaptkit.evaluation import evaluate
from adaptkit.evaluation.measure import Measured, lacks, without
from adaptkit.evaluation.robustness import robustness_of

IDS = [f"sample {number}" for number in range(2000)]


def test_the_share_is_drawn_by_the_ids_and_grows() -> None:
    assert not any(lacks(name, 0.0) for name in IDS)
    assert all(lacks(name, 1.0) for name in IDS)
    some, more = ([name for name in IDS if lacks(name, rate)] for rate in (0.25, 0.5))
    assert set(some) < set(more)
    assert len(some) / len(IDS) == pytest.approx(0.25, abs=0.03)
    assert len(more) / len(IDS) == pytest.approx(0.5, abs=0.03)


def test_who_is_absent_already_stays_absent() -> None:
    present = torch.tensor([True, False, True, True])
    inputs = {"image": {"values": torch.ones(4), "present": present}, "audio": {"present": present}}
    ids = IDS[:4]
    left = without(inputs, ids, ["image"], 0.5)
    kept = torch.tensor([not lacks(name, 0.5) for name in ids])
    assert left["image"]["present"].tolist() == (present & kept).tolist()
    assert left["audio"]["present"] is present
    assert inputs["image"]["present"] is present


def test_each_alone_and_all_together_and_the_whole_once() -> None:
    asked = []

    def look(split: str, dropped: tuple[str, ...], rate: float) -> Measured:
        asked.append((dropped, rate))
        return Measured({"mae": rate}, (), IDS[:10], {})

    found = robustness_of(look, ["image", "audio"], (0, 0.5, 1), ["test"])
    groups = [("image",), ("audio",), ("image", "audio")]
    assert [(lack.dropped, lack.rate) for lack in found] == [(group, rate) for group in groups for rate in (0, 0.5, 1)]
    assert [lack.metrics["mae"] for lack in found] == [0, 0.5, 1] * 3
    assert asked.count((("image",), 0)) == 1
    assert len(asked) == 1 + 3 * 2
    assert {lack.absent for lack in found if lack.rate == 0.5} == {sum(lacks(name, 0.5) for name in IDS[:10])}
    assert [lack.dropped for lack in robustness_of(look, ["image"], (1,), ["test"])] == [("image",)]


def test_a_trained_model(tiny_run: Path) -> None:
    plain = evaluate(tiny_run, device="cpu")
    found = evaluate(tiny_run, robustness=["all"], rates=(0, 0.5, 1), device="cpu")
    whole, half, none = found.robustness
    assert whole.metrics == plain.metrics["test"] == found.metrics["test"]
    assert none.metrics == pytest.approx(plain.ablations["features"]["test"], abs=1e-6)
    assert (whole.absent, none.absent) == (0, 16)
    assert 0 < half.absent < 16
    assert half.metrics["loss"] not in (whole.metrics["loss"], none.metrics["loss"])
    assert found.ablations == {}
    assert found.monitored == ("accuracy",)
    assert found.as_dict()["robustness"][1] == {
        "dropped": ["features"],
        "split": "test",
        "rate": 0.5,
        "absent": half.absent,
        "metrics": half.metrics,
    }


def test_splits_and_batches(tiny_run: Path) -> None:
    one, other = (
        evaluate(tiny_run, splits=["validation"], robustness=["features"], rates=[0.5], batch_size=size, device="cpu")
        for size in (3, 16)
    )
    assert [lack.split for lack in one.robustness] == ["validation"]
    assert one.robustness[0].metrics == pytest.approx(other.robustness[0].metrics, rel=1e-5)


def test_what_cannot_be_asked(tiny_run: Path) -> None:
    with pytest.raises(UsageError, match=r"--robustness  .*no modality 'feature'.*features"):
        evaluate(tiny_run, robustness=["feature"])
    with pytest.raises(UsageError, match=r"--robustness  .*backbone's own input"):
        evaluate(tiny_run, robustness=["question"])
    with pytest.raises(UsageError, match=r"--rates  1\.5 is no share.*0,0\.5,1"):
        evaluate(tiny_run, robustness=["features"], rates=[0, 1.5])
    with pytest.raises(UsageError, match="no rate is given"):
        evaluate(tiny_run, robustness=["features"], rates=[])
    with pytest.raises(UsageError, match="at once"):
        evaluate(tiny_run, robustness=["features"], drop=["features"])
