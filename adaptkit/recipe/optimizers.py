"""The optimizers of the installed torch and their keywords, read from its source: torch is not imported."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Optional, Union

from adaptkit.kinds.key import Number

# They need a closure, sparse gradients or matrices only, which a loop over adapters does not have.
_UNFIT = ("lbfgs", "muon", "sparseadam")
# The words of torch's annotations that a recipe can write. A tensor there is a number that lies on a device.
_WORDS = {"float": Number, "Tensor": Number, "int": int, "bool": bool, "str": str, "tuple": tuple, "Tuple": tuple}
_WORDS |= {"Optional": Optional, "Union": Union}

Keywords = Mapping[str, Any]
NONE: Keywords = MappingProxyType({})


@functools.cache
def optimizer_keywords(name: str) -> Keywords:
    """The keyword arguments of an optimizer by its lower-case name, with their types; none where there is no such one.

    Any stands for a type that a recipe has no word for.
    """
    own_files = [file for file in _files() if file.stem.lstrip("_") == name]
    for file in own_files or _files():
        if name in _classes(file):
            return _classes(file)[name]
    return NONE


def optimizer_names() -> list[str]:
    """Every optimizer that a training loop over adapters can drive; empty where torch is not installed."""
    return sorted(name for file in _files() for name in _classes(file))


@functools.cache
def _files() -> tuple[Path, ...]:
    spec = find_spec("torch")
    return tuple((Path(spec.origin).parent / "optim").glob("*.py")) if spec and spec.origin else ()


@functools.cache
def _classes(file: Path) -> dict[str, Keywords]:
    """Lower-case name -> keywords of the optimizers that a file defines."""
    found = {
        node.name.lower(): _keywords(node)
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    return {name: keywords for name, keywords in found.items() if "lr" in keywords and name not in _UNFIT}


def _keywords(node: ast.ClassDef) -> Keywords:
    """The arguments of `__init__` that follow the parameters to optimise; none of any other class."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            arguments = [*item.args.args, *item.args.kwonlyargs]
            if [argument.arg for argument in arguments[1:2]] == ["params"]:
                return MappingProxyType({argument.arg: _type(argument.annotation) for argument in arguments[2:]})
    return NONE


def _type(annotation: ast.expr | None) -> Any:
    """`tuple[float, float] | None` -> that type; Any where it uses a word that is not in `_WORDS`."""
    if annotation is None:
        return Any
    try:
        return eval(ast.unparse(annotation), {"__builtins__": {}, **_WORDS})
    except (NameError, TypeError, SyntaxError):
        return Any
