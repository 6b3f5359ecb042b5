"""Every wrong input of a recipe: one clear error, the right exit code, and a suggestion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

# (changes of the tiny recipe, exit code, what must be said)
NEEDS_PLAN = [
    (['adapter.fuse.at=["path:nothing.*"]'], 5, "nothing.*"),
    (['adapter.fuse.layers="1..7"'], 5, "0..1"),
    (["adapter.fuse.expect=24"], 5, "expect = 2"),
    (['adapter.fuse.at=["cross_attn.out"]'], 5, "has no site"),
]
WRONG = [
    *NEEDS_PLAN,
    (["adapter.fuse.botleneck=4"], 3, 'Did you mean "bottleneck"?'),
    (['train.epochs="three"'], 3, "train.epochs"),
    (
        ["adapter.fuse.bottleneck=0"],
        3,
        "--set adapter.fuse.bottleneck=0  adapter.fuse.bottleneck: should be at least 1",
    ),
    (["adapter.fuse.bottleneck=4611686018427387904"], 3, "should be at most 1,048,576"),
    (["train.seeds=[1, 1]"], 3, "named twice"),
    (["train.seeds=[-1]"], 3, "train.seeds.0: should be at least 0"),
    (["train.optimizer.betas=3"], 3, "should be a list of 2 numbers"),
    (["adapter.fuse={kind='bottleneck', at='mlp.out', dropout=3}"], 3, "dropout: should be less than 1"),
    (["adapter.fuse={kind='bottleneck', at='mlp.out', scale=-1}"], 3, 'a number above 0 to 1,000,000 or "learned"'),
    (['adapter.fuse.kind="gnu"'], 3, '"gmu"'),
    (['adapter.fuse.sides=["featuers"]'], 3, '"features"'),
    (['backbone.model="bert-bsae"'], 3, '"bert-base"'),
    (['adapter.fuse.at=["mpl.out"]'], 5, '"mlp.out"'),
    (['data.root="absent"'], 4, "absent"),
]


LIGHT = [wrong for wrong in WRONG if wrong not in NEEDS_PLAN]


@pytest.mark.parametrize(("changes", "code", "said"), WRONG, ids=lambda value: str(value))
def test_wrong_recipes(cli: Cli, tiny_recipe: Path, changes: list[str], code: int, said: str) -> None:
    words = ["--plan", *(word for change in changes for word in ("--set", change))]
    refused(cli, tiny_recipe, words, code, said)


@pytest.mark.parametrize(("changes", "code", "said"), LIGHT, ids=lambda value: str(value))
def test_wrong_recipes_without_a_model(cli: Cli, tiny_recipe: Path, changes: list[str], code: int, said: str) -> None:
    refused(cli, tiny_recipe, [word for change in changes for word in ("--set", change)], code, said)


def refused(cli: Cli, tiny_recipe: Path, words: list[str], code: int, said: str) -> None:
    outcome = cli("validate", tiny_recipe, *words)
    assert outcome.code == code
    assert said in outcome.err
    document = cli("validate", tiny_recipe, *words, "--json").json
    assert (document["ok"], document["code"]) == (False, code)
    assert document["errors"][0]["where"]


def test_all_mistakes_at_once_with_their_lines(cli: Cli, tiny_recipe: Path) -> None:
    text = tiny_recipe.read_text().replace("bottleneck", "botleneck").replace("epochs", "epcohs")
    tiny_recipe.write_text(text)
    errors = cli("validate", tiny_recipe, "--json").json["errors"]
    lines = text.splitlines()
    told = {int(error["where"].rpartition(":")[2]) - 1: error["hint"] for error in errors}
    assert {lines[line].partition(" ")[0] for line in told} == {"botleneck", "epcohs"}


def test_sites_and_data_are_told_together(cli: Cli, tiny_recipe: Path) -> None:
    for words in (["adapter.fuse.at=mpl.out"], ["adapter.fuse.expect=24", "--plan"]):
        outcome = cli("validate", tiny_recipe, "--set", *words, "--set", 'data.root="absent"')
        assert (outcome.code, outcome.err.count("error: ")) == (5, 2)


def test_toml_syntax(cli: Cli, tiny_recipe: Path) -> None:
    tiny_recipe.write_text(tiny_recipe.read_text() + "\n[broken\n")
    outcome = cli("plan", tiny_recipe)
    assert outcome.code == 3
    assert f"tiny.toml:{len(tiny_recipe.read_text().splitlines())}" in outcome.err


def test_no_such_recipe(cli: Cli) -> None:
    outcome = cli("plan", "quickstrat")
    assert (outcome.code, "quickstart" in outcome.err) == (3, True)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("features", [1.0, 2.0], "4"),
        ("features", [1.0, float("nan"), 0.0, 0.0], "NaN"),
        ("answer", "maybe", "maybe"),
    ],
    ids=["width", "nan", "label"],
)
def test_wrong_data(cli: Cli, tiny_recipe: Path, tiny_data: Path, tmp_path: Path, key: str, value: object, said: str):
    folder = changed_data(tiny_data, tmp_path / "data", key, value)
    runs = tmp_path / "runs"
    outcome = cli("train", tiny_recipe, "--set", f'data.root="{folder}"', "--runs", runs)
    assert (outcome.code, outcome.out) == (4, "")
    assert said.lower() in outcome.err.splitlines()[-1].lower() + outcome.err.lower()


def test_empty_split(cli: Cli, tiny_recipe: Path, tiny_data: Path, tmp_path: Path) -> None:
    folder = changed_data(tiny_data, tmp_path / "data", "answer", "yes")
    (folder / "test.jsonl").write_text("")
    outcome = cli("validate", tiny_recipe, "--set", f'data.root="{folder}"')
    assert (outcome.code, "test" in outcome.err) == (4, True)


def test_model_that_is_neither_here_nor_reachable(cli: Cli, tiny_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    outcome = cli("plan", tiny_recipe, "--set", 'backbone.model="nobody/nothing-at-all"')
    assert outcome.code == 7
    assert "nobody/nothing-at-all" in outcome.err


def test_runs_folder_that_cannot_be_written(cli: Cli, tiny_recipe: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    outcome = cli("train", tiny_recipe, "--runs", file)
    assert outcome.code == 4
    assert file.read_text() == "precious"


def changed_data(source: Path, target: Path, key: str, value: object) -> Path:
    """A copy of the data whose last validation sample has another value."""
    target.mkdir()
    for file in source.glob("*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        if file.stem == "validation":
            rows[-1][key] = value
        (target / file.name).write_text("\n".join(map(json.dumps, rows)) + "\n")
    return target
