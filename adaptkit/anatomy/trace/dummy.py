"""Inputs of the right form for one forward of a backbone, without data: zeros of the shapes it takes."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from adaptkit.anatomy.model_input import model_input

BATCH = 2  # samples of every probe; no stream has so few tokens, which tells (T, B, D) from (B, T, D)


def dummy_inputs(
    model: nn.Module,
    batch: int = BATCH,
    tokens: int = 4,
    device: str | torch.device = "meta",
) -> dict[str, torch.Tensor]:
    """Keyword arguments of one `model(**inputs)`.

    Text is (batch, tokens) of token 0; images are (batch, channels, height, width) in the size the model was
    configured for; encoder-decoders also get decoder tokens, two-tower models both. On the meta device there
    is no attention mask: transformers looks into masks, and a meta tensor has no values to look at. A module of
    one's own gets what it says that it reads, and its mask; where that is not known, an image.

    Args:
        model: of transformers, timm or neither.
        batch: B.
        tokens: T of every text input.
        device: where the tensors are.

    Raises:
        ValueError: the model takes something that is neither text nor image.
        RecipeError: what a module says of itself cannot be.
    """
    own = model_input(model)
    if own is not None:
        return own.example(batch, tokens, device)
    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "model_type"):
        return {_first_argument(model): torch.zeros(batch, *timm_input_size(model), device=device)}
    inputs: dict[str, torch.Tensor] = {}
    arguments = inspect.signature(model.forward).parameters
    if "pixel_values" in arguments:
        inputs["pixel_values"] = torch.zeros(batch, *_config_image(config), device=device)
    if "input_ids" in arguments:
        inputs["input_ids"] = torch.zeros(batch, tokens, dtype=torch.long, device=device)
        if torch.device(device).type != "meta":
            inputs["attention_mask"] = torch.ones(batch, tokens, dtype=torch.long, device=device)
    if "decoder_input_ids" in arguments:
        inputs["decoder_input_ids"] = torch.zeros(batch, tokens, dtype=torch.long, device=device)
    if not inputs:
        raise ValueError(f"{type(model).__name__} takes neither text nor images")
    return inputs


def timm_input_size(model: nn.Module) -> tuple[int, int, int]:
    """(channels, height, width) of a timm model: what its patch embedding was built for, else its weights."""
    settings: Any = getattr(model, "pretrained_cfg", None) or {}
    channels, height, width = settings.get("input_size", (3, 224, 224))
    sizes = [getattr(module, "img_size", None) for module in (getattr(model, "patch_embed", None), *model.modules())]
    fixed = next((size for size in sizes if isinstance(size, (tuple, list)) and len(size) == 2), None)
    if fixed is not None:
        height, width = fixed
    return int(getattr(model, "in_chans", channels) or channels), int(height), int(width)


def _config_image(config: Any) -> tuple[int, int, int]:
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", 224)
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    return getattr(vision, "num_channels", 3), height, width


def _first_argument(model: nn.Module) -> str:
    return next(iter(inspect.signature(model.forward).parameters))
