"""`cli("plan", "quickstart")` runs one command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from adaptkit.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What a command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout; anything else there fails the test."""
        lines = self.out.splitlines()
        assert len(lines) == 1, f"not one line: {self.out!r}"
        return json.loads(lines[0])


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command line at 80 columns and checks that no traceback is shown."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("ADAPTKIT_DEBUG", raising=False)

    def run(*argv: object) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Outcome(code, captured.out, captured.err)

    return run
