"""Parameters: how many there are, and which of a pretrained model move: `train = ["norm", "bias", "all", "<glob>"]`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import cast

from torch import nn

from adaptkit.errors import SiteError
from adaptkit.modalities.encoder import Encoder
from adaptkit.surgery.freezing import base_parameters

WORDS = ("norm", "bias", "all")


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of parameters; `total` counts every parameter of the adapted model once."""

    total: int
    trainable: int
    backbone: int
    adapters: int
    encoders: int
    heads: int
    towers: int = 0
    fusion: int = 0

    @property
    def percent(self) -> float:
        """Trainable share of the total, in percent."""
        return 100 * self.trainable / self.total

    def as_dict(self) -> dict[str, float]:
        return {**asdict(self), "percent": round(self.percent, 4)}


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def own_size(modules: Iterable[nn.Module], *, moving: bool = False) -> int:
    """Parameters of encoders, projections or heads, without those of the towers in them.

    Args:
        moving: only those that learn.
    """
    return sum(
        parameter.numel()
        for module in modules
        for parameter in (module.own_parameters() if isinstance(module, Encoder) else module.parameters())
        if parameter.requires_grad or not moving
    )


def unfrozen_parameters(
    model: nn.Module, selections: Sequence[str], *, key: str = "backbone.train", where: str = ""
) -> tuple[str, ...]:
    """Names of the model's own parameters that the selections mean, in its order.

    Args:
        model: the backbone.
        selections: "all", "norm" (normalisation layers), "bias", or globs of parameter names.
        key: of the recipe, for the error.
        where: its place.

    Raises:
        SiteError: a selection matches no parameter.
    """
    names = [*base_parameters(model)]
    chosen: set[str] = set()
    for selection in selections:
        matched = matches(model, names, selection)
        if not matched:
            raise SiteError(
                f"{key}: {selection!r} matches no parameter.",
                where=where,
                hint="This model has none." if selection in WORDS else nearest_selection(selection, names),
            )
        chosen.update(matched)
    return tuple(name for name in names if name in chosen)


def nearest_selection(selection: str, names: Sequence[str]) -> str:
    """The nearest word or name, numbers folded away, so that one layer stands for all."""
    folded = {re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in names}
    close = difflib.get_close_matches(selection, [*WORDS, *sorted(folded)], n=1, cutoff=0.6)
    if close:
        return f'Did you mean "{close[0]}"?'
    return 'Write "norm", "bias", "all", or a glob such as "*.bias"; `adaptkit inspect` shows the modules.'


def matches(model: nn.Module, names: list[str], selection: str) -> list[str]:
    if selection == "all":
        return names
    if selection == "bias":
        return [name for name in names if name.split(".")[-1] == "bias"]
    if selection == "norm":
        modules = cast(Iterable[tuple[str, nn.Module]], model.named_modules())
        norms = {path for path, module in modules if "norm" in type(module).__name__.lower()}
        return [name for name in names if name.rpartition(".")[0] in norms]
    return [name for name in names if fnmatchcase(name, selection)]
