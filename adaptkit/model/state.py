"""What of an adapted model is saved: everything but the published values of its frozen backbone and towers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from adaptkit.errors import ArtifactError
from adaptkit.model.towers import path_of
from adaptkit.plan import Plan


class TrainableState(nn.Module):
    """The base of an adapted model: its own part, by name.

    Attributes:
        plan: what the model was built from.
        initialised: names of tensors of the frozen backbone and towers that do not have their published values.
    """

    plan: Plan

    def __init__(self) -> None:
        super().__init__()
        self.initialised: frozenset[str] = frozenset()

    def trainable_state(self) -> dict[str, Tensor]:
        """Everything that has not its published value: what an artifact or a checkpoint holds."""
        kept = {f"backbone.{name}" for name in self.plan.unfrozen} | self.initialised
        kept |= {f"{path_of(name)}.{each}" for name, tower in self.plan.towers.items() for each in tower.unfrozen}
        own: dict[int, tuple[str, Tensor]] = {}  # what adapters share is kept once, under its first name
        for name, tensor in self.state_dict(keep_vars=True).items():
            if self.is_own(name) or name in kept:
                own.setdefault(id(tensor), (name, tensor.detach()))
        return dict(own.values())

    def load_trainable_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `trainable_state` gave.

        Raises:
            ArtifactError: names or shapes differ. Nothing is changed then.
        """
        own = self.trainable_state()
        if own.keys() != state.keys():
            missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
            raise ArtifactError(
                f"the tensors do not fit the recipe: {len(missing)} missing"
                f"{f' (first {missing[0]})' if missing else ''}, {len(extra)} unexpected"
                f"{f' (first {extra[0]})' if extra else ''}."
            )
        for name, tensor in state.items():
            if tensor.shape != own[name].shape:
                raise ArtifactError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(own[name].shape)}.")
        with torch.no_grad():
            for name, tensor in state.items():
                own[name].copy_(tensor)

    def initialise(self, values: Mapping[str, Tensor]) -> None:
        """Give tensors their first values, by name. Those of what is frozen are part of `trainable_state` from now on.

        The names and shapes are the model's own.
        """
        self.keep(values)
        own = self.state_dict(keep_vars=True)
        with torch.no_grad():
            for name, value in values.items():
                own[name].copy_(value)

    def keep(self, names: Iterable[str]) -> None:
        """Count these tensors, as far as there are such, to what is saved."""
        there = self.state_dict(keep_vars=True).keys() & set(names)
        self.initialised |= frozenset(there - self.trainable_state().keys())

    def is_own(self, name: str) -> bool:
        """A tensor of adapters, encoders, projections, the fusion or heads; not one of the backbone or of a tower."""
        models = tuple(f"{path_of(model)}." for model in ("", *self.plan.towers))
        return ".adapters." in name or not name.startswith(models)
