"""The optimizer that a recipe names: a registered one, or one of torch.optim."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.optim import Optimizer

from adaptkit.errors import RecipeError, nearest
from adaptkit.kinds import OPTIMIZERS
from adaptkit.recipe.optimizers import optimizer_names


def optimizer_named(name: str, *, where: str = "train.optimizer") -> Callable[..., Optimizer]:
    """A registered optimizer, or one of torch.optim that can train adapters, by its name in any case.

    Raises:
        RecipeError: there is none.
    """
    if name in OPTIMIZERS:
        return OPTIMIZERS[name]
    if name.lower() not in optimizer_names():
        hint = nearest(name.lower(), {*optimizer_names(), *OPTIMIZERS})
        raise RecipeError(f"unknown optimizer {name!r}.", where=where, hint=hint)
    classes = {item.lower(): found for item, found in vars(torch.optim).items() if isinstance(found, type)}
    return classes[name.lower()]
