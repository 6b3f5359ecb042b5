"""Whatever goes wrong inside: one clear line, the right exit code, no traceback."""

from __future__ import annotations

import errno
import io
import json
import os
import sys

import pytest

from adaptkit.cli import main as entry
from adaptkit.cli.failures import explain
from adaptkit.errors import Problem, RecipeError, SiteError
from tests.cli.conftest import Cli


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's."""


CASES = [
    (KeyError("lost"), 1),
    (AssertionError(), 1),
    (RecipeError("wrong"), 3),
    (SiteError("nowhere"), 5),
    (MemoryError(), 6),
    (OutOfMemoryError("CUDA out of memory"), 6),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."), 6),
    (RuntimeError("shapes differ"), 1),
    (ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard"), 7),
    (ModuleNotFoundError("No module named 'adaptkit.x'", name="adaptkit.x"), 1),
    (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 4),
    (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 4),
    (KeyboardInterrupt(), 130),
]


@pytest.mark.parametrize(("error", "code"), CASES, ids=lambda value: type(value).__name__)
def test_exit_codes(cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    def fail(args: list[str]) -> None:
        raise error

    monkeypatch.setattr(entry, "_run", fail)
    outcome = cli("plan", "quickstart")
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith("error: ")
    document = cli("plan", "quickstart", "--json").json
    assert (document["ok"], document["code"]) == (False, code)


def test_a_bug_is_one_line_and_asks_to_be_reported(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(args: list[str]) -> None:
        raise ValueError("first line\nsecond line")

    monkeypatch.setattr(entry, "_run", fail)
    line = cli("plan", "quickstart").err.splitlines()[0]
    assert line == "error: this is a bug in adaptkit: ValueError: first line second line"


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(args: list[str]) -> None:
        raise ValueError("here")

    monkeypatch.setattr(entry, "_run", fail)
    monkeypatch.setenv("ADAPTKIT_DEBUG", "1")
    assert entry.main(["plan", "quickstart", "--json"]) == 1
    captured = capsys.readouterr()
    assert "Traceback" in captured.err
    assert json.loads(captured.out)["code"] == 1


def test_every_problem_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(args: list[str]) -> None:
        raise RecipeError.all([Problem("one.", "a.toml:1", "Do this."), Problem("two.", "a.toml:2")])

    monkeypatch.setattr(entry, "_run", fail)
    assert cli("plan", "x").err == "error: a.toml:1  one.\n       Do this.\nerror: a.toml:2  two.\n"
    assert cli("plan", "x", "--json").json["errors"][1] == {
        "where": "a.toml:2",
        "message": "two.",
        "hint": "",
    }


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_closed_pipe_is_no_error(monkeypatch: pytest.MonkeyPatch, option: list[str]) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    monkeypatch.setattr(sys, "stdout", Closed())
    assert entry.main(["version", *option]) == 0


def test_libraries_that_print_do_not_reach_stdout(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import adaptkit.cli.environment

    def loud() -> list[str]:
        print("a library says hello")
        return []

    monkeypatch.setattr("adaptkit.cli.environment.all_checks", lambda: [adaptkit_check(loud())])
    outcome = cli("doctor", "--json")
    assert outcome.json["ok"] is True
    assert "hello" in outcome.err
    assert adaptkit.cli.environment.version()


def adaptkit_check(_: list[str]) -> object:
    from adaptkit.cli.environment import Check

    return Check("python", "ok", "3.11")


def test_an_unknown_file_problem_names_the_file() -> None:
    code, (problem,) = explain(OSError(errno.EROFS, "Read-only file system", "/cdrom/runs"))
    assert (code, problem.where, problem.message) == (4, "/cdrom/runs", "read-only file system.")
