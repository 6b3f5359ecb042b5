"""The optimizer that a recipe names: a registered one, or one of torch.optim."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from adaptkit.errors import RecipeError, nearest
from adaptkit.kinds import OPTIMIZERS
from adaptkit.recipe import Recipe, located
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


def states_per_parameter(recipe: Recipe) -> float:
    """Numbers that the recipe's optimizer keeps per trainable number: found by one step on a small tensor.

    What it refuses of its keywords, it refuses here, before anything is trained.

    Raises:
        RecipeError: it does not take these values.
    """
    spec, parameter = recipe.train.optimizer, nn.Parameter(torch.zeros(8, 8))
    parameter.grad = torch.ones_like(parameter)
    with located(recipe):
        try:
            trial = optimizer_named(spec.name)([parameter], lr=spec.lr, **spec.options)
            trial.step()
        except (TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError) as error:  # torch has no one way
            why = str(error).rstrip(".")
            hint = "The documentation of torch.optim has the keywords of each optimizer."
            named = [key for key in spec.options if key.rstrip("s") in why.lower()]  # "Invalid beta parameter"
            where = ".".join(["train.optimizer", *named[:1]])
            raise RecipeError(f"{spec.name} refuses its keywords: {why}.", where=where, hint=hint) from error
    states = [value for state in trial.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(state.numel() for state in states if state.numel() > 1) / parameter.numel()
