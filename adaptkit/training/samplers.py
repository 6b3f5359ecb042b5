"""In which order an epoch goes through the training split: the registry of samplers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from adaptkit import kinds
from adaptkit.data.sample import Samples
from adaptkit.errors import RecipeError, nearest
from adaptkit.kinds import Kinds
from adaptkit.modalities.encoder import Encoder
from adaptkit.training.keywords import bind

# A sampler is a function (number of samples N, seed, epoch) -> N indices. It must be pure, so that a resumed run
# repeats it. Its further arguments are its keys in the recipe, but for two that the training gives if it has them:
#   targets  task -> raw target of every sample
#   lengths  modality -> length of every sample (tokens, frames, ...: its encoder's unit), 0 where it is absent
SAMPLERS: Kinds[Callable[..., Sequence[int] | np.ndarray]] = kinds.SAMPLERS


@SAMPLERS.register("shuffle")
def shuffle(samples: int, seed: int, epoch: int) -> np.ndarray:
    """A random order, (N,): the same on every machine, different for every epoch and seed."""
    return generator(seed, epoch).permutation(samples)


@SAMPLERS.register("sequential")
def sequential(samples: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the data in every epoch, (N,): 0, 1, 2, ..."""
    return np.arange(samples)


@SAMPLERS.register("balanced")
def balanced(
    samples: int, seed: int, epoch: int, *, targets: Mapping[str, Sequence[Any]], task: str | None = None
) -> np.ndarray:
    """Drawn with replacement, every label of the task equally often up to one, (N,).

    Args:
        samples: N.
        seed, epoch: of the draw.
        targets: task -> labels.
        task: whose labels; needed where there are several tasks.

    Raises:
        RecipeError: no such task, several of them, or one that has not one label per sample.
    """
    where = "train.sampler"
    if task is None and len(targets) > 1:
        raise RecipeError("there are several tasks to balance.", where=where, hint=f'task = "{next(iter(targets))}"')
    name = next(iter(targets)) if task is None else task
    if name not in targets:
        raise RecipeError(f"there is no task {name!r}.", where=where, hint=nearest(name, targets))
    members: dict[Any, list[int]] = {}
    for index, label in enumerate(targets[name]):
        if not isinstance(label, str | int):
            told = f"balanced needs one label per sample, and a sample of {name} has {label!r}."
            raise RecipeError(told, where=where, hint='Write "shuffle".')
        members.setdefault(label, []).append(index)
    rng = generator(seed, epoch)
    counts = np.full(len(members), samples // len(members))
    counts[rng.permutation(len(members))[: samples % len(members)]] += 1
    drawn = [rng.choice(own, size=count) for own, count in zip(members.values(), counts, strict=True)]
    return rng.permutation(np.concatenate(drawn))


def build_order(
    samples: Samples, encoders: Mapping[str, Encoder], tasks: Iterable[str], seed: int, *, name: str, **keys: Any
) -> Callable[[int], list[int]]:
    """Epoch -> indices of samples.

    Args:
        samples: the training split.
        encoders: modality -> encoder, which knows lengths.
        tasks: names of tasks, for targets.
        seed: of the training.
        name: of a registered sampler.
        keys: of the sampler.

    Raises:
        RecipeError: an unknown sampler or key; when called, one that does not give N indices of samples.
    """

    def lengths(modality: str, encoder: Encoder) -> list[int]:
        values = (sample.inputs.get(modality) for sample in samples)
        return [0 if value is None else encoder.length(value) for value in values]

    where, size = "train.sampler", len(samples)
    offered = {
        "targets": lambda: {task: list(samples.targets(task)) for task in tasks},
        "lengths": lambda: {modality: lengths(modality, encoder) for modality, encoder in encoders.items()},
    }
    sampler = bind(SAMPLERS.named(name, where=where), keys, offered, skip=3, where=where)

    def order(epoch: int) -> list[int]:
        found = np.asarray(sampler(size, seed, epoch))
        if found.shape != (size,) or found.min() < 0 or found.max() >= size:
            raise RecipeError(f"the sampler {name!r} did not give {size} indices below {size}.", where=where)
        return found.tolist()

    return order


def generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, epoch]))
