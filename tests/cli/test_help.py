"""Help texts: one worked example each, in the order of work, readable at any width."""

from __future__ import annotations

import re

import pytest

from adaptkit.cli.app import COMMANDS, EXAMPLES
from tests.cli.conftest import Cli

NAMES = [entry.name for entry in COMMANDS]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_an_example_of_itself(cli: Cli, name: str) -> None:
    outcome = cli(*name.split(), "--help")
    assert outcome.code == 0
    example = outcome.out.rpartition("Example:\n")[2].strip()
    assert example.startswith(f"adaptkit {name}")
    assert outcome.err == ""


@pytest.mark.parametrize("name", NAMES)
def test_the_example_parses(cli: Cli, name: str) -> None:
    """The options of an example exist: an example with --help appended is never a usage error."""
    words = next(entry.example for entry in COMMANDS if entry.name == name).partition(" > ")[0].split()[1:]
    assert cli(*words, "--help").code == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_json(cli: Cli, name: str) -> None:
    assert "--json" in cli(*name.split(), "--help").out


def test_top_level_help_groups_commands_in_the_order_of_work(cli: Cli) -> None:
    text = cli("--help").out
    at = [text.index(f"\n  {name} ") for name in dict.fromkeys(name.partition(" ")[0] for name in NAMES)]
    assert at == sorted(at)
    assert text.rstrip().endswith(EXAMPLES)
    assert len(re.findall(r"^  adaptkit ", text, re.MULTILINE)) == 3


def test_no_words_at_all_show_the_help(cli: Cli) -> None:
    assert cli().code == 0
    assert cli().out == cli("--help").out == cli("-h").out


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_fits_the_window(cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = cli(*name.split(), "--help").out.partition("Example")[0]
    assert max(map(len, text.splitlines())) <= columns


def test_help_as_json(cli: Cli) -> None:
    document = cli("plan", "--help", "--json").json
    assert document["ok"] is True
    assert document["help"].startswith("Usage: adaptkit plan RECIPE")
