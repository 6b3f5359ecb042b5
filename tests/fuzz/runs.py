"""Campaigns of damaged checkpoints and runs: each is refused in words, or goes on from what was written, to the bit."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from adaptkit.errors import AdaptkitError
from adaptkit.recipe import Recipe, load_recipe
from adaptkit.training import Callback, list_runs, train
from adaptkit.training.callbacks import StepDone
from adaptkit.training.checkpoint import LAST, PREVIOUS, load_best, newest_checkpoint, read_checkpoint
from tests.fuzz.bytewise import damaged_copy
from tests.fuzz.campaign import Campaign, Case
from tests.fuzz.recipes import prepared

DOCUMENTED = {3, 4, 5}
CHANGES = ("train.seeds=[3]", "train.epochs=2", "train.max_steps=4", 'train.checkpoint_every="1 step"')
KEPT = 3  # steps of the run that is damaged: an epoch has two, so that there is a best state


class Copies(Callback):
    """Keeps the runs as they are after so many steps."""

    def __init__(self, runs: Path, copy: Path) -> None:
        self.runs, self.copy = runs, copy

    def step_done(self, event: StepDone) -> None:
        if event.step == KEPT and not self.copy.exists():
            shutil.copytree(self.runs, self.copy)


@cache
def killed(folder: Path) -> tuple[Recipe, Path, dict[str, bytes]]:
    """A recipe, its runs as a kill leaves them, and what becomes of one that is left alone."""
    recipe = load_recipe(prepared(folder) / "base.toml", CHANGES)
    middle = folder / "killed"
    whole = train(recipe, runs=folder / "whole", callbacks=[Copies(folder / "whole", middle)])
    return recipe, middle, results(whole.run)


def results(run: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in (run / "artifact" / "adapter.safetensors", *run.glob("predictions/*"))
    }


def same(one: Any, other: Any) -> bool:
    """Equal to the bit, also where it is not a number."""
    if isinstance(one, Tensor):
        alike = isinstance(other, Tensor) and (one.dtype, one.shape) == (other.dtype, other.shape)
        return alike and torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))
    if isinstance(one, dict):
        return isinstance(other, dict) and [*one] == [*other] and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def load(seed: str, folder: Path) -> Case:
    """One or two damaged files among the checkpoints; what is read of them."""
    _, middle, _ = killed(folder)
    (source,) = middle.glob("*/*/checkpoints")
    target = folder / "checkpoints"
    what = damaged_copy(source, target, Random(seed))
    written = [read_checkpoint(source / name) for name in (LAST, PREVIOUS)]
    none_left = not (target / LAST).exists() and not (target / PREVIOUS).exists()
    try:
        state, _ = newest_checkpoint(target)
        best = load_best(target)
    except AdaptkitError as error:
        fault = "" if error.code in DOCUMENTED and str(target) in str(error) else f"{what}: {error.code}: {error}"
        return Case("refused", fault)
    except Exception as error:
        return Case("fault", f"{what}: {type(error).__name__}: {error}"[:300])
    if not same(asdict(best), asdict(load_best(source))):
        return Case("fault", f"{what}: another best state")
    if state is None:
        return Case("from the start", "" if none_left else f"{what}: begins anew")
    which = [name for name, each in zip(("the last", "the one before"), written, strict=True) if same(state, each)]
    return Case(which[0] if which else "fault", "" if which else f"{what}: another state")


def resume(seed: str, folder: Path) -> Case:
    """One or two damaged files anywhere in a run; where it goes on, its results."""
    recipe, middle, expected = killed(folder)
    target = folder / "again"
    what = damaged_copy(middle, target, Random(seed))
    try:
        found = train(recipe, runs=target, resume=list_runs(target)[0].path)
    except AdaptkitError as error:
        return Case("refused", "" if error.code in DOCUMENTED else f"{what}: exit code {error.code}: {error}")
    except Exception as error:
        return Case("fault", f"{what}: {type(error).__name__}: {error}"[:300])
    alike = results(found.run) == expected
    return Case("the same" if alike else "fault", "" if alike else f"{what}: another result")


CAMPAIGNS = (
    Campaign("checkpoints: load", full=1_000, short=60, try_case=load),
    Campaign("runs: resume", full=200, short=0, try_case=resume),  # test_runs.py is its short form
)
