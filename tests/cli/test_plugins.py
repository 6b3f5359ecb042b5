"""`--plugin`: a user's kinds are listed and planned; whatever is wrong with a plugin is one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptkit.cli.app import COMMANDS, Entry
from adaptkit.kinds import loaded_plugins
from tests.cli.conftest import Cli

FILM = '''
from torch import nn

from adaptkit.adapters.base import Adapter
from adaptkit.kinds import ADAPTERS


@ADAPTERS.register("NAME")
class Shift(Adapter):
    """A constant is added."""

    paper = "none"
    formula = "D"

    def __init__(self, host, sides, *, start: float = 0.0) -> None:
        super().__init__()
        self.shift = nn.Parameter(start * nn.init.ones_(nn.Parameter(__import__("torch").empty(host.width))))

    def delta(self, z, sides):
        return self.shift.expand_as(z)
'''
KEPT = {"cache list", "cache prune", "cache verify"}  # activations, whatever kinds they are of
WITHOUT = {"unmerge", "convert", "init", "runs", "compare", "doctor", "version"} | KEPT  # they name no kinds
WRONG = {
    "syntax": ("def broken(:\n", "SyntaxError: invalid syntax (mine.py:1)"),
    "raises": ("import adaptkit\n\nraise KeyError('lost')\n", "KeyError: 'lost' (mine.py:3)"),
    "exits": ("import sys\nsys.exit(0)\n", "SystemExit"),
    "nothing": ("x = 1\n", "registers nothing"),
    "built-in name": (FILM.replace("NAME", "gmu"), "'gmu'"),
}


pytestmark = pytest.mark.usefixtures("forgotten_plugins")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    file = tmp_path / "film.py"
    file.write_text(FILM.replace("NAME", "shift"))
    return file


def test_kinds_of_a_plugin_are_listed_with_their_origin(cli: Cli, film: Path) -> None:
    (row,) = cli("list", "adapters", "--plugin", film, "--filter", "shift", "--json").json["items"]
    assert (row["name"], row["keys"], row["origin"]) == ("shift", "start", "film.py")
    assert "shift" in cli("list", "adapters", "--plugin", film).out
    (row,) = cli("list", "plugins", "--plugin", film, "--json").json["items"]
    assert (row["name"], row["what"]) == ("film.py", "adapter shift")
    assert '"shift"' in cli("schema", "--plugin", film).out


@pytest.mark.parametrize("command", ["plan", "validate"])
def test_a_recipe_can_name_them_and_the_reader_is_told(cli: Cli, tiny_recipe: Path, film: Path, command: str) -> None:
    change = ("--set", "adapter.fuse={kind='shift', at='mlp.out'}", "--set", "modality.features.route=fusion")
    assert cli(command, tiny_recipe, *change).code == 3
    outcome = cli(command, tiny_recipe, *change, "--plugin", film)
    assert outcome.code == 0
    assert [line for line in outcome.err.splitlines() if "film.py" in line and "your own code" in line]
    (told,) = cli(command, tiny_recipe, *change, "--plugin", film, "--json").json["plugins"]
    assert (told["name"], len(told["sha256"])) == ("film.py", 64)


def test_no_plugin_no_word(cli: Cli, tiny_recipe: Path) -> None:
    assert cli("validate", tiny_recipe, "--json").json["plugins"] == []
    assert cli("validate", tiny_recipe).err == ""


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_plugin_is_one_error(cli: Cli, tmp_path: Path, wrong: str) -> None:
    text, said = WRONG[wrong]
    file = tmp_path / "mine.py"
    file.write_text(text)
    outcome = cli("list", "adapters", "--plugin", file)
    assert (outcome.code, outcome.out, outcome.err.count("error: ")) == (3, "", 1)
    assert said in outcome.err
    assert loaded_plugins() == ()


@pytest.mark.parametrize("name", ["absent.py", "no_such_package.adapters"])
def test_a_plugin_that_is_not_there(cli: Cli, name: str) -> None:
    outcome = cli("list", "adapters", "--plugin", name)
    assert (outcome.code, outcome.err.count("error: ")) == (3, 1)
    assert f"there is no plugin '{name}'" in outcome.err


def test_two_plugins_of_one_kind(cli: Cli, film: Path) -> None:
    other = film.with_name("other.py")
    other.write_text(film.read_text())
    outcome = cli("list", "adapters", "--plugin", film, "--plugin", other)
    assert (outcome.code, outcome.err.count("error: ")) == (3, 1)
    assert "film.py" in outcome.err
    assert "other.py" in outcome.err


def test_plugins_of_installed_distributions_need_no_option(
    cli: Cli, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film.rename(film.with_name("my_installed_adapters.py"))
    info = film.with_name("mine-1.2.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.2\n")
    (info / "RECORD").write_text("my_installed_adapters.py,,\n")
    (info / "entry_points.txt").write_text("[adaptkit.kinds]\nmine = my_installed_adapters\n")
    monkeypatch.syspath_prepend(film.parent)
    (row,) = cli("list", "adapters", "--filter", "shift", "--json").json["items"]
    assert row["origin"] == "my_installed_adapters"
    (row,) = cli("list", "plugins", "--json").json["items"]
    assert (row["name"], row["version"]) == ("my_installed_adapters", "1.2")


@pytest.mark.parametrize("entry", [entry for entry in COMMANDS if entry.name not in WITHOUT], ids=lambda e: e.name)
def test_every_command_that_names_kinds_takes_plugins(cli: Cli, entry: Entry) -> None:
    assert "--plugin" in cli(*entry.name.split(), "--help").out
