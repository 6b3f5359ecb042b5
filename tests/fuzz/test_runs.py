"""A run folder with one changed bit is resumed to the very same adapter, or refused with a documented exit code."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from adaptkit.errors import AdaptkitError
from adaptkit.recipe import Recipe, load_recipe
from adaptkit.training import Callback, list_runs, train
from adaptkit.training.callbacks import StepDone

CHANGES = ("train.seeds=[1, 2]", "train.epochs=1", "train.max_steps=3", 'train.checkpoint_every="1 step"')
PER_FILE = 2
DOCUMENTED = {3, 4, 5}


class KilledInSecondSeed(Callback):
    """Copies the runs when the first seed is finished and the second has made two steps."""

    def __init__(self, runs: Path, copy: Path) -> None:
        self.runs, self.copy = runs, copy

    def step_done(self, event: StepDone) -> None:
        if (event.seed, event.step) == (2, 2):
            shutil.copytree(self.runs, self.copy)


@pytest.fixture
def recipe(tiny_recipe: Path) -> Recipe:
    return load_recipe(tiny_recipe, CHANGES)


def adapters(run: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("adapter.safetensors")}
    return found | {"predictions": (run / "predictions" / "test.jsonl").read_bytes()}


def changed_bits(folder: Path, rng: random.Random) -> list[tuple[Path, int, int]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    return [(path, rng.randrange(path.stat().st_size), rng.randrange(8)) for path in files for _ in range(PER_FILE)]


def test_one_changed_bit_anywhere(recipe: Recipe, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    expected = train(recipe, runs=tmp_path / "whole", callbacks=[KilledInSecondSeed(tmp_path / "whole", killed)])
    whole, ended = adapters(expected.run), {"the same": 0, "refused": 0}
    for number, (path, place, bit) in enumerate(changed_bits(killed, random.Random(5))):
        again = Path(shutil.copytree(killed, tmp_path / f"again{number}"))
        damaged = again / path.relative_to(killed)
        content = bytearray(damaged.read_bytes())
        content[place] ^= 1 << bit
        damaged.write_bytes(content)
        what = f"bit {bit} of byte {place} of {path.relative_to(killed)}"
        try:
            result = train(recipe, runs=again, resume=list_runs(again)[0].path)
        except AdaptkitError as error:
            assert error.code in DOCUMENTED, f"{what}: {error}"  # noqa: PT017 - either end is right
            ended["refused"] += 1
        else:
            assert adapters(result.run) == whole, what
            assert result.metrics == expected.metrics, what
            ended["the same"] += 1
        shutil.rmtree(again)
    assert min(ended.values()) > 0, ended
