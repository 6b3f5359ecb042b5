"""The optimizers of the installed torch and their keywords, read from its source: torch is not imported."""

from __future__ import annotations

import ast
import functools
from importlib.util import find_spec
from pathlib import Path

# They need a closure, sparse gradients or matrices only, which a loop over adapters does not have.
_UNFIT = ("lbfgs", "muon", "sparseadam")


@functools.cache
def optimizer_keywords(name: str) -> tuple[str, ...]:
    """The keyword arguments of an optimizer by its lower-case name; () if there is none of this name."""
    own_files = [file for file in _files() if file.stem.lstrip("_") == name]
    for file in own_files or _files():
        if name in _classes(file):
            return _classes(file)[name]
    return ()


def optimizer_names() -> list[str]:
    """Every optimizer that a training loop over adapters can drive; empty where torch is not installed."""
    return sorted(name for file in _files() for name in _classes(file))


@functools.cache
def _files() -> tuple[Path, ...]:
    spec = find_spec("torch")
    return tuple((Path(spec.origin).parent / "optim").glob("*.py")) if spec and spec.origin else ()


@functools.cache
def _classes(file: Path) -> dict[str, tuple[str, ...]]:
    """Lower-case name -> keywords of the optimizers that a file defines."""
    found = {
        node.name.lower(): _keywords(node)
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    return {name: keywords for name, keywords in found.items() if "lr" in keywords and name not in _UNFIT}


def _keywords(node: ast.ClassDef) -> tuple[str, ...]:
    """The arguments of `__init__` that follow the parameters to optimise; () of any other class."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            names = [argument.arg for argument in (*item.args.args, *item.args.kwonlyargs)]
            return tuple(names[2:]) if names[1:2] == ["params"] else ()
    return ()
