"""A wrong command line: exit code 2, what is wrong, and the nearest thing that exists. As JSON too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

WRONG = [
    (["pln"], 'Did you mean "plan"?'),
    (["plan"], 'Try "adaptkit plan --help".'),
    (["plan", "quickstart", "--agianst", "x"], 'Did you mean "--against"?'),
    (["plan", "quickstart", "extra"], 'Try "adaptkit plan --help".'),
    (["plan", "quickstart", "--set"], 'Try "adaptkit plan --help".'),
    (["plan", "quickstart", "--set", "nonsense"], ""),
    (["train", "quickstart", "--seed", "two"], "'--seed' should be a whole number."),
    (["train", "quickstart", "some/run"], "--resume"),
    (["list", "modles"], 'Did you mean "models"?'),
    (["init", "--from", "quickstrat"], 'Did you mean "quickstart"?'),
    (["init", "../a b"], "letters"),
    (["export"], "--adapter-only"),
    (["predict", "--output", "x.jsonl"], 'Try "adaptkit predict --help".'),
    (["predict", "--input", "x.jsonl"], 'Try "adaptkit predict --help".'),
]


@pytest.mark.parametrize(("words", "hint"), WRONG, ids=lambda value: " ".join(value) if value else None)
def test_usage_errors_say_what_to_type(cli: Cli, words: list[str], hint: str) -> None:
    outcome = cli(*words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert hint in outcome.err


@pytest.mark.parametrize("words", [words for words, _ in WRONG], ids=" ".join)
def test_usage_errors_as_json(cli: Cli, words: list[str]) -> None:
    outcome = cli(*words, "--json")
    document = outcome.json
    assert (outcome.code, document["ok"], document["code"]) == (2, False, 2)
    for error in document["errors"]:
        assert set(error) == {"where", "message", "hint"}
        assert error["message"]


def test_json_may_stand_before_the_command(cli: Cli) -> None:
    assert cli("--json", "plan", "--bad").json["code"] == 2
    assert cli("--json").json["code"] == 2


def test_json_after_two_dashes_is_a_word(cli: Cli) -> None:
    assert cli("plan", "--", "--json").out == ""


def test_init_never_overwrites(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine.toml"
    mine.write_text("precious")
    assert cli("init", "mine").code == 2
    assert mine.read_text() == "precious"
    assert cli("init", "mine", "--force").code == 0
    assert 'name = "mine"' in mine.read_text()


def test_init_into_a_folder_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("init", tmp_path / "absent" / "mine")
    assert outcome.code == 4
    assert "mkdir" in outcome.err
