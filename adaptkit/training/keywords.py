"""How registered optimizers, schedules and samplers get their keywords: of the recipe, or of the training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from adaptkit.errors import RecipeError, nearest


def keywords_of(function: Callable[..., Any], *, skip: int = 0) -> list[str]:
    """The names of its arguments that follow the first `skip` ones."""
    return list(inspect.signature(function).parameters)[skip:]


def bind(
    function: Callable[..., Any],
    keys: Mapping[str, Any],
    offered: Mapping[str, Callable[[], Any]],
    *,
    skip: int,
    where: str,
) -> Callable[..., Any]:
    """The function with its keywords filled in; `skip` positional arguments are left to the caller.

    Args:
        function: what is registered.
        keys: the recipe's.
        offered: name -> what the training gives to a function that has an argument of this name.
        skip: number of positional arguments.
        where: the recipe's table, for errors.

    Raises:
        RecipeError: a key that is no argument of the function.
    """
    accepted = keywords_of(function, skip=skip)
    own = [name for name in accepted if name not in offered]
    for key in keys:
        if key not in own:
            raise RecipeError(f"{function.__name__} has no keyword {key!r}.", where=where, hint=nearest(key, own))
    return partial(function, **keys, **{name: give() for name, give in offered.items() if name in accepted})
