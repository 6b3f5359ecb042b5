"""A batch without data, to compare two models by what they give."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from adaptkit.modalities.encoder import Encoder
from adaptkit.modalities.text.encoder import TextEncoder
from adaptkit.model.adapted import AdaptedModel
from adaptkit.model.costing import dummy

SAMPLES, STEPS = 3, 8  # of the batch; tokens, frames or samples of sound of each, where the model allows any number


def outputs(model: AdaptedModel, seed: int = 0) -> dict[str, Tensor]:
    """What a model gives for a batch drawn from a seed, in float32, in evaluation mode, which is restored.

    Returns:
        task -> the outputs of its head, or the logits of some words; of a model without tasks "" -> the vector that
            heads would read.
    """
    chance = torch.Generator().manual_seed(seed)
    batch = {name: _drawn(encoder, chance) for name, encoder in model.named_encoders()}
    training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with torch.no_grad():
            inputs = {name: {key: value.to(device) for key, value in of.items()} for name, of in batch.items()}
            if model.plan.recipe.task:
                words = {"labels": torch.randint(_words(model), (SAMPLES, STEPS), generator=chance).to(device)}
                found = model(
                    inputs, targets={name: words for name in model.plan.recipe.task if name not in model.heads}
                )
            else:
                found = {"": model.represent(model.encode(inputs, ())).vector}
    finally:
        model.train(training)
    return {task: value.float().cpu() for task, value in found.items()}


def largest_difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> tuple[float, float]:
    """The largest difference of two models' outputs, and the largest of the first one's outputs."""
    differences = [(one[task] - other[task]).abs().max() for task in one]
    return float(torch.stack(differences).max()), max(float(value.abs().max()) for value in one.values())


def _words(model: AdaptedModel) -> int:
    """How many words the backbone's tokenizer has."""
    native = (encoder for _, encoder in model.named_encoders() if encoder.native)
    return next((len(encoder.tokenizer) for encoder in native if isinstance(encoder, TextEncoder)), 1)


def _drawn(encoder: Encoder, chance: torch.Generator) -> dict[str, Tensor]:
    """Numbers of unit scale, words, masks in which all counts; of other integers, such as categories, the first."""
    found = {}
    for key, like in dummy(encoder, SAMPLES, most=STEPS).items():
        if like.dtype.is_floating_point:
            found[key] = torch.randn(like.shape, generator=chance).to(like.dtype)
        elif isinstance(encoder, TextEncoder) and key == "input_ids":
            found[key] = torch.randint(len(encoder.tokenizer), like.shape, generator=chance)
        else:
            found[key] = torch.full(like.shape, key == "attention_mask" or like.dtype == torch.bool, dtype=like.dtype)
    return found
