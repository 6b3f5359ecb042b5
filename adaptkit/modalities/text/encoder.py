"""Text, for the backbone or for a tower of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from adaptkit.anatomy import tokenizer_identity
from adaptkit.errors import DataError, RecipeError
from adaptkit.modalities.arrays import kept
from adaptkit.modalities.context import BackboneContext
from adaptkit.modalities.encoder import MODALITIES, Encoder, present_of, shared, tower_of
from adaptkit.modalities.text.parts import HOLE, Parts
from adaptkit.modalities.text.table import TextModality
from adaptkit.modalities.tower import Tower

# B batch, L tokens of the longest text

TEXT = "{text}"  # of a prompt


@MODALITIES.register("text")
class TextEncoder(Encoder):
    """Text, tokenised by the tokenizer of what reads it, cut at max_tokens, padded to the longest of the batch.

    A batch has `input_ids` and `attention_mask`, (B, L) int64, and `token_type_ids` where the tokenizer gives
    them. An absent text is the empty string.

    Args:
        tokenizer: gives the tokenizer when first needed; a tower brings its own.
        max_tokens: longest text, special tokens included.
        keep: which tokens of a longer one are kept beside the special ones: `first`, `last` or `middle`.
        parts: how the cells of several columns make the text, where it has several.
        prompt: what is read, with "{text}" where the text goes; what is around that is never cut.
        prompts: task -> its own; then `prompt` is the longest.
        tower: reads the text; None for the backbone.
    """

    table = TextModality

    def __init__(
        self,
        tokenizer: Any,
        *,
        max_tokens: int | None = None,
        keep: str = "first",
        parts: Parts | None = None,
        prompt: str = TEXT,
        prompts: Mapping[str, str] = MappingProxyType({}),
        tower: Tower | None = None,
        **common: Any,
    ) -> None:
        width = 0 if tower is None else tower.width
        super().__init__(width=width, tokens=max_tokens, native=tower is None, tower=tower, **common)
        self._load, self.keep, self.parts, self.prompt = tokenizer, keep, parts, prompt
        self.prompts, self.reads_task = dict(prompts), bool(prompts)

    @classmethod
    def of(cls, modality: Any, name: str, context: BackboneContext) -> TextEncoder:
        native = modality.route == "backbone"
        if native and context.tokenizer is None:
            raise RecipeError("this backbone reads no text.", where=f"modality.{name}.kind")
        tower = None if native else tower_of(modality, name, context)
        if not native and tower is None:
            raise RecipeError(
                f'text of route "{modality.route}" needs a tower that reads it.',
                where=f"modality.{name}.route",
                hint='Write tower = { model = "bert-base" } or another text model, or route = "backbone".',
            )
        own = context.max_tokens if tower is None else tower.spec.max_tokens
        limits = [n for n in (modality.max_tokens, own) if n is not None]
        return cls(
            context.tokenizer,
            max_tokens=min(limits, default=None),
            keep=modality.keep,
            parts=Parts(modality.parts, tuple(modality.cut), modality.keep) if modality.parts else None,
            prompt=context.prompt if native else TEXT,
            prompts=context.prompts if native else {},
            tower=tower,
            **shared(modality, name),
        )

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded when first used; padding with the end token where it has no padding token.

        Raises:
            RecipeError: it adds more special tokens than a text may have; it would then silently cut nothing.
        """
        tokenizer = self._load() if self.tower is None else self.tower.tokenizer
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        taken = tokenizer.num_special_tokens_to_add()
        what = f"{taken} are special"
        if self.prompt != TEXT:
            taken = len(tokenizer(self.prompt.replace(TEXT, ""), verbose=False)["input_ids"])
            what = f"{taken} are special or of the prompt"
        if self.limit is not None and self.limit <= taken:
            raise RecipeError(
                f"{self.limit} tokens leave no room for words: {what}.",
                where=f"modality.{self.name}.max_tokens",
                hint=f"Write max_tokens = {taken + 1} or more.",
            )
        return tokenizer

    @property
    def preprocessing(self) -> dict[str, Any]:
        return {"tokenizer": tokenizer_identity(self.tokenizer)}

    @property
    def bounds(self) -> dict[str, Any]:
        return {**super().bounds, "around": self.prompt}

    def read(self, value: Any, where: str) -> str:
        if self.parts is None or isinstance(value, str):
            return self._whole(value, where)
        cells = self.parts.read(value, self.name, where)
        text = self._whole(self.parts.joined(cells), where)
        if not self.parts.cut or self.limit is None:
            return text
        fitted = self.parts.fitted(cells, self.limit, self._tokens, self._tokens_of)
        if fitted is None:
            raise DataError(
                f"{self.name} has more than {self.limit} tokens even without {', '.join(self.parts.cut)}.",
                where=where,
                hint=f"Raise modality.{self.name}.max_tokens, or name more parts in cut.",
            )
        return fitted

    def length(self, value: Any) -> int:
        if self.parts is not None and not isinstance(value, str):
            cells = self.parts.read(value, self.name, "")
            value = cells if isinstance(cells, str) else self.parts.joined(cells)
        return self._tokens(value)

    def _whole(self, value: Any, where: str) -> str:
        if not isinstance(value, str):
            raise DataError(f"{self.name} is of type {type(value).__name__}, not text.", where=where)
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{self.name} has half of a character at {error.start}.", where=where) from None
        return value

    def _tokens(self, text: Any) -> int:
        """How many tokens a text has in its prompt, special ones included."""
        return self._counted(self.prompt.replace(TEXT, self._whole(text, "")))

    def _counted(self, text: str) -> int:
        return len(self.tokenizer(text, verbose=False)["input_ids"])

    def _tokens_of(self, words: Sequence[str]) -> list[int]:
        """How many tokens each of some words has by itself."""
        rows = self.tokenizer(list(words), add_special_tokens=False, verbose=False)["input_ids"] if words else []
        return [len(row) for row in rows]

    def collate(self, values: list[str | None], ids: list[str], task: str | None = None) -> dict[str, Tensor]:
        texts = ["" if value is None else value for value in values]
        prompt = self.prompts.get(task or "", self.prompt)
        if prompt != TEXT:
            texts = [self._prompted(text, prompt) for text in texts]
        if self.keep == "middle" and self.limit is not None:
            batch = self._middles(texts, self.limit)
        else:
            self.tokenizer.truncation_side = "left" if self.keep == "last" else "right"
            batch = self.tokenizer(
                texts, padding=True, truncation=self.limit is not None, max_length=self.limit, return_tensors="pt"
            )
        return {**batch, "present": present_of(values)}

    def _prompted(self, text: str, prompt: str) -> str:
        """The prompt with as much of the text in it as fits the limit, its first, last or middle part."""
        whole = prompt.replace(TEXT, text)
        if self.limit is None or TEXT not in prompt or self._counted(whole) <= self.limit:
            return whole
        parts = Parts({TEXT: prompt.replace(TEXT, HOLE)}, (TEXT,), self.keep)
        fitted = parts.fitted({TEXT: text}, self.limit, self._counted, self._tokens_of)
        return fitted or prompt.replace(TEXT, "")

    def vectors(self, inputs: Any) -> tuple[Tensor, Tensor]:
        assert self.tower is not None, f"{self.name} goes to the backbone as it is"
        return self.tower(inputs)

    def _middles(self, texts: list[str], limit: int) -> dict[str, Tensor]:
        """As the tokenizer would, but cutting at both ends, which no tokenizer does."""
        rows = self.tokenizer(texts, return_special_tokens_mask=True, verbose=False)
        specials = rows.pop("special_tokens_mask")
        chosen = [middle(special, limit) for special in specials]
        longest = max(map(len, chosen))
        side = self.tokenizer.padding_side
        pads = {"input_ids": self.tokenizer.pad_token_id, "token_type_ids": self.tokenizer.pad_token_type_id}
        return {
            key: torch.tensor(
                [
                    _padded([row[i] for i in which], longest, pads.get(key, 0), side)
                    for row, which in zip(of, chosen, strict=True)
                ]
            )
            for key, of in rows.items()
        }


def middle(special: list[int], limit: int) -> list[int]:
    """Indices of a text's special tokens at both ends, and of its middle ones up to the limit.

    Args:
        special: per token, 1 for one that the tokenizer added.
        limit: how many are kept; more than there are special ones.
    """
    if len(special) <= limit:
        return list(range(len(special)))
    head = next((i for i, s in enumerate(special) if not s), len(special))
    tail = next((i for i, s in enumerate(reversed(special)) if not s), 0)
    inner = kept(len(special) - head - tail, limit - head - tail, "middle") + head
    return [*range(head), *inner.tolist(), *range(len(special) - tail, len(special))]


def _padded(row: list[int], length: int, value: int, side: str) -> list[int]:
    padding = [value] * (length - len(row))
    return padding + row if side == "left" else row + padding
