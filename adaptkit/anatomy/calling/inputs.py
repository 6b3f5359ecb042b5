"""What a backbone reads and how it is called: text, images or both, or sound; one stack, two stacks, two towers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from adaptkit.anatomy.loading.resolve import ModelRef
from adaptkit.anatomy.model_input import (
    WRITE,
    ModelInput,
    first_layer,
    is_own,
    is_transformers,
    model_input,
    takes_embeddings,
)
from adaptkit.anatomy.trace.forms import image_shape
from adaptkit.errors import RecipeError

Form = Literal["text", "encoder_decoder", "image", "two_towers", "timm", "audio", "vectors"]


@dataclass(frozen=True, slots=True)
class AudioSpec:
    """How an audio model hears.

    Attributes:
        sampling_rate: in Hz.
        form: "waveform", (B, S) samples, or "log_mel", (B, F, bins) frames of a spectrogram.
        argument: of the model's forward.
        bins: of a log-mel spectrogram.
        frames: F, which such a model has fixed; None where any number will do.
        bins_first: the model takes (B, bins, F).
        convolutions: (kernel, stride) of each over a waveform.
    """

    sampling_rate: int
    form: Literal["waveform", "log_mel"]
    argument: str
    bins: int = 0
    frames: int | None = None
    bins_first: bool = False
    convolutions: tuple[tuple[int, int], ...] = ()

    def after_convolutions(self, samples: Any) -> Any:
        """How many hidden states so many samples give; of a tensor of numbers, each."""
        for kernel, stride in self.convolutions:
            samples = (samples - kernel) // stride + 1
        return samples

    @property
    def shortest(self) -> int:
        """S, fewest samples of a waveform that give a hidden state."""
        seen = 1
        for kernel, stride in reversed(self.convolutions):
            seen = (seen - 1) * stride + kernel
        return seen


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
        audio: for sound.
        own: how to call a module of one's own; None for the models of libraries.
        takes_vectors: it takes vectors in place of words, so that modalities of route "tokens" have a way in.
    """

    form: Form
    kinds: tuple[str, ...]
    causal: bool = False
    max_tokens: int | None = None
    image_size: tuple[int, int] | None = None
    channels: int = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    audio: AudioSpec | None = None
    own: ModelInput | None = None
    takes_vectors: bool = False


# Normalisation that a checkpoint's configuration does not state. Google's ViT uses 0.5; CLIP its own.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def input_spec(model: nn.Module, ref: ModelRef) -> InputSpec:
    """What the model reads, from its configuration (a skeleton will do).

    Raises:
        RecipeError: it is of neither library, and does not say what it reads.
    """
    if ref.library == "python" and is_own(model):
        return own_input(model, ref.name)
    if ref.library == "timm" or not is_transformers(model):
        from adaptkit.anatomy.loading.timm_models import image_input

        found = image_input(model, ref.settings or {})
        return InputSpec("timm", ("image",), False, None, found.size, found.channels, found.mean, found.std)
    config: Any = model.config
    if getattr(config, "text_config", None) is not None and getattr(config, "vision_config", None) is not None:
        channels, height, width = image_shape(config.vision_config)
        limit = positions(config.text_config)
        return InputSpec("two_towers", ("text", "image"), False, limit, (height, width), channels, CLIP_MEAN, CLIP_STD)
    reads = getattr(model, "main_input_name", "input_ids")
    if reads == "pixel_values":
        channels, height, width = image_shape(config)
        return InputSpec("image", ("image",), False, None, (height, width), channels)
    if reads in ("input_values", "input_features"):
        return InputSpec("audio", ("audio",), audio=audio_spec(config, reads))
    if getattr(config, "is_encoder_decoder", False):
        return InputSpec("encoder_decoder", ("text",), False, positions(config), takes_vectors=True)
    causal = not hasattr(model, "pooler") and is_causal(model)
    return InputSpec("text", ("text",), causal, positions(config), takes_vectors=True)


def own_input(model: nn.Module, name: str) -> InputSpec:
    """What a module of one's own says that it reads, or shows."""
    found, first = model_input(model), type(first_layer(model)).__name__
    if found is None:
        raise RecipeError(
            f"what {name} reads is not known: its first layer, {first}, does not tell.",
            hint=f"Write into the class one of {'; '.join(WRITE.values())}.",
        )
    if found.kind == "text":
        return InputSpec(
            "text", ("text",), found.causal, found.max_tokens, own=found, takes_vectors=takes_embeddings(model)
        )
    if found.kind == "vectors":
        return InputSpec("vectors", ("features",), found.causal, found.max_tokens, own=found, takes_vectors=True)
    if found.image_size is None:
        raise RecipeError(
            f"{name} reads images of {found.channels} channels, and of what size is not known.",
            hint=f"Write into the class {WRITE['image']}.",
        )
    size, channels = found.image_size, found.channels
    return InputSpec("image", ("image",), False, None, size, channels, found.mean, found.std, own=found)


def audio_spec(config: Any, argument: str) -> AudioSpec | None:
    """What an audio model hears; None for one that is not known. All of these were trained at 16 kHz."""
    if getattr(config, "model_type", "") == "audio-spectrogram-transformer":
        return AudioSpec(16000, "log_mel", argument, config.num_mel_bins, config.max_length)
    if getattr(config, "model_type", "") == "whisper":  # two frames become one position
        return AudioSpec(16000, "log_mel", argument, config.num_mel_bins, 2 * config.max_source_positions, True)
    if argument == "input_values" and hasattr(config, "conv_kernel") and not getattr(config, "add_adapter", False):
        convolutions = tuple(zip(config.conv_kernel, config.conv_stride, strict=True))
        return AudioSpec(16000, "waveform", argument, convolutions=convolutions)  # wav2vec 2.0, HuBERT, WavLM, ...
    return None


def part_for(model: Any, spec: InputSpec, kind: str) -> tuple[nn.Module, InputSpec]:
    """The part of a model that turns one kind of modality into vectors, and what that part reads.

    The encoder of an encoder-decoder, one tower of a two-tower model, otherwise the model itself.
    """
    if spec.form == "two_towers":
        if kind == "image":
            return model.vision_model, replace(spec, form="image", kinds=("image",), max_tokens=None)
        return model.text_model, replace(spec, form="text", kinds=("text",), image_size=None)
    if spec.form == "encoder_decoder":
        return model.get_encoder(), replace(spec, form="text")
    if spec.form == "audio" and getattr(model.config, "is_encoder_decoder", False):
        return model.get_encoder(), spec
    return model, spec


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
