"""A short, seeded form of `make chaos`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_nothing_is_lost_by_a_kill() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--every", "80", "--moments", "1", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["lost"] == 0
    assert all(figures[name] > 0 for name in ("train", "resume", "export", "import", "moments"))
