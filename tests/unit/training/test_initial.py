"""Adapters that start from trained ones: `init_from`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adaptkit.artifact import load_artifact
from adaptkit.errors import ArtifactError
from adaptkit.recipe import load_recipe
from adaptkit.training import train

FUSION = """
extends = "tiny.toml"
name = "fused"

[adapter.fuse]
init_from = "{source}"
train = false

[adapter.other]
kind = "bottleneck"
at = ["mlp.out"]
bottleneck = 4

[adapter.both]
kind = "adapter_fusion"
at = ["mlp.out"]
sides = ["adapter:fuse", "adapter:other"]
"""


def fused(tiny_recipe: Path, source: str, changes: tuple[str, ...] = ()) -> Path:
    path = tiny_recipe.parent / "fused.toml"
    path.write_text(FUSION.format(source=source))
    return train(load_recipe(path, list(changes)), runs=tiny_recipe.parent / "runs").run


def test_trained_adapters_are_fused_and_stay_what_they_were(tiny_run: Path, tiny_recipe: Path) -> None:
    run = fused(tiny_recipe, tiny_run.as_posix())
    before = load_file(tiny_run / "artifact" / "adapter.safetensors")
    after = load_file(run / "artifact" / "adapter.safetensors")
    members = [name for name in before if ".adapters.fuse." in name]
    assert members
    assert all(torch.equal(before[name], after[name]) for name in members)
    assert any(".adapters.both." in name for name in after)
    model = load_artifact(run)
    state = model.trainable_state()
    assert all(torch.equal(state[name], value) for name, value in after.items())


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        ("nowhere", (), "does not exist"),
        ("{run}", ("adapter.fuse.bottleneck=2",), "Give the adapter the kind, sites and sizes"),
    ],
)
def test_what_cannot_be_the_beginning(
    tiny_run: Path, tiny_recipe: Path, source: str, changes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        fused(tiny_recipe, source.format(run=tiny_run.as_posix()), changes)
    assert "fused.toml" in str(caught.value)


def test_an_artifact_without_that_adapter(tiny_run: Path, tiny_recipe: Path) -> None:
    path = tiny_recipe.parent / "other.toml"
    more = f'[adapter.more]\nkind = "bottleneck"\nat = "attn.out"\ninit_from = "{tiny_run.as_posix()}"\n'
    path.write_text(f'extends = "tiny.toml"\n{more}')
    with pytest.raises(ArtifactError, match="has no adapter 'more'"):
        train(load_recipe(path), runs=tiny_recipe.parent / "runs")
