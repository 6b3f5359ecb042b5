"""A good recipe to spoil, and a way to write files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adaptkit.errors import AdaptkitError

GOOD = """\
# A film's genres from its plot and its poster.
schema = 1
name = "films"

[backbone]
model = "bert-base"

[modality.plot]
kind = "text"
route = "backbone"

[modality.poster]
kind = "features"
width = 64
route = "side"

[adapter.fuse]
kind = "gmu"
at = ["attn.out", "mlp.out"]
sides = ["poster"]
bottleneck = 8

[data]
format = "jsonl"

[task.genres]
kind = "multilabel"

[train]
optimizer = { name = "adamw", lr = 1e-4 }
"""


@pytest.fixture
def good() -> str:
    return GOOD


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a recipe into an empty working folder; the path it hands back is relative."""
    monkeypatch.chdir(tmp_path)

    def to(text: str, name: str = "films.toml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return path

    return to


@pytest.fixture
def spoiled(write: Callable[..., Path], good: str) -> Callable[..., list[str]]:
    """The lines of the error that the good recipe gives after replacements and `--set`s."""
    from adaptkit.recipe import load_recipe

    def lines(*replacements: tuple[str, str], sets: tuple[str, ...] = ()) -> list[str]:
        text = good
        for old, new in replacements:
            assert old in text, f"the good recipe has no {old!r}"
            text = text.replace(old, new)
        with pytest.raises(AdaptkitError) as caught:
            load_recipe(write(text), sets)
        return str(caught.value).splitlines()

    return lines
