"""What a backbone reads and how it is called: text, images or both; one stack, two stacks, two towers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from adaptkit.anatomy.forms import image_shape
from adaptkit.anatomy.models import ModelRef

Form = Literal["text", "encoder_decoder", "image", "two_towers", "timm"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The native inputs of a backbone.

    Attributes:
        form: how it is called.
        kinds: kinds of modality that may take the route "backbone".
        causal: tokens see only what comes before them.
        max_tokens: longest sequence of its position embeddings; None where there is no such limit.
        image_size: (height, width) in pixels; None for text.
        channels: of an image.
        mean: per channel, subtracted after scaling to 0..1.
        std: per channel, divides after scaling to 0..1.
    """

    form: Form
    kinds: tuple[str, ...]
    causal: bool = False
    max_tokens: int | None = None
    image_size: tuple[int, int] | None = None
    channels: int = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)


# Normalisation that a checkpoint's configuration does not state. Google's ViT uses 0.5; CLIP its own.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def input_spec(model: nn.Module, ref: ModelRef) -> InputSpec:
    """What the model reads, from its configuration (a skeleton will do)."""
    if ref.library == "timm":
        from adaptkit.anatomy.timm_models import image_input

        found = image_input(model)
        return InputSpec("timm", ("image",), False, None, found.size, found.channels, found.mean, found.std)
    config: Any = model.config
    if getattr(config, "text_config", None) is not None and getattr(config, "vision_config", None) is not None:
        channels, height, width = image_shape(config.vision_config)
        limit = positions(config.text_config)
        return InputSpec("two_towers", ("text", "image"), False, limit, (height, width), channels, CLIP_MEAN, CLIP_STD)
    if getattr(model, "main_input_name", "input_ids") == "pixel_values":
        channels, height, width = image_shape(config)
        return InputSpec("image", ("image",), False, None, (height, width), channels)
    if getattr(config, "is_encoder_decoder", False):
        return InputSpec("encoder_decoder", ("text",), False, positions(config))
    causal = not hasattr(model, "pooler") and is_causal(model)
    return InputSpec("text", ("text",), causal, positions(config))


def positions(config: Any) -> int | None:
    """Longest text. Families of RoBERTa count positions from padding_idx + 1; T5 has no limit."""
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if getattr(config, "model_type", "") in ("t5", "mt5", "umt5"):
        return None
    if not isinstance(limit, int):
        return None
    if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert"):
        return limit - config.pad_token_id - 1
    return limit


def is_causal(model: nn.Module) -> bool:
    """Some attention of the model is causal (`is_causal` of transformers' attention modules)."""
    return any(getattr(module, "is_causal", False) for module in model.modules())
