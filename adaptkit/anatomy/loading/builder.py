"""A model's name that is a callable of a Python module: `my_package.nets:build`, `./nets.py:build`.

This is the one place that imports and calls code that a recipe names.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from adaptkit.errors import RecipeError, nearest

NAME = re.compile(r"(?P<module>[^:]*\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<callable>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)")


def is_builder(name: str) -> bool:
    """The name has the form of a callable of a module, or of a file."""
    return NAME.fullmatch(name) is not None


def builder_file(name: str) -> Path | None:
    """The file of `nets.py:build`; None for a module that is looked for by its name, and for any other name."""
    found = NAME.fullmatch(name)
    return Path(found["module"]) if found and found["module"].endswith(".py") else None


@dataclass(frozen=True, slots=True)
class Builder:
    """What builds a model.

    Attributes:
        name: as typed.
        function: a function, a class or anything else that can be called.
        folder: where modules are looked for behind sys.path.
    """

    name: str
    function: Callable[..., Any]
    folder: Path

    @classmethod
    def find(cls, name: str, base: Path, where: str) -> Builder:
        """Import the module and find the callable in it.

        Args:
            name: of the form that `is_builder` knows.
            base: folder of the recipe.
            where: the place of the name, for errors.

        Raises:
            RecipeError: there is no such module or callable, or importing the module fails.
        """
        parts = NAME.fullmatch(name)
        assert parts is not None, "is_builder was asked"
        file = builder_file(name)
        try:
            module = _of_name(parts["module"], base) if file is None else _of_file((base / file.expanduser()).resolve())
            found = _attribute(module, parts["callable"], parts["module"])
        except RecipeError as error:
            first = error.problems[0]
            raise RecipeError(first.message, where=where, hint=first.hint) from error
        return cls(name, found, base if file is None else (base / file.expanduser()).resolve().parent)

    def __call__(self, settings: Mapping[str, Any]) -> Any:
        """What the callable returns for these keyword arguments.

        Raises:
            RecipeError: a keyword that it does not take or lacks, or whatever else it raises.
        """
        self._refuse(settings)
        try:
            with _searched(self.folder):
                return self.function(**copy.deepcopy(dict(settings)))
        except Exception as error:  # the code is the user's
            told = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if isinstance(error, TypeError) and told and told[1] in settings:
                raise RecipeError(
                    f"{self.name} takes no {told[1]!r}.", hint="The keys of config are its keyword arguments."
                ) from error
            raise RecipeError(
                f"{self.name} fails: {_first_line(error)} ({_line_of(error)}).",
                hint="It is called with config as keyword arguments, and has to return the model.",
            ) from error

    def _refuse(self, settings: Mapping[str, Any]) -> None:
        """Raise RecipeError for keywords that the signature does not have, or lacks."""
        try:
            parameters = inspect.signature(self.function).parameters.values()
        except (TypeError, ValueError):  # of some classes written in C
            return
        named = {each.name: each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
        unknown = sorted(settings.keys() - named.keys())
        if unknown and not any(each.kind is each.VAR_KEYWORD for each in parameters):
            hint = nearest(unknown[0], named) or "It takes no keyword arguments: leave config out."
            raise RecipeError(f"{self.name} takes no {unknown[0]!r}.", hint=hint)
        needed = {name for name, each in named.items() if each.default is each.empty}
        for name in sorted(needed - settings.keys()):
            raise RecipeError(f"{self.name} needs {name!r}.", hint=f"Write config = {{ {name} = ... }}.")


def _of_file(path: Path) -> ModuleType:
    """The module that a file is, run once for every content of it."""
    try:
        source = path.read_bytes()
    except OSError as error:
        hint = "A path is relative to the recipe; a module on sys.path is written without .py, my_package.nets:build."
        raise RecipeError(f"no file {str(path)!r}.", hint=hint) from error
    name = f"{path.stem}_{hashlib.sha256(str(path).encode() + source).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None, "its name ends with .py"
        assert spec.loader is not None, "likewise"
        module = sys.modules[name] = importlib.util.module_from_spec(spec)  # there, so that its classes can be pickled
        try:
            with _searched(path.parent):
                spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise _not_importable(path.name, error) from error
    return sys.modules[name]


def _of_name(name: str, base: Path) -> ModuleType:
    """The module of this name on sys.path, else in the recipe's folder."""
    top = name.partition(".")[0]
    with _searched(base):
        wanted, loaded = PathFinder.find_spec(top), sys.modules.get(top)
        origin = getattr(getattr(loaded, "__spec__", None), "origin", None)
        if wanted is not None and loaded is not None and wanted.origin != origin:
            raise RecipeError(
                f"Python has loaded another module {top}, {origin}, and not {wanted.origin}.",
                hint=f'Rename it, or write its file, "./{top}.py:...".',
            )
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise _not_importable(name, error) from error
            raise RecipeError(
                f"no module {error.name!r} on sys.path or in {base.resolve()}.",
                hint='Install it, set PYTHONPATH, or write its file, relative to the recipe: "./nets.py:build".',
            ) from error
        except Exception as error:
            raise _not_importable(name, error) from error


def _attribute(module: ModuleType, path: str, of: str) -> Callable[..., Any]:
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            known = [name for name, value in vars(found).items() if callable(value) and not name.startswith("_")]
            raise RecipeError(f"{of} has no {part!r}.", hint=nearest(part, known))
        found = getattr(found, part)
    if not callable(found):
        raise RecipeError(
            f"{of}:{path} is no function or class, but of type {type(found).__name__}.",
            hint="Name a function or a class that returns the model.",
        )
    return found


@contextlib.contextmanager
def _searched(folder: Path) -> Iterator[None]:
    """Inside, modules are looked for in this folder too, behind all others."""
    place = str(folder.resolve())
    if place in sys.path:
        yield
        return
    sys.path.append(place)
    try:
        yield
    finally:
        sys.path.remove(place)


def _not_importable(name: str, error: Exception) -> RecipeError:
    return RecipeError(
        f"{name} cannot be imported: {_first_line(error)} ({_line_of(error)}).",
        hint=f"`python -c 'import {name.removesuffix('.py')}'` shows where it fails.",
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error) or '?').splitlines()[0]}"


def _line_of(error: Exception) -> str:
    """The last line of somebody's own code that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename and "<frozen" not in frame.filename]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
