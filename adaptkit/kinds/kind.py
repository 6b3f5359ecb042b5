"""What is known of a kind without importing it: its keys, its facts, and the table that a recipe writes for it."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)
from pydantic_core import PydanticCustomError

from adaptkit.errors import RecipeError
from adaptkit.kinds.key import Key, frozen
from adaptkit.kinds.words import in_words

BaseTable = TypeVar("BaseTable", bound=BaseModel)
BUILT_IN = "adaptkit"
_STRICT = {"extra": "forbid"}  # also where the base takes what it does not know
_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that a recipe can name.

    Attributes:
        name: the word in the recipe.
        home: "module:Class" (or function) that does it.
        summary: first line of its docstring.
        keys: the keyword arguments that a recipe writes for it; empty where it has a table of its own.
        facts: what its class declares as class variables.
        table: "module:Class" of its own table; "" where the table follows from the keys.
        origin: "adaptkit", or the plugin that brought it.
    """

    name: str
    home: str
    summary: str
    keys: Mapping[str, Key] = field(default_factory=dict[str, Key], hash=False)
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    table: str = ""
    origin: str = BUILT_IN

    def load(self) -> Any:
        """The class or function itself; its module is imported."""
        return found_at(self.home)

    def as_json(self) -> dict[str, Any]:
        """For the index."""
        own: dict[str, Any] = {"home": self.home, "summary": self.summary}
        if self.keys:
            own["keys"] = {key.name: key.as_json() for key in self.keys.values()}
        return own | ({"facts": dict(self.facts)} if self.facts else {}) | ({"table": self.table} if self.table else {})

    @classmethod
    def from_json(cls, name: str, written: Mapping[str, Any]) -> Kind:
        """What `as_json` wrote."""
        keys = {key: Key.from_json(key, value) for key, value in written.get("keys", {}).items()}
        facts = {fact: frozen(value) for fact, value in written.get("facts", {}).items()}
        return cls(name, written["home"], written["summary"], keys, facts, written.get("table", ""))


def found_at(home: str) -> Any:
    """The object that "module:name" names."""
    module, _, name = home.partition(":")
    return functools.reduce(getattr, name.split("."), import_module(module))


@functools.cache
def table_of(kind: Kind, base: type[BaseTable], tag: str = "kind") -> type[BaseTable]:
    """The table that a recipe writes for this kind: the keys that all its siblings have, and its own.

    Args:
        kind: which.
        base: the table of what all siblings have.
        tag: the key that names the kind.

    Raises:
        RecipeError: its own table does not extend `base`, or a key of its own has the name of one that all siblings
            have.
    """
    above = found_at(kind.table) if kind.table else base
    if not issubclass(above, base):
        hint = f"Write class {above.__name__}({base.__name__}), from {base.__module__}."
        message = f"the table of {kind.name} ({kind.origin}) is no {base.__name__}."
        raise RecipeError(message, where=kind.home, hint=hint)
    for name in kind.keys:
        if name in base.model_fields or hasattr(BaseModel, name):
            raise RecipeError(
                f"{kind.name} ({kind.origin}) has a keyword {name!r}, which every table of its sort has already.",
                where=kind.home,
                hint="Give the keyword another name.",
            )
    named = above.model_fields[tag]
    default: Any = kind.name if named.default == kind.name else ...
    tagged = Field(default, description=kind.summary, examples=[kind.name])
    fields: dict[str, Any] = {tag: (Literal[kind.name], tagged)}
    fields |= {key.name: _field(key) for key in kind.keys.values()}
    made = create_model(
        f"{base.__name__}_{kind.name}", __base__=above, __doc__=above.__doc__, __cls_kwargs__=_STRICT, **fields
    )
    made.described = kind  # type: ignore[attr-defined]
    made.__reduce__ = lambda self: (_unpickled, (kind, base, tag, self.model_fields_set, self.__dict__))
    return made


def kinds_in(table: BaseModel) -> Iterator[Kind]:
    """The kinds of a table, those it names by a word alone (`further_kinds`), and those of all tables in it."""
    described = getattr(type(table), "described", None)
    if isinstance(described, Kind):
        yield described
    yield from getattr(table, "further_kinds", ())
    for name in type(table).model_fields:
        value: Any = getattr(table, name)
        for item in cast(dict[str, Any], value).values() if isinstance(value, dict) else [value]:
            if isinstance(item, BaseModel):
                yield from kinds_in(item)


def _unpickled(kind: Kind, base: type[BaseTable], tag: str, given: set[str], values: dict[str, Any]) -> BaseTable:
    """The class lies in no module, so it is made again."""
    return table_of(kind, base, tag).model_construct(given, **values)


def _field(key: Key) -> tuple[Any, Any]:
    """Annotation and field of one key: a wrong value is told in the words of the type as a whole."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            if all(problem["type"] in _BOUNDS for problem in error.errors()):
                raise  # as "should be at least 1"
            outside = any(problem["type"] in _BOUNDS for problem in error.errors())
            text = f"should be {in_words(key.type, bounds=outside)}"
            raise PydanticCustomError("key", "{text}", {"text": text}) from None

    default: Any = ... if key.required else key.default
    return Annotated[lenient(key.type), WrapValidator(check)], Field(default, description=key.doc)


def is_of(kind: Any, value: Any) -> bool:
    """Whether TOML's value is one of this type: an integer may stand for a float, a list for a tuple."""
    try:
        TypeAdapter(lenient(kind), config=ConfigDict(strict=True)).validate_python(value)
    except ValidationError:
        return False
    return True


def lenient(kind: Any) -> Any:
    """TOML has lists only, so a tuple may be written as one."""
    if get_origin(kind) in (types.UnionType, Union):
        return Union[tuple(map(lenient, get_args(kind)))]  # noqa: UP007  # `|` takes no tuple
    return Annotated[kind, Strict(False)] if get_origin(kind) is tuple else kind
