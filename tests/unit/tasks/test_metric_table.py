"""The table of metrics, and what can be listed without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from adaptkit.kinds import METRICS, TASKS
from adaptkit.tasks.metric import all_metrics, metrics_in
from tests.unit.tasks.measuring import metrics_of


@pytest.mark.parametrize("kind", [*TASKS])
def test_the_default_monitor_of_every_kind_is_one_of_its_metrics(kind: str) -> None:
    assert TASKS[kind].default_monitor in metrics_of(kind)
    assert "loss" not in metrics_of(kind)


def test_every_metric_is_described_in_one_line_and_once() -> None:
    metrics = all_metrics()
    assert len({metric.name for metric in metrics}) == len(metrics)
    assert all(10 < len(metric.description) < 90 for metric in metrics)


def test_the_index_says_what_the_classes_declare() -> None:
    for point in (TASKS, METRICS):
        for name, kind in point.kinds.items():
            assert metrics_in(kind) == point[name].metrics


def test_tasks_metrics_and_formats_can_be_listed_without_torch_or_scikit_learn() -> None:
    code = (
        "import sys, adaptkit.tasks, adaptkit.data; from adaptkit.tasks.metric import all_metrics; all_metrics();"
        "assert not {'torch', 'numpy', 'sklearn', 'scipy', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_metrics_per_label_are_named_after_the_labels() -> None:
    names = list(metrics_of("multilabel", "iemocap", ("happy", "sad")))
    assert [name for name in names if "happy" in name] == ["accuracy_happy", "f1_weighted_happy"]
    assert "mean_accuracy" in names
    assert not any("LABEL" in name or name.startswith("weighted_accuracy") for name in names)
    assert "mean_accuracy" not in metrics_of("multilabel", "none", ("happy", "sad"))


def test_metrics_of_a_set_say_so() -> None:
    where = {metric.name: tasks for metric, tasks in all_metrics().items()}
    assert where["acc2_has0"] == "regression (mosi)"
    assert where["f1_micro"] == "classification, multilabel"
    assert where["mean_f1_weighted"] == "multilabel (iemocap, mosei_emotions)"
    assert "acc2_has0" in metrics_of("regression", "mosi")
    assert "acc2_has0" not in metrics_of("regression", "sims")
