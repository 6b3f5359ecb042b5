"""The shape of the house: who imports whom, and how long a file or a function may be."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "adaptkit"
FILES = sorted(ROOT.rglob("*.py"))

# Lower never imports higher. A package's layer counts for all its files.
LAYERS = {
    "amounts": 0,
    "atomic": 0,
    "caching": 0,
    "errors": 0,
    "hdf5": 0,
    "npy": 0,
    "lazy": 0,
    "pooling": 0,
    "kinds": 1,
    "routing": 0,
    "sides": 1,
    "version": 0,
    "recipe": 2,
    "anatomy": 2,
    "data": 3,
    "cache": 4,
    "adapters": 4,
    "modalities": 4,
    "fusions": 4,
    "tasks": 4,
    "formats": 4,
    "benchmarks": 4,
    "surgery": 5,
    "plan": 5,
    "model": 6,
    "training": 7,
    "evaluation": 7,
    "artifact": 7,
    "cli": 8,
    "__main__": 8,
    "__init__": 9,
}
# Heavy libraries and the only places that may import them.
HEAVY = {
    "transformers": {"anatomy", "modalities"},
    "timm": {"anatomy"},
    "accelerate": {"training", "evaluation"},
    "sklearn": {"formats", "tasks", "benchmarks"},
    "typer": {"cli"},
    "tomlkit": {"kinds", "recipe", "cli"},
}


def part(file: Path) -> str:
    """ "recipe" for adaptkit/recipe/read.py, "plan" for adaptkit/plan.py."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(file: Path) -> list[str]:
    """Every module this file imports, lazily or for type checkers too."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            submodules = [f"{node.module}.{name.name}" for name in node.names if is_module(node.module, name.name)]
            found += submodules if len(submodules) == len(node.names) else [node.module, *submodules]
        elif isinstance(node, ast.Import):
            found += [name.name for name in node.names]
    return found


def is_module(package: str, name: str) -> bool:
    """Whether `from package import name` imports a module of ours."""
    if package.partition(".")[0] != "adaptkit":
        return False
    place = ROOT.joinpath(*package.split(".")[1:], name)
    return place.with_suffix(".py").is_file() or place.is_dir()


def own(module: str) -> str | None:
    pieces = module.split(".")
    return pieces[1] if pieces[0] == "adaptkit" and len(pieces) > 1 else None


def test_every_part_has_a_layer() -> None:
    assert {part(file) for file in FILES} == LAYERS.keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_lower_layers_never_import_higher_ones(file: Path) -> None:
    for module in imports(file):
        target = own(module)
        if target in LAYERS and target != "__init__":
            assert LAYERS[target] <= LAYERS[part(file)], f"{file.name} imports {module}"


def test_no_import_cycle() -> None:
    """Among modules, imports inside functions and those for type checkers included."""
    names = {".".join(("adaptkit", *file.relative_to(ROOT).with_suffix("").parts)): file for file in FILES}
    names = {name.removesuffix(".__init__"): file for name, file in names.items()}
    edges = {name: set(imports(file)) & names.keys() - {name} for name, file in names.items()}
    TopologicalSorter(edges).prepare()  # CycleError names the circle


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_heavy_libraries_stay_where_they_belong(file: Path) -> None:
    for module in imports(file):
        library = module.partition(".")[0]
        assert part(file) in HEAVY.get(library, {part(file)}), f"{file.name} imports {library}"
    if part(file) in ("recipe", "errors"):
        assert not any(module.partition(".")[0] == "torch" for module in imports(file))


def test_one_file_alone_imports_timm() -> None:
    assert [f.name for f in FILES if any(m.partition(".")[0] == "timm" for m in imports(f))] == ["timm_models.py"]


def test_adapters_import_only_torch() -> None:
    allowed = {"torch", "adaptkit", "__future__", "collections", "dataclasses", "functools", "math", "typing"}
    for file in (ROOT / "adapters").glob("*.py"):
        assert {module.partition(".")[0] for module in imports(file)} <= allowed, file.name


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_and_functions_stay_short(file: Path) -> None:
    text = file.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{file.name}: {node.name}"
        if isinstance(node, ast.ClassDef):
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
            plain = [m for m in methods if not any(isinstance(d, ast.Name) for d in m.decorator_list)]
            assert len(plain) <= 8, f"{file.name}: {node.name} has {len(plain)} public methods"


def test_no_vague_names() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "misc", "manager"}
    assert not [file for file in FILES if file.stem in vague]
