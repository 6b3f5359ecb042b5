"""The registry of optimizers, and which parameters of a model one gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from torch.optim import Optimizer

from adaptkit import kinds
from adaptkit.errors import RecipeError
from adaptkit.kinds import Kinds
from adaptkit.model.optimizers import optimizer_named
from adaptkit.surgery import adapters_of
from adaptkit.training.keywords import bind, keywords_of

# An optimizer is a class, or a function, of groups of parameters and of keywords, which are its keys in the recipe.
# Those of torch.optim that can train adapters need no registration.
OPTIMIZERS: Kinds[Callable[..., Optimizer]] = kinds.OPTIMIZERS


def build_optimizer(
    model: nn.Module,
    *,
    name: str,
    lr: float,
    weight_decay: float = 0.0,
    **options: Any,
) -> Optimizer:
    """The optimizer over the trainable parameters of the model, in their order in the model.

    Biases and the weights of normalisations stay out of weight decay. The published Multimodal-Adapters code
    meant the same but decided by names ("LayerNorm.weight"), which its adapters' norms do not bear, so they
    were decayed; here the module's class decides.

    Args:
        model: where to look for parameters that require a gradient.
        name: of a registered optimizer, in any case.
        lr: learning rate.
        weight_decay: for everything but biases and norms.
        options: its further keywords.

    Raises:
        RecipeError: unknown optimizer or keyword, or a value that it refuses.
    """
    where = "train.optimizer"
    kind = optimizer_named(name, where=where)
    keys, accepted = {"lr": lr, **options}, keywords_of(kind, skip=1)
    if weight_decay or "weight_decay" in accepted:
        keys["weight_decay"] = weight_decay
    build = bind(kind, keys, {}, skip=1, where=where)
    decayed, exempt = split_parameters(model)
    groups = [{"params": decayed}, {"params": exempt, "weight_decay": 0.0}]
    if "weight_decay" not in accepted:
        groups = [{"params": decayed + exempt}]
    try:
        return build([group for group in groups if group["params"]])
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{kind.__name__} refuses its keywords: {error}", where=where) from error


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters as (with weight decay, without it), each parameter once."""
    exempt_ids = {
        id(parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if name.endswith("bias") or "norm" in type(module).__name__.lower()
    }
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trainable if id(parameter) not in exempt_ids]
    exempt = [parameter for parameter in trainable if id(parameter) in exempt_ids]
    return decayed, exempt


def idle_adapters(model: nn.Module) -> Iterator[str]:
    """`NAME at PATH` of every adapter none of whose parameters has a gradient: its host did not run."""
    for path, module in model.named_modules():
        for name, adapter in adapters_of(module).items():
            trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
            if trained and all(parameter.grad is None for parameter in trained):
                yield f"{name} at {path}"
