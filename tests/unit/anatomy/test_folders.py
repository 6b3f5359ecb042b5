"""The folders of anatomy: each builds on those before it, and no file on one that builds on it."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import adaptkit.anatomy

ROOT = Path(adaptkit.anatomy.__file__).parent
FILES = {
    ".".join(("adaptkit.anatomy", *file.relative_to(ROOT).with_suffix("").parts)): file
    for file in ROOT.rglob("*.py")
    if file.name != "__init__.py"
}
# "" are the words that all of them use; `selection.py` beside them also reads the table of names that changed.
ORDER = ("", "tables", "trace", "detect", "loading", "calling")


def imports(file: Path) -> set[str]:
    """The files of anatomy that a file imports, also when a function first needs them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found & FILES.keys()


def folder(module: str) -> str:
    return module.split(".")[2] if module.count(".") > 2 else ""


def test_a_folder_builds_on_those_before_it() -> None:
    for module, file in FILES.items():
        for other in imports(file):
            if not module.endswith(".selection"):
                assert ORDER.index(folder(other)) <= ORDER.index(folder(module)), f"{module} imports {other}"


def test_no_file_imports_itself_by_way_of_others() -> None:
    order = TopologicalSorter({module: imports(file) for module, file in FILES.items()})
    assert set(order.static_order()) == FILES.keys()  # raises CycleError otherwise
