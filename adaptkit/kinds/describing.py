"""From a class or function to what is known of it: keys from its keyword arguments, facts from its class variables."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from adaptkit.errors import RecipeError
from adaptkit.kinds.key import REQUIRED, Key, type_text
from adaptkit.kinds.kind import BUILT_IN, Kind


def describe(
    name: str,
    entry: Any,
    table: type | None = None,
    origin: str = BUILT_IN,
    *,
    keyed: bool = True,
    given: tuple[str, ...] = (),
) -> Kind:
    """What a recipe must know of a class or function.

    Args:
        name: the word in the recipe.
        entry: the class or function.
        table: its own table; without one the keyword-only arguments are the keys.
        origin: who brings it.
        keyed: a recipe writes a table for it.
        given: keyword arguments that are no keys: the caller gives them.

    Raises:
        RecipeError: a keyword without a type, or of one that TOML cannot write.
    """
    docstring = inspect.getdoc(entry) or ""
    summary = inspect.getdoc(getattr(entry, "table", None) or entry) or ""  # a table of its own is for readers
    keys = {} if table is not None or not keyed else {key.name: key for key in _keys(entry, docstring, given)}
    facts = dict(_facts(entry) if inspect.isclass(entry) else getattr(entry, "facts", {}))
    return Kind(name, _home(entry), summary.partition("\n")[0], keys, facts, _home(table) if table else "", origin)


def _home(entry: Any) -> str:
    return f"{entry.__module__}:{entry.__qualname__}"


def _keys(entry: Any, docstring: str, given: tuple[str, ...]) -> Iterator[Key]:
    """The keyword-only arguments of a function, or of the nearest `__init__` of a class."""
    function: Callable[..., Any] = entry.__init__ if inspect.isclass(entry) else entry
    if function is object.__init__:
        return
    docs = _argument_docs(docstring)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD and inspect.isclass(entry):
            raise RecipeError("takes **keywords; a recipe must know their names.", where=_home(entry))
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in given:
            default = REQUIRED if parameter.default is parameter.empty else parameter.default
            yield Key(parameter.name, _type(entry, function, parameter), default, docs.get(parameter.name, ""))


def _type(entry: Any, function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    where, name = _home(entry), parameter.name
    annotation = parameter.annotation
    if annotation is parameter.empty:
        raise RecipeError(f"the keyword {name} has no type.", where=where, hint=f"Write {name}: int, or what it is.")
    try:
        if isinstance(annotation, str):  # from __future__ import annotations
            annotation = eval(annotation, getattr(inspect.unwrap(function), "__globals__", {}))
        type_text(annotation)
    except NameError as error:
        raise RecipeError(f"the type of the keyword {name} is not known: {error}.", where=where) from None
    except TypeError as error:
        raise RecipeError(f"the keyword {name}: {error}.", where=where, hint="Numbers, text, lists of them.") from None
    return annotation


def _facts(entry: type) -> Iterator[tuple[str, Any]]:
    """The class variables that the class or a base of it declares as such, and that JSON can write."""
    for base in reversed(entry.__mro__):
        for name, annotation in vars(base).get("__annotations__", {}).items():
            value = getattr(entry, name, REQUIRED)
            public = not name.startswith("_") and name != "table"
            if public and str(annotation).startswith(("ClassVar", "typing.ClassVar")) and _is_plain(value):
                yield name, value


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, cast(Sequence[Any], value)))
    if isinstance(value, Mapping):
        entries = cast(Mapping[Any, Any], value)
        return all(isinstance(key, str) and _is_plain(item) for key, item in entries.items())
    return value is None or isinstance(value, str | int | float | bool)


def _argument_docs(docstring: str) -> dict[str, str]:
    """name -> text of the docstring's Args section."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.MULTILINE | re.DOTALL)
    if section is None:
        return {}
    entries = re.split(r"^(?=\w+:)", textwrap.dedent(section[1]), flags=re.MULTILINE)
    named = (entry.partition(":") for entry in entries if entry.strip())
    return {name.strip(): " ".join(text.split()) for name, _, text in named}


def module_file(entry: Any) -> str:
    """The file that defines an entry; "" for one typed at a prompt."""
    return getattr(sys.modules.get(entry.__module__), "__file__", None) or ""
