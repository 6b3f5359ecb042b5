"""A registry is a plain dict from the name a recipe uses to the class it means."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar, cast

from adaptkit.errors import RecipeError

T = TypeVar("T")
Entry = TypeVar("Entry")


def nearest(name: str, known: Iterable[str]) -> str:
    """`Did you mean "rank"?`, or the list of what there is when nothing comes close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f'Did you mean "{close[0]}"?'
    return f"Known: {', '.join(names)}." if names else ""


class Registry(dict[str, T], Generic[T]):
    """Name -> class, filled by explicit imports. A second entry of one name is our bug and raises."""

    def __init__(self, noun: str) -> None:
        super().__init__()
        self.noun = noun

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Decorator: `@ADAPTERS.register("gmu")`."""

        def add(entry: Entry) -> Entry:
            if name in self:
                raise ValueError(f"{self.noun} {name!r} is registered twice")
            self[name] = cast(T, entry)
            return entry

        return add

    def named(self, name: str, *, where: str = "") -> T:
        """The entry of this name.

        Raises:
            RecipeError: no such name; the hint offers the nearest one.
        """
        if name not in self:
            raise RecipeError(f"unknown {self.noun} {name!r}.", where=where, hint=nearest(name, self))
        return self[name]
