"""The batches of an epoch: those of one source in the sampler's order, those of several mixed, each of one source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from adaptkit.data.sample import Samples
from adaptkit.modalities.encoder import Encoder
from adaptkit.recipe import Recipe
from adaptkit.training.samplers import build_order, generator

Chunk = Sequence[int]  # the indices of one batch


@dataclass(frozen=True, slots=True)
class Source:
    """One source of the training split.

    Attributes:
        start: index of its first sample among all.
        order: pass -> indices of its samples.
        size: of a batch.
        batches: that hold all of it once.
        wanted: batches of an epoch.
    """

    start: int
    order: Callable[[int], list[int]]
    size: int
    batches: int
    wanted: int

    def chunks(self, epoch: int) -> list[Chunk]:
        """The batches of an epoch: a pass as far as they are wanted, or several."""
        passes = -(-self.wanted // self.batches)
        found: list[Chunk] = []
        for number in range(passes):
            indices = [self.start + index for index in self.order(epoch * passes + number)]
            found += [indices[at : at + self.size] for at in range(0, len(indices), self.size)]
        return found[: self.wanted]


@dataclass(frozen=True, slots=True)
class Batching:
    """Epoch -> the indices of its batches, a function of the seed and the epoch alone."""

    sources: Mapping[str, Source]
    seed: int

    @property
    def count(self) -> int:
        """Batches of an epoch."""
        return sum(source.wanted for source in self.sources.values())

    def __call__(self, epoch: int) -> list[Chunk]:
        every = [chunk for source in self.sources.values() for chunk in source.chunks(epoch)]
        if len(self.sources) == 1:
            return every
        return [every[place] for place in generator(self.seed, epoch).permutation(len(every))]


def build_batching(recipe: Recipe, samples: Samples, encoders: Mapping[str, Encoder], seed: int) -> Batching:
    """The batches of a recipe's training split.

    Args:
        recipe: with its sampler, sizes and mixing.
        samples: the training split.
        encoders: modality -> encoder, which knows lengths.
        seed: of the training.

    Raises:
        RecipeError: an unknown sampler or key.
    """
    sampler, once = recipe.train.sampler, batches_of(recipe, samples)
    wanted = recipe.data.batches(once)
    sources = {
        name: Source(
            part.start,
            build_order(part.samples, encoders, part.samples.tasks, seed, name=sampler.name, **sampler.options),
            recipe.batch_size(part.samples.tasks),
            once[name],
            wanted[name],
        )
        for name, part in samples.parts.items()
    }
    return Batching(sources, seed)


def batches_of(recipe: Recipe, samples: Samples) -> dict[str, int]:
    """Source -> batches that hold all of it once."""
    parts = {name: part.samples for name, part in samples.parts.items()}
    return {name: -(-len(own) // recipe.batch_size(own.tasks)) for name, own in parts.items()}


def epoch_length(recipe: Recipe, samples: Samples) -> int:
    """Batches of an epoch."""
    return sum(recipe.data.batches(batches_of(recipe, samples)).values())
