"""Calling a backbone: one interface over text models, encoder-decoders, image models, two towers and timm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.anatomy.inputs import InputSpec
from adaptkit.errors import SiteError
from adaptkit.sides import Side
from adaptkit.surgery.meeting import as_tokens

# B batch, L text tokens, N prepended tokens, T = N + L, D width


@dataclass(frozen=True, slots=True)
class Call:
    """One forward of a backbone, prepared.

    Attributes:
        inputs: keyword arguments of the backbone.
        masks: stack name -> (B, T) bool, the tokens of its stream that count.
        mask: (B, T) bool of the hidden states that come out; None where all count.
    """

    inputs: Mapping[str, Any]
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    mask: Tensor | None = None


def prepare(
    backbone: nn.Module, spec: InputSpec, native: Mapping[str, Mapping[str, Tensor]], tokens: Side | None
) -> Call:
    """Arrange the native inputs of a batch as the backbone wants them.

    Args:
        backbone: the model.
        spec: what it reads.
        native: kind of modality ("text", "image") -> collated tensors.
        tokens: (B, N, D) vectors that go before the text, as a prefix: their positions then do not depend on how
            long the other texts of the batch are. None for none.
    """
    text, image = native.get("text"), native.get("image")
    if spec.form == "timm":
        return Call({"x": image_of(image)})
    if spec.form == "image":
        return Call({"pixel_values": image_of(image)})
    if spec.form == "two_towers":
        inputs = {} if text is None else {k: text[k] for k in ("input_ids", "attention_mask")}
        if image is not None:
            inputs["pixel_values"] = image["pixel_values"]
        return Call(inputs, {} if text is None else {"text": text["attention_mask"].bool()})
    assert text is not None, "the plan checks that a text backbone gets text"
    inputs = prefixed(backbone, text, tokens)
    mask = inputs["attention_mask"].bool()
    if spec.form == "encoder_decoder":
        start = torch.full((len(mask), 1), decoder_start(backbone), device=mask.device)
        ones = torch.ones_like(start, dtype=torch.bool)
        masks = {"encoder": mask, "decoder": ones}
        return Call({**inputs, "decoder_input_ids": start, "use_cache": False}, masks, ones)
    if spec.causal:
        inputs["use_cache"] = False
    return Call(inputs, {"": mask}, mask)


def prefixed(backbone: Any, text: Mapping[str, Tensor], tokens: Side | None) -> dict[str, Any]:
    """The text inputs, with the tokens of other modalities before them."""
    if tokens is None:
        return dict(text)
    words = backbone.get_input_embeddings()(text["input_ids"])  # (B, L, D)
    embeds = torch.cat([tokens.tensor.to(words.dtype), words], dim=1)  # (B, T, D)
    mask = torch.cat([tokens.mask.to(text["attention_mask"].dtype), text["attention_mask"]], dim=1)  # (B, T)
    inputs = {"inputs_embeds": embeds, "attention_mask": mask}
    if "token_type_ids" in text:
        first = torch.zeros(tokens.mask.shape, dtype=torch.long, device=mask.device)
        inputs["token_type_ids"] = torch.cat([first, text["token_type_ids"]], dim=1)
    return inputs


def image_of(image: Mapping[str, Tensor] | None) -> Tensor:
    assert image is not None, "the plan checks that an image backbone gets an image"
    return image["pixel_values"]


def decoder_start(backbone: Any) -> int:
    start = backbone.config.decoder_start_token_id
    return backbone.config.pad_token_id if start is None else start


def run(backbone: Any, spec: InputSpec, call: Call, width: int) -> tuple[Tensor, Tensor]:
    """The last hidden states (B, T, D) and their mask (B, T).

    Raises:
        SiteError: the backbone returns something else (CrossViT: one sequence per scale).
    """
    if spec.form == "timm":
        states = backbone.forward_features(call.inputs["x"])
    elif spec.form == "two_towers":
        states = towers(backbone, call)
    else:
        states = backbone(**call.inputs).last_hidden_state
    sequence = as_sequence(states, width)
    mask = call.mask
    if mask is None:
        mask = torch.ones(sequence.shape[:2], dtype=torch.bool, device=sequence.device)
    return sequence, mask


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
