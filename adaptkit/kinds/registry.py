"""One sort of thing that a recipe can name: the built-in kinds by their index, users' by registration."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from importlib import import_module
from inspect import isclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

from adaptkit.errors import RecipeError, nearest
from adaptkit.kinds.describing import describe, module_file
from adaptkit.kinds.index import read_index
from adaptkit.kinds.kind import BUILT_IN, Kind

T = TypeVar("T")
Entry = TypeVar("Entry")

# Who registers: set while a plugin is imported.
_registering: ContextVar[str] = ContextVar("registering", default="")


class Kinds(MutableMapping[str, T], Generic[T]):
    """Name -> class (or function) of one sort of thing. Looking one up imports it; iterating over names does not.

    Args:
        point: the word of the extension point, "adapter".
        packages: those of adaptkit that hold built-in kinds of it.
        noun: what errors call it.
        keyed: a recipe writes a table for one, whose keys are its keyword arguments.
        given: keyword arguments that the caller gives, not the recipe, to those that have them.
    """

    def __init__(
        self, point: str, *packages: str, noun: str = "", keyed: bool = True, given: tuple[str, ...] = ()
    ) -> None:
        self.point, self.packages, self.noun = point, packages, noun or point
        self.keyed, self.given = keyed, given
        self._entries: dict[str, tuple[T, type | None]] = {}  # with the table of its own
        self._own: dict[str, Kind] = {}
        self._kinds: Mapping[str, Kind] | None = None

    def register(self, name: str, *, table: type | None = None) -> Callable[[Entry], Entry]:
        """Decorator: `@ADAPTERS.register("gmu")`.

        Args:
            name: the word in a recipe.
            table: its pydantic table, for keys that need more checks than keyword arguments can say. Default: the
                `table` of the class, or what follows from its keyword-only arguments.

        Raises:
            RecipeError: another kind has this name.
        """

        def add(entry: Entry) -> Entry:
            origin = origin_of(entry)
            known = self.kinds.get(name)
            if name in self._entries or (known is not None and known.origin != origin):
                raise RecipeError(
                    f"the {self.noun} {name!r} of {origin} has the name of one of {known.origin if known else origin}.",
                    where=module_file(entry),
                    hint="Register it under another name.",
                )
            keys = table or getattr(entry, "table", None)
            if origin != BUILT_IN:  # those are described by the index
                described = describe(name, entry, keys, origin, keyed=self.keyed, given=self.given)
                if lacking := self._lacking(entry, described):
                    message = f"the {self.noun} {name!r} of {origin} lacks class variables: {', '.join(lacking)}."
                    hint = f"Extend the base class of every {self.noun}, and write as ClassVar what it leaves open."
                    raise RecipeError(message, where=module_file(entry), hint=hint)
                self._own[name] = described
                self._kinds = None
            self._entries[name] = cast(T, entry), keys
            return entry

        return add

    def _lacking(self, entry: object, described: Kind) -> list[str]:
        """The facts that a class lacks: what every built-in class of this point says is read of all of them."""
        built_in = [set(kind.facts) for kind in self.kinds.values() if kind.origin == BUILT_IN]
        return sorted(built_in[0].intersection(*built_in) - set(described.facts)) if built_in and isclass(entry) else []

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """Name -> what is known of it, by name. Nothing is imported."""
        if self._kinds is None:
            built_in = [item for package in self.packages for item in read_index(package, self.point).items()]
            self._kinds = MappingProxyType(dict(sorted([*built_in, *self._own.items()])))
        return self._kinds

    def entries(self) -> Mapping[str, tuple[T, type | None]]:
        """Name -> what is imported already, with the table of its own."""
        return self._entries

    def named(self, name: str, *, where: str = "") -> T:
        """The class or function of this name.

        Raises:
            RecipeError: no such name; the hint offers the nearest one.
        """
        if name not in self:
            raise RecipeError(f"unknown {self.noun} {name!r}.", where=where, hint=nearest(name, self))
        return self[name]

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            import_module(self.kinds[name].home.partition(":")[0])
        return self._entries[name][0]

    def __setitem__(self, name: str, entry: T) -> None:
        self.register(name)(entry)

    def __delitem__(self, name: str) -> None:
        """Forget a registered kind: a plugin that failed, or a test's own."""
        del self._entries[name]
        self._own.pop(name, None)
        self._kinds = None

    def __copy__(self) -> Kinds[T]:
        """A registry of its own: what is registered in one is not in the other."""
        twin = Kinds[T](self.point, *self.packages, noun=self.noun, keyed=self.keyed, given=self.given)
        twin._entries = {name: (self[name], self._entries[name][1]) for name in self}  # a module registers itself once
        twin._own = dict(self._own)
        return twin

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self.kinds

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.kinds, *self._entries)))

    def __len__(self) -> int:
        return len([*iter(self)])


def origin_of(entry: Any) -> str:
    """ "adaptkit" (also where a plugin imports it first), the plugin, or the module that registers by itself."""
    module = entry.__module__
    return BUILT_IN if module.partition(".")[0] == BUILT_IN else _registering.get() or module


@contextlib.contextmanager
def registering(origin: str) -> Generator[None, None, None]:
    """Inside, what is registered comes from this plugin."""
    token = _registering.set(origin)
    try:
        yield
    finally:
        _registering.reset(token)
