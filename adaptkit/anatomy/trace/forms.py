"""Inputs that a forward might take, guessed from its parameters' names: for a model, a part of it, or one block.

What is guessed wrong does no harm: the forward fails, and the next guess is tried. Floats are on the meta device,
whole numbers are real (see `fake_floats.py`).
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.anatomy.layers import widths

# B batch, T tokens, D width, C channels, F frames, H height, W width, P side of a patch, N patches

B, T = 2, 64  # a square number of tokens, so that they may be read as a map of 8 x 8
SIDE = 8
ATTEMPTS = 10

STREAM = (
    "hidden_states", "inputs_embeds", "hidden_state", "x", "input", "inputs", "embeddings", "latents", "hidden",
    "embedding_output", "input_embeds", "inputs_embeddings", "query_embeds", "noise_embeds", "features",
    "feature_maps", "src", "tensor",
)  # fmt: skip
NATIVE = (
    "input_ids", "decoder_input_ids", "pixel_values", "pixel_values_videos", "input_values", "input_features",
    "past_values", "audio_mel", "flattened_patches", "input_points", "pixel_values_video",
)  # fmt: skip
MASKS = ("attention_mask", "decoder_attention_mask", "input_features_mask")
LAYOUTS = ("bbox", "pixel_attention_mask", "spatial_shapes", "pixel_position_ids")


def native_forms(model: nn.Module) -> Iterator[dict[str, Any]]:
    """Guesses for a whole model or a part of it that reads text, pixels, sound or series, likeliest first."""
    parameters = _parameters(model)
    required = [name for name, parameter in parameters.items() if _is_required(parameter)]
    seen = set()
    for level, attempts in _levels(parameters):
        names = tuple(dict.fromkeys([*required, *level]))
        if level and names not in seen:
            seen.add(names)
            for form in itertools.islice(_combined(names, model, 0), attempts):
                yield form | _fixed(parameters)


def _levels(parameters: Mapping[str, inspect.Parameter]) -> list[tuple[list[str], int]]:
    """Which arguments to give besides those required, and how many guesses each choice is worth."""
    native = [name for name in parameters if name in NATIVE]
    text = [name for name in native if name.endswith("input_ids")]
    masks = [name for name in parameters if name in MASKS]
    rest = [name for name in parameters if name in LAYOUTS]
    return [(native, 6), (text, 1), (text + masks, 1), (native + masks, ATTEMPTS), (native + masks + rest, ATTEMPTS)]


def inner_forms(module: nn.Module, width: int) -> Iterator[dict[str, Any]]:
    """Guesses for a part that reads a stream of this width: an encoder without its embeddings, or one block."""
    parameters = _parameters(module)
    required = [name for name, parameter in parameters.items() if _is_required(parameter)]
    stream = _stream_argument(parameters, required)
    if stream is None or not width:
        return
    others = [name for name in required if name != stream]
    for names in _beside_the_stream(parameters, others):
        for shape in ((B, T, width), (T, width), (B, width, SIDE, SIDE), (B, SIDE, SIDE, width), (B, width, T)):
            for form in _combined(names, module, width):
                yield {stream: _floats(*shape)} | form | _fixed(parameters)


def _stream_argument(parameters: Mapping[str, inspect.Parameter], required: Iterable[str]) -> str | None:
    """The argument that takes the stream: by its name, else the first required one that is nothing else."""
    named = (name for name in parameters if name in STREAM)
    unknown = (n for n in required if n not in NATIVE and not re.search("mask|ids|grid|_attentions", n))
    return next(itertools.chain(named, unknown), None)


def _beside_the_stream(parameters: Mapping[str, inspect.Parameter], others: list[str]) -> list[tuple[str, ...]]:
    """Which arguments to give besides the stream: those required, then positions, then a mask too."""
    positions = [name for name in parameters if name in _POSITIONS and name not in others]
    masks = [name for name in parameters if name == "attention_mask" and name not in others]
    return list(dict.fromkeys((*others, *more) for more in ([], positions, [*positions, *masks])))


def _parameters(module: nn.Module) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(module.forward).parameters


def _fixed(parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    return {"use_cache": False} if "use_cache" in parameters else {}


def _combined(names: tuple[str, ...], module: nn.Module, width: int) -> Iterator[dict[str, Any]]:
    choices = [_values(name, module, width) for name in names]
    for values in itertools.islice(itertools.product(*choices), ATTEMPTS):
        yield dict(zip(names, values, strict=True))


def _is_required(parameter: inspect.Parameter) -> bool:
    named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    return named and parameter.default is parameter.empty


def _values(name: str, module: nn.Module, width: int) -> list[Any]:
    """What an argument of this name may look like, likeliest first; None where nothing is known."""
    config: Any = getattr(module, "config", None)
    if name.endswith("input_ids"):
        return [torch.zeros(B, 4, dtype=torch.long)]
    if name in ("pixel_values", "pixel_values_videos", "pixel_values_video"):
        return _pixels(name, module, config)
    if name in _SOUND:
        return _sound(name, module, config)
    if "grid_thw" in name or name == "grid_hw":
        return [torch.tensor([[1, SIDE, SIDE]])]
    if name in _POSITIONS:
        return [*_rotations(module, width), None]
    if name in ("input_features_mask", "audio_mel_mask"):
        return [torch.ones(B, frames, dtype=torch.long) for frames in (400, 3000)]
    known = _ALSO.get(name)
    return [known(config, width)] if known is not None else [None]


def _pixels(name: str, module: nn.Module, config: Any) -> list[Tensor]:
    channels, height, width = image_shape(config)
    frames = int(setting(config, "num_frames", "frames_per_clip", "tubelet_size", default=2) or 2)
    still, film = _floats(B, channels, height, width), _floats(B, frames, channels, height, width)
    patch = setting(config, "patch_size", default=16)
    patch = patch[-1] if isinstance(patch, (tuple, list)) else patch
    area = channels * int(patch) ** 2
    depth = int(setting(config, "temporal_patch_size", default=1) or 1)
    parameters = inspect.signature(module.forward).parameters
    count = SIDE * SIDE
    if any("grid" in other for other in parameters) or "cu_seqlens" in parameters:
        return [_floats(count, depth * area), _floats(count, area), _floats(count, channels, patch, patch), still]
    if "spatial_shapes" in parameters or "pixel_position_ids" in parameters:
        return [_floats(B, count, area), still]
    return [film, still] if name != "pixel_values" else [still, film]


def _sound(name: str, module: nn.Module, config: Any) -> list[Tensor]:
    """Raw sound (B, samples) and spectrograms in both orders, or a series (B, steps, channels)."""
    if name == "past_values":
        return _series(config)
    mels = int(setting(config, "num_mel_bins", "n_mels", "input_feat_per_channel", "feature_size", "input_feat_size",
                       "feature_projection_input_dim", "input_dim", default=80) or 80)  # fmt: skip
    spectrum = _spectrograms(module, config, mels)
    if name in ("input_features", "audio_mel"):
        return spectrum
    length = int(setting(config, "max_length", default=1024) or 1024)
    raw = [_floats(B, 16000), _floats(B, int(setting(config, "audio_channels", default=1) or 1), 24000)]
    return [_floats(B, length, mels), *raw] if setting(config, "time_stride", default=None) else [*raw, *spectrum]


def _spectrograms(module: nn.Module, config: Any, mels: int) -> list[Tensor]:
    """(B, mels, F) and (B, F, mels); frames may be stacked before the first projection."""
    positions = int(setting(config, "max_source_positions", default=1500) or 1500)
    first = next((found[0] for inner in module.modules() if (found := widths(inner))), mels)
    spectrum = [_floats(B, mels, 2 * positions), _floats(B, 400, mels), _floats(B, mels, 400)]
    return spectrum if first in (1, mels) else [*spectrum, _floats(B, 400, first), _floats(B, first, 400)]


def _series(config: Any) -> list[Tensor]:
    steps = int(setting(config, "context_length", default=64) or 64)
    channels = int(setting(config, "num_input_channels", "input_size", default=1) or 1)
    return [_floats(B, steps, channels), _floats(B, steps)]


def _rotations(module: nn.Module, width: int) -> list[tuple[Tensor, Tensor]]:
    """Cosines and sines of rotary positions, as wide as a head."""
    heads = [
        int(size)
        for inner in module.modules()
        for word in ("head_dim", "attention_head_size", "qk_rope_head_dim", "head_size")
        if isinstance(size := getattr(inner, word, None), int)
    ]
    sizes = dict.fromkeys([*heads, *(width // count for count in (8, 12, 16) if width % count == 0)])
    shapes = [shape for size in list(sizes)[:2] for shape in ((B, T, size), (T, size))]
    return [(_floats(*shape), _floats(*shape)) for shape in shapes]


def image_shape(config: Any) -> tuple[int, int, int]:
    """(channels, height, width) that a vision model is configured for; 3 x 224 x 224 where it does not say."""
    vision = getattr(config, "vision_config", None) or config
    size = setting(vision, "image_size", "img_size", default=224) or 224
    if isinstance(size, dict):
        size = (size.get("height", 224), size.get("width", 224))
    height, width = (size[-2], size[-1]) if isinstance(size, (tuple, list)) and len(size) > 1 else (size, size)
    channels = setting(vision, "num_channels", "in_channels", "in_chans", default=3) or 3
    return int(channels), int(_number(height)), int(_number(width))


def setting(config: Any, *names: str, default: Any) -> Any:
    """The first of these keys in a configuration or in the configurations inside it."""
    inside = [value for value in getattr(config, "__dict__", {}).values() if hasattr(value, "model_type")]
    for owner in (config, *inside):
        for name in names:
            if (value := getattr(owner, name, None)) is not None:
                return value
    return default


def _number(value: Any) -> int:
    return value[0] if isinstance(value, (tuple, list)) else value


def _floats(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


_SOUND = ("input_values", "input_features", "past_values", "audio_mel")
_POSITIONS = ("position_embeddings", "rotary_pos_emb", "position_embedding", "rotary_embeddings", "cos_sin")
# What some forwards want besides; B images of SIDE x SIDE patches, or B texts of 4 tokens.
_ALSO: dict[str, Any] = {
    "attention_mask": lambda config, width: torch.ones(B, T if width else 4, dtype=torch.long),
    "decoder_attention_mask": lambda config, width: torch.ones(B, 4, dtype=torch.long),
    "bbox": lambda config, width: torch.zeros(B, 4, 4, dtype=torch.long),
    "pixel_attention_mask": lambda config, width: torch.ones(B, SIDE * SIDE, dtype=torch.long),
    "spatial_shapes": lambda config, width: torch.full((B, 2), SIDE),
    "pixel_position_ids": lambda config, width: torch.zeros(B, SIDE * SIDE, 2, dtype=torch.long),
    "cu_seqlens": lambda config, width: torch.tensor([0, T], dtype=torch.int32),
    "max_seqlen": lambda config, width: T,
    "input_dimensions": lambda config, width: (SIDE, SIDE),
    "spatial_size": lambda config, width: (SIDE, SIDE),
    "height": lambda config, width: SIDE,
    "width": lambda config, width: SIDE,
    "seq_len": lambda config, width: T,
    "sequence_length": lambda config, width: T,
    "encoder_hidden_states": lambda config, width: _floats(B, T, width or 1),
    "position_ids": lambda config, width: torch.arange(T if width else 4)[None],
    "past_observed_mask": lambda config, width: torch.ones(B, int(setting(config, "context_length", default=64) or 64)),
    "output_attentions": lambda config, width: False,
    "output_hidden_states": lambda config, width: False,
    "return_dict": lambda config, width: True,
}
