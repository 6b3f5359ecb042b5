"""A tower: a model of its own that turns one modality into vectors, frozen and with adapters like the backbone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.anatomy import InputSpec, ModelRef, input_spec, load, resolve, skeleton, tokenizer_for
from adaptkit.anatomy.calling.forward import Prefix, awake, output_shape, prepare, run
from adaptkit.anatomy.calling.inputs import AudioSpec, part_for
from adaptkit.anatomy.calling.segments import input_width
from adaptkit.errors import RecipeError
from adaptkit.recipe import TowerSpec

# B batch, L text tokens, S samples of sound, F frames, T tokens that come out, E width of the vectors


class Tower(nn.Module):
    """One modality through a model of its own. What goes in depends on the kind of the tower:

    text: `input_ids` and `attention_mask`, (B, L). image: `pixel_values`, (B, C, H, W), in its `image_size`, with its
    `mean` and `std`. audio: `values` and `mask`, (B, S) where `audio.form` is "waveform", or (B, F, bins) and (B, F)
    where it is "log_mel". features: `values`, (B, L, W), and `mask`, (B, L).

    Args:
        model: text and image models of transformers and timm, audio models of transformers; frozen here.
        ref: where it comes from.
        spec: what it reads.
        kind: text, image, audio or features.
        shape: (T, E) of its output; T is None where the data decides.
        reader: gives the tokenizer of a text tower.
        feature_width: W, of vectors computed elsewhere, which a text model reads in place of its word embeddings.
    """

    def __init__(
        self,
        model: nn.Module,
        ref: ModelRef,
        spec: InputSpec,
        kind: str,
        shape: tuple[int | None, int],
        *,
        reader: Any = None,
        feature_width: int = 0,
    ) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.ref, self.spec, self.kind = ref, spec, kind
        self.tokens, self.width = shape
        self._reader = reader
        self.project = nn.Linear(feature_width, input_width(model)) if kind == "features" else None

    @classmethod
    def of(cls, table: TowerSpec, where: str, base: Path, kind: str, feature_width: int = 0) -> Tower:
        """The tower of a recipe, on the current default device; on "meta", without weights.

        Args:
            table: `tower` of a modality.
            where: its dotted key, "modality.poster.tower".
            base: folder that relative paths start from.
            kind: text, image (also for the frames of a video), audio or features.
            feature_width: W, for features.

        Raises:
            RecipeError: an unknown model, or one that does not read this kind.
            UnavailableError: its configuration or its weights cannot be had.
        """
        try:
            ref = resolve(table.model, base=base, revision=table.revision, config=table.config)
            whole = skeleton(ref)
            of_whole = input_spec(whole, ref)
            check_kind(ref, of_whole, kind)
            part, spec = part_for(whole, of_whole, kind)
            reader = tokenizer_for(ref, part, table.tokenizer, base=base, key=where) if kind == "text" else None
            shape = output_shape(part, spec)
        except RecipeError as error:
            first = error.problems[0]
            raise RecipeError(first.message, where=first.where or f"{where}.model", hint=first.hint) from error
        if torch.get_default_device().type != "meta":
            part, _ = part_for(
                load(ref, dropout=table.dropout, precision=table.precision), input_spec(whole, ref), kind
            )
        return cls(part, ref, spec, kind, shape, reader=reader, feature_width=feature_width)

    @cached_property
    def tokenizer(self) -> Any:
        """Of a text tower, loaded when first used; padding with the end token where it has no padding token."""
        assert self._reader is not None, "only text has a tokenizer"
        return self._reader()

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of its images in pixels."""
        assert self.spec.image_size is not None, "only images have a size"
        return self.spec.image_size

    @property
    def channels(self) -> int:
        return self.spec.channels

    @property
    def mean(self) -> tuple[float, ...]:
        return self.spec.mean

    @property
    def std(self) -> tuple[float, ...]:
        return self.spec.std

    @property
    def audio(self) -> AudioSpec:
        assert self.spec.audio is not None, "only sound is heard"
        return self.spec.audio

    @property
    def has_fixed_frames(self) -> bool:
        """It hears spectrograms of one length only."""
        return self.spec.audio is not None and self.spec.audio.frames is not None

    @property
    def sees_padding(self) -> bool:
        """What it gives for a sample depends on how long the others of the batch are: it has a norm over time."""
        return self.kind == "audio" and getattr(self.model.config, "feat_extract_norm", "") == "group"

    def heard(self, steps: int) -> int:
        """T for so many samples of a waveform, or frames of a spectrogram; of other input, as many as go in."""
        if self.kind != "audio":
            return steps
        if self.audio.form == "waveform":
            return max(self.audio.after_convolutions(steps), 1)
        return self.tokens or steps

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(B, T, E) vectors and (B, T) bool, those that count."""
        dtype = next(self.model.parameters()).dtype
        tokens, native = None, {}
        if self.project is not None:
            tokens = Prefix(self.project(inputs["values"]), inputs["mask"])  # (B, L, D)
        elif self.kind == "audio":
            native = {"audio": {"values": inputs["values"].to(dtype), "mask": awake(inputs["mask"])}}
        elif self.kind == "image":
            native = {"image": {"pixel_values": inputs["pixel_values"].to(dtype)}}
        else:
            native = {"text": {key: inputs[key] for key in TEXT if key in inputs}}
        call = prepare(self.model, self.spec, native, tokens)
        with sides.use_masks(call.masks):
            states, mask = run(self.model, self.spec, call, self.width)  # (B, T, E), (B, T)
        if states.dtype in (torch.bfloat16, torch.float16):
            states = states.float()  # what reads them has its own parameters, in full precision
        return states, mask & inputs["mask"].any(1, keepdim=True) if self.kind == "audio" else mask


TEXT = ("input_ids", "attention_mask", "token_type_ids")


def check_kind(ref: ModelRef, spec: InputSpec, kind: str) -> None:
    """Raise RecipeError where a model does not read this kind of modality."""
    wanted = "text" if kind == "features" and spec.form != "vectors" else kind
    if spec.form == "audio" and spec.audio is None:
        raise RecipeError(
            f"{ref.name} hears in a form that is not known here.",
            hint="Take a model like wav2vec2, HuBERT, WavLM, AST or Whisper.",
        )
    if wanted not in spec.kinds:
        reads = " and ".join(spec.kinds)
        hint = "Vectors go through a text model, such as bert with a config." if kind == "features" else ""
        raise RecipeError(f"{ref.name} reads {reads}, and cannot be a tower of {kind}.", hint=hint)
