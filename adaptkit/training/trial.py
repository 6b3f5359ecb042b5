"""What a frozen part gives for a few samples of a data set, and whether what is kept of it is that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adaptkit.cache.entry import Rows
from adaptkit.data import Sample
from adaptkit.data.collate import Collator
from adaptkit.evaluation.material import Material
from adaptkit.model import AdaptedModel
from adaptkit.model.frozen import whole_rows
from adaptkit.model.inference import autocast, evaluating, infer, on_device
from adaptkit.model.kept import STATES, Kept
from adaptkit.model.replaying import NotKeptError, recorded
from adaptkit.plan.frontier import Frontier

TRIED = 8  # samples
CLOSE, ROUNDED = 1e-4, 5e-2  # difference that is none, relative to the largest number; of numbers that were rounded

Place = tuple[Sequence[Sample], int]  # a sample of a split


def computed(
    model: AdaptedModel, material: Material, frontier: Frontier, places: Sequence[Place]
) -> tuple[dict[str, Rows], Any]:
    """What a frozen part gives for a batch, and how it returns it.

    Raises:
        NotKeptError: it cannot be kept.
    """
    precision = model.plan.recipe.train.precision
    if not frontier.whole:
        batch = material.collate(model, training=True)(samples_at(places))
        part = model.towers[frontier.model] if frontier.model else model.backbone
        with recorded(part, frontier) as found:
            infer(model, batch["inputs"], precision, targets=batch["targets"])
        return found.rows, found.form
    encoders: Any = {name: model.encoders[name] for name in frontier.modalities}
    batch = Collator(encoders, {}, model.plan.recipe.data.drop)(samples_at(places))
    device = next(model.parameters()).device
    with evaluating(model), torch.no_grad(), autocast(device, precision):
        rows = whole_rows(model, frontier, on_device(batch["inputs"], device))
    return {STATES: rows}, {"dtypes": {STATES: str(rows.values.dtype).removeprefix("torch.")}}


def agree(
    model: AdaptedModel, material: Material, kept: Kept, rows: Mapping[str, Rows], places: Sequence[Place]
) -> None:
    """See that what is kept of some samples is what is computed now, and that the model answers as it does without.

    Args:
        model: which has, of a part whose upper blocks run, what is kept of it from now on.
        material: data and tasks.
        kept: the part.
        rows: of the samples, as they are kept.
        places: the samples; the first few are tried.

    Raises:
        NotKeptError: it is not.
    """
    places, frontier = places[:TRIED], kept.frontier
    few = {name: Rows.of(each.values.split(each.counts.tolist())[: len(places)]) for name, each in rows.items()}
    if frontier.whole:
        now, _ = computed(model, material, frontier, places)
        there, without = ({name: each.values.float() for name, each in found.items()} for found in (few, now))
    else:
        there, without = answers(model, material, kept, few, places)
    plain = model.plan.recipe.train.precision == "fp32"
    plain = plain and all(each.values.dtype == torch.float32 for each in rows.values())
    for name, value in without.items():
        apart = torch.inf
        if value.shape == there[name].shape:
            apart = float((value - there[name]).abs().max() / value.abs().max().clamp(min=1e-6))
        if not apart <= (CLOSE if plain else ROUNDED):
            raise NotKeptError(f"what is kept of it and what it gives now are apart ({name}: {apart:.1e})")


def answers(
    model: AdaptedModel, material: Material, kept: Kept, rows: Mapping[str, Rows], places: Sequence[Place]
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    """What a model answers with what is kept of one of its parts, and without."""
    precision = model.plan.recipe.train.precision
    model.kept.pop(kept.frontier.model, None)
    batch = material.collate(model, training=True)(samples_at(places))
    without = infer(model, batch["inputs"], precision, targets=batch["targets"])
    model.kept[kept.frontier.model] = kept
    brought = {**batch["inputs"], kept.name: kept.brought(rows)}
    return infer(model, brought, precision, targets=batch["targets"]), without


def samples_at(places: Sequence[Place]) -> list[Sample]:
    return [samples[index] for samples, index in places]
