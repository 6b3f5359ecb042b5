"""`export`, `merge` and `unmerge` as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adaptkit.artifact import save_artifact
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe
from tests.cli.conftest import Cli


@pytest.fixture
def artifact(tiny_recipe: Path, tmp_path: Path) -> Path:
    """Of a LoRA that changes something."""
    text = tiny_recipe.read_text().replace('route = "side"', 'route = "fusion"').replace('sides = ["features"]\n', "")
    text = (
        text.replace('kind = "gmu"', 'kind = "lora"').replace("bottleneck = 4", "rank = 2").replace("mlp.out", "mlp.up")
    )
    tiny_recipe.write_text(text)
    model = build_model(make_plan(load_recipe(tiny_recipe, ["task.answer.labels=['no', 'yes']"])))
    with torch.no_grad():
        for tensor in model.trainable_state().values():
            tensor += 0.1
    return save_artifact(model, tmp_path / "artifact")


def test_merge_and_unmerge(cli: Cli, artifact: Path, tmp_path: Path) -> None:
    merged, back = tmp_path / "merged", tmp_path / "back"
    document = cli("merge", artifact, "--output", merged, "--json").json
    assert (document["changed"], document["folder"]) == (2, str(merged))
    assert {"config.json", "model.safetensors", "unmerge.safetensors", "adapter.json"} <= set(document["files"])
    assert cli("merge", artifact, "--output", merged).code == 2
    again = cli("merge", artifact, "--output", merged, "--force")
    assert again.code == 0
    assert "largest difference of the outputs" in again.out
    assert cli("unmerge", merged, "--output", back, "--json").json["restored"] == 2
    assert "2 tensors are what they were, to the bit" in cli("unmerge", merged, "--output", back, "--force").out


def test_full_export(cli: Cli, artifact: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    assert "backbone/config.json" in cli("export", artifact, "--format", "full", "--output", full).out
    assert cli("export", full, "--format", "adaptkit", "--output", tmp_path / "small").code == 4


def test_wrong_words(cli: Cli, artifact: Path, tiny_run: Path, tmp_path: Path) -> None:
    wrong: list[tuple[list[object], int, str]] = [
        (["merge", artifact], 2, "--output"),
        (["merge", artifact, "--output", tmp_path / "x", "--tolerance", "-1"], 2, "--tolerance"),
        (["export", artifact], 2, "say what to export"),
        (["export", artifact, "--adapter-only", "--format", "full"], 2, "at once"),
        (["export", artifact, "--format", "onxn"], 2, "onxn"),
        (["export", artifact, "--format", "peft", "--upgrade"], 2, "--upgrade  does nothing with --format peft"),
        (["export", artifact, "--adapter-only", "--no-check"], 2, "--no-check  does nothing with --adapter-only"),
        *(
            (["merge", artifact, "--output", tmp_path / "x", *options], 2, f"{options[-2]}  does nothing {having}")
            for options, having in (
                (("--density", "0.2"), "without --method"),
                (("--weights", "1,2"), "without --method"),
                (("--method", "average", "--density", "0.2"), "with --method average"),
                (("--method", "ties", "--tolerance", "0.2"), "with --method ties"),
            )
        ),
        (
            ["merge", artifact, "--output", tmp_path / "x", "--method", "ties", "--no-check"],
            2,
            "--no-check  does nothing",
        ),
        (["unmerge", tmp_path / "nowhere", "--output", tmp_path / "x"], 4, "has no unmerge.safetensors"),
        (["merge", tiny_run, "--output", tmp_path / "x"], 4, "cannot be merged into weights: fuse (GMU)"),
    ]
    for words, code, message in wrong:
        outcome = cli(*words)
        assert (outcome.code, message in outcome.err) == (code, True), outcome.err
    assert not (tmp_path / "x").exists()
