"""The campaign of damaged artifacts: each is refused in words, or gives the very same bits."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

from tests.fuzz.artifacts import damaged_artifacts, outcome
from tests.fuzz.campaign import Campaign, Case
from tests.fuzz.recipes import prepared, run


@cache
def trained(folder: Path) -> tuple[Path, Any]:
    """The artifact of one step of a small recipe, made once, and its model."""
    from adaptkit.artifact import load_artifact

    runs = folder / "trained"
    if not runs.is_dir():
        recipe = prepared(folder) / "base.toml"
        code, told = run("train", recipe, "--set", "train.max_steps=1", "--runs", runs)
        assert code == 0, told
    (artifact,) = runs.glob("*/*/artifact")
    return artifact, load_artifact(artifact)


def damaged(seed: str, folder: Path) -> Case:
    artifact, expected = trained(folder)
    number = crc32(seed.encode())
    # Ten sorts of damage take turns.
    *_, damage = damaged_artifacts(artifact, folder / "damaged", count=1 + number % 10, seed=number)
    try:
        return Case(outcome(damage.folder, expected))
    except Exception as error:  # an assertion of `outcome`, or anything that is no error of ours
        return Case("fault", f"{damage.what}: {type(error).__name__}: {error}"[:300])


CAMPAIGNS = (Campaign("artifacts: load", full=1_000, short=0, try_case=damaged),)  # test_artifacts.py is its short form
