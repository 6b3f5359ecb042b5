"""`--help`, `version`, `schema`, `list` and `init` answer at once: they do not import torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from adaptkit.cli.listing import plural
from adaptkit.kinds import POINTS
from adaptkit.recipe import bundled_names

HEAVY = ("torch", "transformers", "timm", "sklearn", "numpy", "accelerate")

PROGRAM = """
import json, sys
from adaptkit.cli.main import main
commands, found = json.loads(sys.argv[1]), {}
for words in commands:
    code = main(words)
    found[" ".join(words)] = [code, sorted(sys.modules)]
print(json.dumps(found), file=sys.stderr)
"""


def imported(commands: list[list[str]], folder: Path) -> dict[str, tuple[int, list[str]]]:
    """Exit code and imported modules after each command, all in one fresh process."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=folder,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stderr.splitlines()[-1])


def test_quick_commands_do_not_import_torch(tmp_path: Path) -> None:
    kinds = ["models", "sites", "recipes", "plugins", *(plural(point.point) for point in POINTS)]
    commands = [["--help"], ["version"], ["--version"], ["train", "--help"], ["init", "mine"], ["schema"]]
    commands += [["list", word] for word in kinds] + [["data", "--help"], ["data", "import", "--help"]]
    for words, (code, modules) in imported(commands, tmp_path).items():
        assert code == 0, words
        assert not set(HEAVY) & set(modules), words


def test_data_commands_do_not_import_torch(tmp_path: Path) -> None:
    folder = str(tmp_path / "mosi")
    commands = [["data", verb, "mosi", folder] for verb in ("synth", "import", "check", "stats")]
    for words, (code, modules) in imported(commands, tmp_path).items():
        assert code == 0, words
        assert not {"torch", "transformers", "timm", "accelerate"} & set(modules), words


def test_validate_does_not_import_torch(tmp_path: Path) -> None:
    """Of every bundled recipe, with its data or, where that is absent, without."""
    found = imported([["validate", name] for name in bundled_names()], tmp_path)
    assert found["validate quickstart"][0] == 0
    for words, (code, modules) in found.items():
        assert code in (0, 4), words
        assert not {"torch", "transformers", "timm", "accelerate"} & set(modules), words


def test_validate_imports_no_library_for_its_data_alone(tmp_path: Path) -> None:
    """The invented data of the quickstart is a file of scikit-learn, whose import takes longer than all else."""
    ((code, modules),) = imported([["validate", "quickstart"]], tmp_path).values()
    assert code == 0
    assert not {"sklearn", "scipy", "pandas", "pyarrow", "PIL"} & set(modules)


def test_help_does_not_even_import_pydantic(tmp_path: Path) -> None:
    ((_, modules),) = imported([["--help"]], tmp_path).values()
    assert "pydantic" not in modules
