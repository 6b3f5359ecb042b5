"""Optimizer and learning-rate schedule, by the names and keywords a recipe gives."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from adaptkit.errors import RecipeError
from adaptkit.recipe.optimizers import optimizer_names
from adaptkit.registry import nearest
from adaptkit.surgery import carried


def optimizers() -> dict[str, type[Optimizer]]:
    """Lower-case name -> class, for every optimizer of torch.optim that a recipe may name."""
    fit = set(optimizer_names())
    return {
        name.lower(): item for name, item in vars(torch.optim).items() if name.lower() in fit and name != name.lower()
    }


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
        name: class of torch.optim, in any case.
        lr: learning rate.
        weight_decay: for everything but biases and norms.
        options: further keywords of the class.

    Raises:
        RecipeError: unknown optimizer or keyword, or a value that the class refuses.
    """
    known = optimizers()
    if name.lower() not in known:
        raise RecipeError(f"unknown optimizer {name!r}.", where="train.optimizer", hint=nearest(name.lower(), known))
    kind = known[name.lower()]
    keywords: dict[str, Any] = {"lr": lr, **options}
    accepted = inspect.signature(kind.__init__).parameters
    if weight_decay or "weight_decay" in accepted:
        keywords["weight_decay"] = weight_decay
    for key in keywords:
        if key not in accepted or key == "params":
            hint = nearest(key, set(accepted) - {"self", "params"})
            raise RecipeError(f"{kind.__name__} has no keyword {key!r}.", where="train.optimizer", hint=hint)
    decayed, exempt = split_parameters(model)
    groups = [{"params": decayed}, {"params": exempt, "weight_decay": 0.0}]
    if "weight_decay" not in accepted:
        groups = [{"params": decayed + exempt}]
    try:
        return kind([group for group in groups if group["params"]], **keywords)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{kind.__name__} refuses its keywords: {error}", where="train.optimizer") from error


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
        for name, adapter in carried(module).items():
            trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
            if trained and all(parameter.grad is None for parameter in trained):
                yield f"{name} at {path}"


def warmup_steps(warmup: float, total: int) -> int:
    """A share of all steps if below 1, else a number of steps."""
    return round(warmup * total) if 0 < warmup < 1 else int(warmup)


def lr_factor(name: str, step: int, warmup: int, total: int) -> float:
    """Factor on the learning rate at a step (0-based).

    Warm-up rises linearly and reaches 1 at step `warmup - 1`, so that no step has rate 0. After it, with the
    share s = (step - warmup) / (total - warmup) of the rest: constant 1, linear 1 - s, and
    cosine (1 + cos(pi s)) / 2.
    """
    if step < warmup:
        return (step + 1) / warmup
    if name in ("constant", "plateau"):
        return 1.0
    share = min(1.0, (step - warmup) / max(1, total - warmup))
    if name == "linear":
        return 1.0 - share
    assert name == "cosine", name
    return 0.5 * (1.0 + math.cos(math.pi * share))


class LRSchedule:
    """Warm-up and decay per step; for "plateau", a reduction whenever the validation score stops improving.

    Args:
        optimizer: whose rate is set.
        name: "constant", "linear", "cosine" or "plateau".
        warmup: steps, or a share of all steps if below 1.
        total: number of optimizer steps of the whole training.
        factor, patience: of "plateau" only: what the rate is multiplied by (0.5), and how many validations
            without a better score are waited (2).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        name: str = "constant",
        warmup: float = 0,
        total: int,
        factor: float | None = None,
        patience: int | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._warmup = warmup_steps(warmup, total)
        self._by_step = LambdaLR(optimizer, lambda step: lr_factor(name, step, self._warmup, total))
        self._plateau = (
            # threshold 0: torch's relative default would call a worse score better where scores are negative.
            ReduceLROnPlateau(
                optimizer,
                mode="max",
                factor=0.5 if factor is None else factor,
                patience=2 if patience is None else patience,
                threshold=0.0,
            )
            if name == "plateau"
            else None
        )

    @property
    def lr(self) -> float:
        """The rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def after_step(self) -> None:
        """Once per optimizer step. LambdaLR sets the rate anew, so plateau only rules after the warm-up."""
        if self._plateau is None or self._by_step.last_epoch < self._warmup:
            self._by_step.step()

    def after_validation(self, score: float | None) -> None:
        """Once per validation, with a score of which more is better (None: undefined, counts for nothing)."""
        if self._plateau is not None and score is not None and self._by_step.last_epoch >= self._warmup:
            self._plateau.step(score)

    def state_dict(self) -> dict[str, Any]:
        by_step = {key: value for key, value in self._by_step.state_dict().items() if key != "lr_lambdas"}
        return {"by_step": by_step, "plateau": self._plateau.state_dict() if self._plateau else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._by_step.load_state_dict({**state["by_step"], "lr_lambdas": [None] * len(self._by_step.lr_lambdas)})
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])
