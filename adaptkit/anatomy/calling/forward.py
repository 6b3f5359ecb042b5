"""Calling a model: one interface over text and audio models, encoder-decoders, image models, two towers and timm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.anatomy.calling.inputs import AudioSpec, InputSpec
from adaptkit.anatomy.calling.own import own_output_shape, own_states
from adaptkit.anatomy.layout import as_tokens
from adaptkit.anatomy.model_input import has_head, is_own
from adaptkit.anatomy.trace.probe import runnable_on_meta
from adaptkit.errors import SiteError

# B batch, L text tokens, N prepended tokens, T = N + L, D width


@dataclass(frozen=True, slots=True)
class Call:
    """One forward of a backbone, prepared.

    Attributes:
        inputs: keyword arguments of the backbone.
        masks: stack name -> (B, T) bool, the tokens of its stream that count.
        mask: (B, T) bool of the hidden states that come out; None where all count.
        behind: (B, N, D) what stands behind the text, for `sides.use_sides`; None for nothing.
    """

    inputs: Mapping[str, Any]
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    mask: Tensor | None = None
    behind: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Prefix:
    """What goes before the text, behind it, or in place of one.

    Attributes:
        tensor: (B, N, D) vectors, in place of word embeddings.
        mask: (B, N) bool, True where one counts.
        positions: (B, N) their positions; None where the backbone counts them itself. With positions the prefix has
            the [CLS] of the sequence, and the text loses its own.
        start: position of the first word, where `positions` are given.
        behind: it stands behind the text, and has no positions.
    """

    tensor: Tensor
    mask: Tensor
    positions: Tensor | None = None
    start: int = 0
    behind: bool = False


def prepare(
    backbone: nn.Module, spec: InputSpec, native: Mapping[str, Mapping[str, Tensor]], tokens: Prefix | None
) -> Call:
    """Arrange the native inputs of a batch as the backbone wants them.

    Args:
        backbone: the model.
        spec: what it reads.
        native: kind of modality ("text", "image", "audio") -> collated tensors.
        tokens: what goes before the text, as a prefix: its positions then do not depend on how long the other texts
            of the batch are; or in place of one. None for none.
    """
    text, image = native.get("text"), native.get("image")
    if spec.form in ("timm", "image"):
        assert image is not None, "the plan checks that an image backbone gets an image"
        return Call(pixels(spec, image["pixel_values"]))
    if spec.form == "audio":
        assert spec.audio is not None, "the tower checks that it is known what the model hears"
        return heard(backbone, spec.audio, native["audio"])
    return of_two_towers(text, image) if spec.form == "two_towers" else of_text(backbone, spec, text, tokens)


def of_two_towers(text: Mapping[str, Tensor] | None, image: Mapping[str, Tensor] | None) -> Call:
    """Texts, images or both."""
    inputs = {} if image is None else {"pixel_values": image["pixel_values"]}
    if text is None:
        return Call(inputs)
    words = {key: text[key] for key in ("input_ids", "attention_mask")}
    return Call({**words, **inputs}, {"text": text["attention_mask"].bool()})


def of_text(backbone: nn.Module, spec: InputSpec, text: Mapping[str, Tensor] | None, tokens: Prefix | None) -> Call:
    """Text, with tokens before it, or tokens alone; a decoder gets the one token that it starts with."""
    assert text is not None or tokens is not None, "the plan checks that a text backbone is fed"
    inputs = alone(backbone, tokens) if text is None else prefixed(backbone, text, tokens)
    mask = inputs["attention_mask"].bool() if tokens is None or text is not None else tokens.mask
    if spec.form == "encoder_decoder":
        start = torch.full((len(mask), 1), decoder_start(backbone), device=mask.device)
        ones = torch.ones_like(start, dtype=torch.bool)
        masks = {"encoder": mask, "decoder": ones}
        behind = tokens.tensor if tokens is not None and tokens.behind else None
        return Call({**inputs, "decoder_input_ids": start, "use_cache": False}, masks, ones, behind)
    if spec.own is not None:
        return Call(spec.own.named(inputs), {"": mask}, mask)
    if spec.causal:
        inputs["use_cache"] = False
    return Call(inputs, {"": mask}, mask)


def pixels(spec: InputSpec, images: Tensor) -> dict[str, Tensor]:
    """Keyword arguments of a model that reads images, (B, C, H, W)."""
    if spec.own is not None:
        return spec.own.named({"pixel_values": images})
    return {"x" if spec.form == "timm" else "pixel_values": images}


def prefixed(backbone: Any, text: Mapping[str, Tensor], tokens: Prefix | None) -> dict[str, Any]:
    """The text inputs, with the tokens of other modalities before or behind them."""
    if tokens is None:
        return dict(text)
    if tokens.behind:
        return with_room(backbone, text, tokens)
    if tokens.positions is not None:
        text = {key: value[:, 1:] for key, value in text.items()}
    words = backbone.get_input_embeddings()(text["input_ids"])  # (B, L, D)
    embeds = torch.cat([tokens.tensor.to(words.dtype), words], dim=1)  # (B, T, D)
    mask = torch.cat([tokens.mask.to(text["attention_mask"].dtype), text["attention_mask"]], dim=1)  # (B, T)
    inputs = {"inputs_embeds": embeds, "attention_mask": mask}
    if "token_type_ids" in text:
        first = torch.zeros(tokens.mask.shape, dtype=torch.long, device=mask.device)
        inputs["token_type_ids"] = torch.cat([first, text["token_type_ids"]], dim=1)
    if tokens.positions is not None:
        count = tokens.start + torch.arange(words.shape[1], device=mask.device).expand(len(words), -1)  # (B, L)
        inputs["position_ids"] = torch.cat([tokens.positions, count], dim=1)
    return inputs


def with_room(backbone: Any, text: Mapping[str, Tensor], tokens: Prefix) -> dict[str, Any]:
    """The text inputs and zeros behind them: `surgery.behind` puts the tokens in their place, past the embeddings."""
    words = backbone.get_input_embeddings()(text["input_ids"])  # (B, L, D)
    room = words.new_zeros(len(words), tokens.tensor.shape[1], words.shape[2])
    mask = torch.cat([text["attention_mask"], tokens.mask.to(text["attention_mask"].dtype)], dim=1)  # (B, T)
    return {"inputs_embeds": torch.cat([words, room], dim=1), "attention_mask": mask}


def alone(backbone: Any, tokens: Prefix | None) -> dict[str, Any]:
    """The tokens of other modalities as the whole input sequence."""
    assert tokens is not None, "the plan checks that a text backbone is fed"
    own = is_own(backbone)
    dtype = (next(backbone.parameters()) if own else backbone.get_input_embeddings().weight).dtype
    inputs = {"inputs_embeds": tokens.tensor.to(dtype), "attention_mask": awake(tokens.mask).long()}
    return inputs if tokens.positions is None else {**inputs, "position_ids": tokens.positions}


def awake(mask: Tensor) -> Tensor:
    """An absent sample, without any token that counts, attends to its first one: attention to nothing is NaN."""
    nothing = ~mask.any(1, keepdim=True)
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return mask | (nothing & first)


def heard(model: Any, spec: AudioSpec, audio: Mapping[str, Tensor]) -> Call:
    """Sound for an audio model, and which of its hidden states come from sound rather than from padding."""
    values, mask = audio["values"], audio["mask"]  # (B, S) or (B, F, bins), (B, S) or (B, F)
    if spec.form == "waveform":
        short = max(spec.shortest - values.shape[1], 0)
        values, mask = functional.pad(values, (0, short)), functional.pad(mask, (0, short))
        length = spec.after_convolutions(mask.shape[1])
        lengths = spec.after_convolutions(mask.sum(1)).clamp(min=1)  # (B,)
        counts = torch.arange(length, device=mask.device) < lengths[:, None]  # (B, T)
        # Models with a norm over time ("group") see the padding in any case, and were trained without a mask.
        masked = {} if model.config.feat_extract_norm == "group" else {"attention_mask": mask.long()}
        return Call({spec.argument: values, **masked}, {"": counts}, counts)
    if spec.bins_first:  # Whisper's encoder: a convolution of stride 2 over the frames
        counts = mask[:, ::2]
        return Call({spec.argument: values.transpose(1, 2)}, {"": counts}, counts)
    return Call({spec.argument: values})  # AST: patches of a spectrogram of fixed size, whose padding counts


def decoder_start(backbone: Any) -> int:
    start = getattr(backbone.config, "decoder_start_token_id", None)
    return backbone.config.pad_token_id if start is None else start


def run(backbone: Any, spec: InputSpec, call: Call, width: int) -> tuple[Tensor, Tensor]:
    """The last hidden states (B, T, D) and their mask (B, T).

    Raises:
        SiteError: the backbone returns something else (CrossViT: one sequence per scale).
    """
    states = towers(backbone, call) if spec.form == "two_towers" else hidden_states(backbone, spec, call.inputs)
    sequence, mask = as_sequence(states, width), call.mask
    if mask is None or (spec.own is not None and sequence.shape[1] == 1):  # one vector that its forward pooled
        mask = torch.ones(sequence.shape[:2], dtype=torch.bool, device=sequence.device)
    return sequence, mask


def hidden_states(model: Any, spec: InputSpec, inputs: Mapping[str, Any]) -> Tensor:
    """What one forward of a model that is no pair of towers gives: a sequence (B, T, D), or a map."""
    if spec.own is not None:
        return own_states(model(**inputs))
    if spec.form == "timm":
        return model.forward_features(inputs["x"])
    if not has_head(model):
        return model(**inputs).last_hidden_state
    if model.base_model is not model:
        return model.base_model(**inputs).last_hidden_state
    return model(**inputs, output_hidden_states=True).decoder_hidden_states[-1]  # T5's head is beside its stacks


def output_shape(model: Any, spec: InputSpec) -> tuple[int | None, int]:
    """(T, E) of the last hidden states, seen in one forward of a skeleton; T is None where the input decides.

    Args:
        model: on the meta device, one stack of blocks.
        spec: what it reads.

    Raises:
        RecipeError: a module of one's own fails, or returns something else than states.
    """
    if spec.own is not None:
        return own_output_shape(model, spec.own)
    fixed = spec.image_size is not None or (spec.audio is not None and spec.audio.frames is not None)
    with torch.no_grad(), runnable_on_meta(model):
        states = hidden_states(model, spec, example(spec))
    if spec.form == "timm":
        width = model.num_features
    else:
        width = states.shape[-1] if states.dim() == 3 else map_width(model.config)
    sequence = as_sequence(states, width)
    return (sequence.shape[1] if fixed else spec.max_tokens), width


def example(spec: InputSpec) -> dict[str, Tensor]:
    """One input on the meta device: an image, four tokens of text, a second of sound."""
    with torch.device("meta"):
        if spec.image_size is not None:
            return pixels(spec, torch.empty(1, spec.channels, *spec.image_size))
        if spec.audio is None:
            return {"input_ids": torch.zeros(1, 4, dtype=torch.long)}
        if spec.audio.form == "waveform":
            return {spec.audio.argument: torch.empty(1, spec.audio.sampling_rate)}
        frames, bins = spec.audio.frames or 100, spec.audio.bins
        shape = (bins, frames) if spec.audio.bins_first else (frames, bins)
        return {spec.audio.argument: torch.empty(1, *shape)}


def map_width(config: Any) -> int:
    """Channels of the last map of a model of transformers that returns maps."""
    return config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size


def as_sequence(states: Any, width: int) -> Tensor:
    """(B, T, D) from what a backbone returns: maps have their channels ahead (ResNet) or behind (Swin)."""
    if not isinstance(states, Tensor) or width not in (states.shape[-1], states.shape[1]) or states.dim() not in (3, 4):
        shape = tuple(states.shape) if isinstance(states, Tensor) else type(states).__name__
        raise SiteError(
            f"the backbone returns {shape}, and not one sequence or map of width {width}.",
            hint="Take another backbone.",
        )
    if states.dim() == 3:
        return states
    return as_tokens(states, "bchw" if states.shape[1] == width else "bhwd")


def towers(backbone: Any, call: Call) -> Tensor:
    """The projected embeddings of the towers that get an input, as a sequence of one or two tokens (B, 1..2, D)."""
    embeddings = []
    if "pixel_values" in call.inputs:
        pooled = backbone.vision_model(pixel_values=call.inputs["pixel_values"]).pooler_output
        embeddings.append(backbone.visual_projection(pooled))
    if "input_ids" in call.inputs:
        text = {key: call.inputs[key] for key in ("input_ids", "attention_mask")}
        embeddings.append(backbone.text_projection(backbone.text_model(**text).pooler_output))
    return torch.stack(embeddings, dim=1)
