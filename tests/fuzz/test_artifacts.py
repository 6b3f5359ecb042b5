"""A short, seeded form of the property that no damaged artifact gives another result."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from adaptkit.artifact import load_artifact
from tests.fuzz.artifacts import damaged_artifacts, outcome


def test_damaged_artifacts_are_refused_or_bit_exact(tiny_run: Path, tmp_path: Path) -> None:
    expected, seen = load_artifact(tiny_run), Counter[str]()
    for damaged in damaged_artifacts(tiny_run / "artifact", tmp_path, count=150, seed=7):
        try:
            seen[outcome(damaged.folder, expected)] += 1
        except BaseException as error:
            error.add_note(f"damage {damaged.what}")
            raise
    assert seen["refused"] > 120
    assert seen["exact"] > 0  # a changed space, or an entry exchanged with itself


def test_the_same_seed_makes_the_same_damages(tiny_run: Path, tmp_path: Path) -> None:
    def told(seed: int) -> list[str]:
        return [each.what for each in damaged_artifacts(tiny_run / "artifact", tmp_path, count=30, seed=seed)]

    assert told(1) == told(1)
    assert told(1) != told(2)
