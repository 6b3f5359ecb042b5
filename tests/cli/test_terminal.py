"""Pipes get rows with tabs, terminals a sign of life, shells their completions."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from adaptkit.cli.terminal import files, recipes
from tests.cli.conftest import Cli

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}


def test_tables_can_be_piped(cli: Cli, tiny_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = cli("plan", tiny_recipe).out
    monkeypatch.delenv("COLUMNS")
    piped = cli("plan", tiny_recipe).out
    assert "\t" not in drawn
    assert "\x1b" not in piped
    rows = [line.split("\t") for line in piped.splitlines() if "\t" in line]
    assert rows[0] == ["adapter", "kind", "site", "layers", "width", "each", "total"]
    assert rows[1][:3] == ["fuse", "gmu", "mlp.out"]


@pytest.mark.parametrize("sort", ["recipes", "sites", "metrics", "losses", "heads"])
def test_lists_can_be_piped(cli: Cli, monkeypatch: pytest.MonkeyPatch, sort: str) -> None:
    items = cli("list", sort, "--json").json["items"]
    monkeypatch.delenv("COLUMNS")
    lines = cli("list", sort).out.splitlines()
    assert len(lines) == len(items) + 1
    for line, item in zip(lines[1:], items, strict=True):
        assert line.split("\t")[0] == item["name"]
        assert " ".join(item["what"].split()) in line, "nothing is cut off"


def test_a_sign_of_life_at_a_terminal_only(tmp_path: Path) -> None:
    program = "import time\nfrom adaptkit.cli.terminal import sign_of_life\n"
    program += "with sign_of_life('adaptkit plan ...'):\n    time.sleep(1)"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=True).stderr == b""
    here, there = pty.openpty()
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=there) as process:
        assert os.read(here, 100).startswith(b"adaptkit plan ...")
        assert process.poll() is None, "it comes while the command runs"
    os.close(here)
    os.close(there)


def test_recipes_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text("")
    (tmp_path / "mine.txt").write_text("")
    (tmp_path / "more").mkdir()
    assert recipes("m")[-2:] == ["mine.toml", "more/"]
    assert "quickstart" in recipes("quick")
    assert files("absent/x", ".toml") == []


def test_the_shell_is_answered(tmp_path: Path) -> None:
    def asked(words: str) -> str:
        environment = {**ENVIRONMENT, "_ADAPTKIT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "2"}
        command = [sys.executable, "-m", "adaptkit"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    assert asked("adaptkit plan quickstart_w").split() == ["quickstart_wander"]
    assert {"check", "import"} <= set(asked("adaptkit data ").split())
