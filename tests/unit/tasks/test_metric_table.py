"""The table of metrics, and what can be listed without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from adaptkit.tasks import METRICS, TASKS
from adaptkit.tasks.metric import metrics_of


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "retrieval"])
def test_the_default_monitor_of_every_kind_is_one_of_its_metrics(kind: str) -> None:
    assert TASKS[kind].default_monitor in metrics_of(kind)
    assert "loss" not in metrics_of(kind)


def test_every_metric_is_described_in_one_line() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert 10 < len(metric.description) < 90


def test_tasks_metrics_and_formats_can_be_listed_without_torch_or_scikit_learn() -> None:
    code = (
        "import sys, adaptkit.tasks, adaptkit.data, adaptkit.evaluation.metrics;"
        "assert not {'torch', 'sklearn', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_metrics_per_label_are_named_after_the_labels() -> None:
    names = list(metrics_of("multilabel", "iemocap", ("happy", "sad")))
    assert [name for name in names if "happy" in name] == ["accuracy_happy", "f1_weighted_happy"]
    assert "mean_accuracy" in names
    assert not any("LABEL" in name or name.startswith("weighted_accuracy") for name in names)
    assert "mean_accuracy" not in metrics_of("multilabel", "none", ("happy", "sad"))


def test_metrics_of_a_convention_say_so() -> None:
    assert METRICS["acc2_has0"].where == "regression (mosi)"
    assert METRICS["f1_micro"].where == "classification, multilabel"
    assert "acc2_has0" in metrics_of("regression", "mosi")
    assert "acc2_has0" not in metrics_of("regression", "sims")
