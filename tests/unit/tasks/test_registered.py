"""A kind of task, a loss, a head and a set of metrics of a user's own, from recipe to evaluation."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from torch import Tensor, nn

from adaptkit.errors import RecipeError, UnavailableError
from adaptkit.evaluation import evaluate
from adaptkit.kinds import HEADS, LOSSES, METRICS, TASKS, kinds_in, load_plugin
from adaptkit.recipe import parse_recipe, resolved_toml
from adaptkit.tasks import Metric, MetricSet, loss_for
from adaptkit.tasks.metric import all_metrics
from adaptkit.training import train

ORDINAL = Path(__file__).parents[2] / "plugins" / "ordinal.py"


@loss_for("ordinal")
def steep(logits: Tensor, targets: Tensor, *, slope: float = 1.0) -> Tensor:
    """Hinge of both sides of every threshold."""
    return (1 - slope * logits * (2 * targets - 1)).clamp(min=0).mean()


def bare(width: int, outputs: int, *, bias: bool = True) -> nn.Module:
    """One linear layer."""
    return nn.Linear(width, outputs, bias=bias)


class Exact(MetricSet):
    """How often the grade is hit."""

    tasks: ClassVar[tuple[str, ...]] = ("ordinal",)
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("exact", "share of exact grades"),)

    def compute(self, scores: np.ndarray, targets: np.ndarray, task: Any) -> tuple[dict[str, float | None], list[str]]:
        return {"exact": float(((scores > 0.5).sum(1) == targets.sum(1)).mean())}, ["all grades counted"]


@pytest.fixture
def own(forgotten_plugins: None) -> Iterator[None]:
    load_plugin(str(ORDINAL))
    entries = (
        (LOSSES, "steep", steep),
        (HEADS, "bare", bare),
        (METRICS, "grades", Exact),
    )
    for point, name, entry in entries:
        point.register(name)(entry)
    yield
    for point, name, _ in entries:
        del point[name]


@pytest.fixture
def tables(tiny_recipe: Path) -> dict[str, Any]:
    found = tomllib.loads(tiny_recipe.read_text())
    found["backbone"]["model"] = str((tiny_recipe.parent / found["backbone"]["model"]).resolve())
    found["data"]["root"] = str((tiny_recipe.parent / found["data"]["root"]).resolve())
    (name,) = found["task"]
    column = found["task"][name].get("column", name)
    keys = {"kind": "ordinal", "column": column, "head": {"kind": "bare", "bias": False}, "metrics": ["grades"]}
    return found | {"task": {"grade": {**keys, "monitor": "exact", "loss": {"kind": "steep", "slope": 2.0}}}}


def test_it_trains_and_is_evaluated(own: None, tables: dict[str, Any], tmp_path: Path) -> None:
    recipe = parse_recipe(tables)
    assert parse_recipe(tomllib.loads(resolved_toml(recipe))) == recipe
    assert {"ordinal", "steep", "bare", "grades"} <= {
        kind.name for kind in kinds_in(recipe)
    }  # an artifact asks for them
    result = train(recipe, runs=tmp_path)
    found = evaluate(result.run, device="cpu")
    metrics = found.metrics["test"]
    assert [*metrics] == ["loss", "grade_error", "exact"]
    assert metrics["exact"] == pytest.approx(1 - (metrics["grade_error"] or 0))
    assert found.monitored == ("exact",)
    assert "test: grade: all grades counted" in found.warnings
    assert "exact" in {metric.name for metric, tasks in all_metrics().items() if tasks == "ordinal (grades)"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"metrics": ["gades"]}, r'task\.grade\.metrics: there is no set of metrics "gades"\. Did you mean "grades"'),
        ({"metrics": ["mosi"]}, r'task\.grade\.metrics: the metrics "mosi" are for regression\.'),
        ({"metrics": ["grades", "grades"]}, r'task\.grade\.metrics: "grades" is named twice\.'),
        ({"loss": "mse"}, r'task\.grade\.loss: the loss "mse" is for regression\..*"steep"'),
        ({"loss": "steap"}, r'task\.grade\.loss: unknown loss "steap"\. Did you mean "steep"'),
        ({"loss": {"kind": "steep", "slpe": 1.0}}, r'task\.grade\.loss\.slpe: unknown key\. Did you mean "slope"'),
    ],
)
def test_what_does_not_fit_is_told(own: None, tables: dict[str, Any], change: dict[str, Any], expected: str) -> None:
    tables["task"]["grade"] |= change
    with pytest.raises(RecipeError, match=expected):
        parse_recipe(tables)


def test_a_set_keeps_its_promises(own: None) -> None:
    task = TASKS["ordinal"]("grade", outputs=1, sets=["grades"])
    task.sets["grades"].compute = lambda *_: ({}, [])  # type: ignore[method-assign]
    with pytest.raises(RecipeError, match="exact are declared and not computed"):
        task.measure(np.ones((2, 1)), np.ones((2, 1)))


def test_two_metrics_of_one_name_are_refused(own: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exact, "metrics", (Metric("grade_error", "something else"),))
    with pytest.raises(RecipeError, match="compute 'grade_error', which is the name of another metric"):
        TASKS["ordinal"]("grade", outputs=1, sets=["grades"])


def test_a_monitor_that_this_machine_cannot_compute_ends_before_the_training_begins(
    own: None, tables: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Exact, "lacking", lambda self: "there is no grader")
    with pytest.raises(UnavailableError, match=r"task.grade.monitor  'exact' cannot be computed.*: there is no grader"):
        train(parse_recipe(tables), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    tables["task"]["grade"]["monitor"] = "grade_error"
    train(parse_recipe(tables), runs=tmp_path / "runs")
