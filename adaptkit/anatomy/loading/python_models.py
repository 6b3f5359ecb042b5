"""Backbones of one's own: modules that a callable builds. Never saved, always built again."""

from __future__ import annotations

import torch
from torch import nn

from adaptkit.anatomy.loading.quiet import quietly
from adaptkit.anatomy.loading.resolve import ModelRef
from adaptkit.errors import RecipeError


def skeleton(ref: ModelRef) -> nn.Module:
    """The model on the meta device.

    What cannot be built there (it loads weights, or computes with numbers) is built as `load` does, and its values are
    thrown away.

    Raises:
        RecipeError: the callable does not take its config, fails, or returns something else than a module.
    """
    try:
        with torch.device("meta"):
            model = built(ref)
    except RecipeError as error:
        if error.__cause__ is None:  # it did run
            raise
        model = drawn(ref)
    return without_values(model)


def load(ref: ModelRef) -> nn.Module:
    """The model on the CPU, with the weights that its callable loads or draws.

    Raises:
        RecipeError: as `skeleton`.
    """
    return drawn(ref).cpu()


def drawn(ref: ModelRef) -> nn.Module:
    """The model on the CPU. What it draws at random is a function of its config, as in transformers_models.drawn."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(0)
        return built(ref)


def built(ref: ModelRef) -> nn.Module:
    """The model on the current default device.

    Raises:
        RecipeError: as `skeleton`.
    """
    assert ref.builder is not None, "resolve found it"
    with quietly():
        model = ref.builder(ref.settings or {})
    if not isinstance(model, nn.Module):
        kind = "a class" if isinstance(model, type) else f"a {type(model).__name__}"
        raise RecipeError(f"{ref.name} returns {kind}, and no torch.nn.Module.", hint="Let it return the model itself.")
    if not any(True for _ in model.parameters()):
        raise RecipeError(f"{ref.name} returns a model without parameters.", hint="There is nothing to adapt in it.")
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False  # its other way for masked inputs goes past the layers, and past hooks
    return model


def without_values(model: nn.Module) -> nn.Module:
    """The same module with every tensor on the meta device; what is tied stays tied."""
    kept: dict[int, nn.Parameter | torch.Tensor] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and not parameter.is_meta:
                empty = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
                module._parameters[name] = kept.setdefault(id(parameter), empty)  # type: ignore[assignment]
        for name, buffer in module._buffers.items():
            if buffer is not None and not buffer.is_meta:
                module._buffers[name] = kept.setdefault(id(buffer), torch.empty_like(buffer, device="meta"))
    return model
