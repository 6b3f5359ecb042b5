"""What commands say, where it was once misleading."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptkit.errors import Problem, RecipeError, nearest
from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("vit_basee", ["gcvit_base", "vit_base_patch16_224", "vit_tiny_patch16_224"], "vit_base_patch16_224"),
        ("bertt", ["bart-base", "bert-base", "bert-base-cased", "distilbert"], "bert-base"),
        ("rnak", ["rank", "drank", "bottleneck"], "rank"),
        ("botleneck", ["bottleneck", "both"], "bottleneck"),
    ],
)
def test_nearest_names(name: str, known: list[str], found: str) -> None:
    assert nearest(name, known) == f'Did you mean "{found}"?'


@pytest.mark.parametrize(("model", "hint"), [("timm/vit_basee", '"timm/vit_base'), ("bertt", '"bert-base"')])
def test_nearest_models(cli: Cli, tiny_recipe: Path, model: str, hint: str) -> None:
    outcome = cli("plan", tiny_recipe, "--set", f"backbone.model={model}")
    assert (outcome.code, hint in outcome.err) == (3, True), outcome.err


def test_no_problem_is_told_twice() -> None:
    one, other = Problem("is wrong.", "a.toml:1"), Problem("is wrong.", "a.toml:2")
    assert RecipeError.all([one, other, one]).problems == (one, other)


def test_an_absurd_image_is_told_with_its_size(cli: Cli) -> None:
    outcome = cli("validate", "quickstart", "--set", "modality.image.size=99999")
    assert (outcome.code, "should be at most 16,384" in outcome.err, outcome.err.count("error:")) == (3, True, 1)
    outcome = cli("validate", "quickstart", "--set", "modality.image.size=16000", "--set", "modality.image.channels=3")
    assert (outcome.code, "16,000 x 16,000 x 3 numbers, 3.07 GB" in outcome.err) == (3, True), outcome.err


def test_parts_that_are_too_large_are_told_with_their_size(cli: Cli, tiny_recipe: Path) -> None:
    text = tiny_recipe.read_text().replace("width = 4\n", "width = 1048576\n")
    tiny_recipe.write_text(text.replace("bottleneck = 4", "bottleneck = 1048576"))
    outcome = cli("plan", tiny_recipe)
    assert outcome.code == 5
    assert "adapter.fuse: 6,597,145,264,224 parameters would take 26.4 TB." in outcome.err
    assert "tiny.toml:" in outcome.err


def test_a_seed_that_is_none(cli: Cli) -> None:
    for seed, said in (("x", "should be a whole number"), ("-1", "should be at least 0")):
        outcome = cli("train", "quickstart", "--seed", seed)
        assert (outcome.code, "--seed" in outcome.err, said in outcome.err) == (2, True, True), outcome.err


def test_optimizers_refuse_before_a_run_exists(cli: Cli, tiny_recipe: Path, tmp_path: Path) -> None:
    for command in (("plan",), ("train", "--runs", tmp_path / "runs")):
        outcome = cli(command[0], tiny_recipe, *command[1:], "--set", "train.optimizer.betas=[3, 3]")
        assert (outcome.code, "--set train.optimizer.betas=[3, 3]" in outcome.err) == (3, True), outcome.err
        assert "beta" in outcome.err
    assert not (tmp_path / "runs").exists()


def test_what_a_machine_cannot_train_it_refuses_at_once(
    cli: Cli, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adaptkit.model.memory.memory_of", lambda device: 1000)
    outcome = cli("train", tiny_recipe, "--runs", tmp_path / "runs")
    assert (outcome.code, "has 1 kB" in outcome.err) == (6, True), outcome.err
    assert not (tmp_path / "runs").exists()


def test_validate_says_what_train_has_to_download(cli: Cli, tiny_recipe: Path) -> None:
    assert cli("validate", tiny_recipe, "--json").json["notes"] == []
    document = cli("validate", tiny_recipe, "--set", "backbone.model=someone/never-downloaded", "--json").json
    assert document["ok"]
    (text,) = document["notes"]
    assert text.startswith("the weights of someone/never-downloaded are not on this machine")
    assert f"note: {text}" in cli("validate", tiny_recipe, "--set", "backbone.model=someone/never-downloaded").out


def test_auto_says_what_it_came_to(cli: Cli, tiny_recipe: Path) -> None:
    assert "pool        mean of the last hidden states" in cli("plan", tiny_recipe).out
    assert cli("plan", tiny_recipe, "--json").json["pool"] == "mean"


def test_a_benchmark_without_its_data(cli: Cli) -> None:
    outcome = cli("train", "moviescope_gmu")
    assert outcome.code == 4
    for said in ("docs/datasets.md", "adaptkit data import moviescope", "adaptkit data synth moviescope"):
        assert said in outcome.err
