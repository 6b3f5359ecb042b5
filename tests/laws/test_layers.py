"""The architecture as a law: no upward import, no cycle, no long file, no long function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "adaptkit"
FILES = sorted(PACKAGE.rglob("*.py"))

# First part of the module's path within the package -> layer. A module imports its own layer or lower ones.
LAYERS = {
    "errors": 0,
    "registry": 0,
    "recipe": 1,
    "sides": 1,
    "anatomy": 2,
    "encoders": 2,
    "adapters": 2,
    "heads": 2,
    "tasks": 2,
    "data": 2,
    "graft": 3,
    "grafting": 3,
    "hooks": 3,
    "plan": 3,
    "pooling": 3,
    "streams": 3,
    "surgery": 3,
    "unfreezing": 3,
    "backbone": 4,
    "model": 4,
    "artifact": 5,
    "cost": 5,
    "evaluation": 5,
    "training": 5,
    "cli": 6,
}
# Within layer 2 packages do not know each other, except that a task has a head.
SIDEWAYS = {("tasks", "heads")}
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
LONGEST_FILE, LONGEST_FUNCTION, MOST_PUBLIC_METHODS = 300, 60, 8


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def module_of(file: Path) -> str:
    words = ("adaptkit", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def imports(tree: ast.Module, *, lazy: bool) -> Iterator[str]:
    """Modules of adaptkit that are imported when this one is, or (lazy) at any time; never those for types only."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "adaptkit":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "adaptkit")
        elif lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            todo += ast.iter_child_nodes(node)


def part(module: str) -> str:
    """`recipe` for `adaptkit.recipe.read.load_recipe`; "" for the package itself."""
    return [*module.split("."), ""][1]


INNER = [file for file in FILES if file.parent != PACKAGE or file.stem not in ("__init__", "__main__")]


def test_every_part_has_a_layer() -> None:
    assert {part(module_of(file)) for file in INNER} == set(LAYERS)


@pytest.mark.parametrize("file", INNER, ids=module_of)
def test_no_upward_import(file: Path) -> None:
    own = part(module_of(file))
    for module in imports(parsed(file), lazy=True):
        other = part(module)
        if other not in LAYERS:
            continue  # `from adaptkit import sides` has its part as the last word, and `adaptkit` itself has none
        assert LAYERS[other] <= LAYERS[own], f"{own} imports {module}"
        if LAYERS[own] == LAYERS[other] == 2 and own != other:
            assert (own, other) in SIDEWAYS, f"{own} imports {module}"


def test_no_import_cycle() -> None:
    known = {module_of(file): file for file in FILES}
    graph = {name: set(targets(parsed(file), known)) - {name} for name, file in known.items()}
    while graph:
        leaves = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert leaves, f"a cycle among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in leaves}


def targets(tree: ast.Module, known: dict[str, Path]) -> Iterator[str]:
    """The modules meant by the imports: `adaptkit.a.b` where it is a module, else `adaptkit.a`."""
    for name in imports(tree, lazy=False):
        yield name if name in known else name.rpartition(".")[0]


def test_recipe_never_imports_torch() -> None:
    for file in (PACKAGE / "recipe").rglob("*.py"):
        words = {word for node in ast.walk(parsed(file)) for word in outside(node)}
        assert not words & {"torch", "numpy", "transformers", "timm"}, file


@pytest.mark.parametrize(("library", "homes"), [("transformers", {"anatomy", "encoders"}), ("timm", {"anatomy"})])
def test_only_their_loaders_import_the_model_libraries(library: str, homes: set[str]) -> None:
    users = {part(module_of(f)) for f in FILES for node in ast.walk(parsed(f)) if library in outside(node)}
    assert users <= homes


def outside(node: ast.AST) -> set[str]:
    """Top-level packages that this node imports."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").split(".")[0]}
    return set()


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_files_and_functions_stay_short(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    assert file.stem not in FORBIDDEN_NAMES
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"
        if isinstance(node, ast.ClassDef):
            public = [
                item.name
                for item in node.body
                if isinstance(item, ast.FunctionDef)
                and not item.name.startswith("_")
                and not any("property" in ast.unparse(decorator) for decorator in item.decorator_list)
            ]
            assert len(public) <= MOST_PUBLIC_METHODS, f"{node.name} has {public}"
