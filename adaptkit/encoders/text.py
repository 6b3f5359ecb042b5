"""Text for the backbone: its own tokenizer."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from torch import Tensor

from adaptkit.encoders.context import BackboneContext
from adaptkit.encoders.encoder import ENCODERS, Encoder, present_of
from adaptkit.errors import DataError, RecipeError


@ENCODERS.register("text")
class TextEncoder(Encoder):
    """Text, tokenised by the backbone's tokenizer, cut at max_tokens, padded to the longest of the batch.

    A batch has `input_ids` and `attention_mask`, (B, L) int64, and `token_type_ids` where the tokenizer gives
    them. An absent text (`missing = "zero"`) is the empty string.
    """

    description = "text, by the backbone's tokenizer (route backbone)"

    def __init__(self, tokenizer: Any, *, max_tokens: int | None = None, **common: Any) -> None:
        super().__init__(width=0, tokens=max_tokens, native=True, **common)
        self._load = tokenizer

    @classmethod
    def of(cls, modality: Any, name: str, context: BackboneContext) -> TextEncoder:
        if modality.route != "backbone":
            raise RecipeError(
                f'text cannot take route = "{modality.route}": it is read by the backbone\'s own tokenizer.',
                where=f"modality.{name}.route",
                hint='Write route = "backbone".',
            )
        if context.tokenizer is None:
            raise RecipeError("this backbone reads no text.", where=f"modality.{name}.kind")
        limits = [n for n in (modality.max_tokens, context.max_tokens) if n is not None]
        return cls(
            context.tokenizer,
            max_tokens=min(limits, default=None),
            name=name,
            missing=modality.missing,
            modality_dropout=modality.modality_dropout,
        )

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded when first used; padding with the end token where it has no padding token."""
        tokenizer = self._load()
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def read(self, value: Any, where: str) -> str:
        if not isinstance(value, str):
            raise DataError(f"{self.name} is of type {type(value).__name__}, not text.", where=where)
        return value

    def collate(self, values: list[str | None], ids: list[str]) -> dict[str, Tensor]:
        batch = self.tokenizer(
            ["" if value is None else value for value in values],
            padding=True,
            truncation=self.tokens is not None,
            max_length=self.tokens,
            return_tensors="pt",
        )
        return {**batch, "present": present_of(values)}
