"""What comes out of a module that no library built."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.anatomy.model_input import ATTRIBUTE, WRITE, ModelInput
from adaptkit.anatomy.trace.fake_floats import FakeFloatMode
from adaptkit.anatomy.trace.probe import runnable_on_meta
from adaptkit.errors import RecipeError

# B batch, T tokens, D width, C channels, H height, W width of a map

TOKENS = 4  # T of the input that a module is tried with


def own_states(output: Any) -> Any:
    """The states in what a module of one's own returns; one vector (B, D) as a sequence (B, 1, D).

    A tensor, the first of a tuple, or what is called last_hidden_state.
    """
    named = output.get("last_hidden_state") if isinstance(output, dict) else getattr(output, "last_hidden_state", None)
    states = output[0] if named is None and isinstance(output, (tuple, list)) and output else output
    states = states if named is None else named
    return states[:, None] if isinstance(states, Tensor) and states.dim() == 2 else states


def own_output_shape(model: nn.Module, own: ModelInput) -> tuple[int | None, int]:
    """(T, E) of a module of one's own; T is None where the input decides. Its maps have their channels ahead.

    Raises:
        RecipeError: its forward fails, or returns something else than states.
    """
    states = _tried(model, own)
    maps = states.dim() == 4
    tokens, width = states[0, 0].numel() if maps else states.shape[1], states.shape[1 if maps else -1]
    if own.kind == "image":
        return tokens, width
    if tokens not in (1, TOKENS):
        raise RecipeError(
            f"the forward of {type(model).__name__} returns {tokens} vectors for {TOKENS} tokens, and it is not known "
            "which count.",
            hint="Let it return one for each token, or one for all.",
        )
    return (None if tokens == TOKENS else 1), width


def _tried(model: nn.Module, own: ModelInput) -> Tensor:
    """The states of one forward without data, (B, T, D) or (B, C, H, W)."""
    inputs, name = own.example(2, TOKENS), type(model).__name__
    given = ", ".join(f"{key} {tuple(value.shape)}" for key, value in inputs.items())
    try:
        with torch.no_grad(), runnable_on_meta(model), FakeFloatMode():
            states = own_states(model(**inputs))
    except Exception as error:  # the code is the user's
        raise RecipeError(
            f"the forward of {name} fails on {given}: {(str(error) or type(error).__name__).splitlines()[0]}",
            hint=f"Say in {ATTRIBUTE} what it reads: {WRITE[own.kind]}.",
        ) from error
    if not isinstance(states, Tensor) or states.dim() not in (3, 4) or len(states) != 2:
        found = tuple(states.shape) if isinstance(states, Tensor) else type(states).__name__
        raise RecipeError(
            f"the forward of {name} returns {found} for {given}.",
            hint="Let it return (B, T, D), (B, D) or (B, C, H, W), a tuple that begins so, or last_hidden_state.",
        )
    return states
