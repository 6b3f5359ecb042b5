"""A short, seeded form of the property that no data file runs, leaves its root, or takes the memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_hostile_data_files_are_refused_or_read(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz.data_files", "100", "7", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["refused"] + found["read"] == 100
    assert min(found["refused"], found["read"]) > 5
    assert found["peak"] < 1000
