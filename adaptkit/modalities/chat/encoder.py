"""Conversations, for a backbone that answers in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from adaptkit.data.messages import is_conversation, is_learned
from adaptkit.errors import DataError, RecipeError
from adaptkit.modalities.chat.script import Script
from adaptkit.modalities.chat.table import OWN, ChatModality
from adaptkit.modalities.chat.templates import TEMPLATES
from adaptkit.modalities.context import BackboneContext
from adaptkit.modalities.encoder import MODALITIES, present_of
from adaptkit.modalities.text.encoder import TextEncoder

# B batch, L tokens of the longest opening

LEARNED, LEFT_OUT, UNLIKE = "tokens that train", "messages left out", "answers that come back otherwise"


@MODALITIES.register("chat")
class ChatEncoder(TextEncoder):
    """A conversation up to the answer that is due, in the form of a chat template, padded on the left.

    A batch has `input_ids` and `attention_mask`, (B, L) int64. What is learned of a conversation is the target of the
    task that answers in it, by the same script.

    Args:
        script: makes ids of messages.
    """

    table = ChatModality

    def __init__(self, script: Script, **common: Any) -> None:
        super().__init__(lambda: script.tokenizer, max_tokens=script.limit, **common)
        self.script, self.figures = script, ChatFigures(script, self.name)

    @classmethod
    def of(cls, modality: Any, name: str, context: BackboneContext) -> ChatEncoder:
        if context.tokenizer is None:
            raise RecipeError("this backbone reads no text.", where=f"modality.{name}.kind")
        limits = [n for n in (modality.max_tokens, context.max_tokens) if n is not None]
        script = cls.script_of(modality, name, context.tokenizer, min(limits, default=None))
        return cls(script, name=name, missing=modality.missing, modality_dropout=modality.modality_dropout)

    @classmethod
    def script_of(cls, modality: Any, name: str, tokenizer: Any, limit: int | None) -> Script:
        own = modality.template == OWN
        template = None if own else TEMPLATES.get(modality.template, modality.template)
        how = {"system": modality.system, "learn": modality.learn}
        return Script(tokenizer, template=template, limit=limit, name=name, **how)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded when first used; padding with the end token where it has no padding token."""
        tokenizer = self.script.tokenizer
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(self.script.end)
        return tokenizer

    @property
    def preprocessing(self) -> dict[str, Any]:
        own = self.tokenizer.chat_template if self.script.template is None else ""
        return {**super().preprocessing, "chat_template": f"sha256:{hashlib.sha256(own.encode()).hexdigest()}"}

    def read(self, value: Any, where: str) -> list[int]:
        if not is_conversation(value):
            hint = 'Write a list of {"role": "user", "content": "..."}; format = "chat" reads other shapes as well.'
            raise DataError(f"{self.name} is no conversation.", where=where, hint=hint)
        self.script.check(value, where)
        return self.script.opening(value, where)

    def length(self, value: Any) -> int:
        """Of the whole conversation, with nothing left out."""
        return self.script.whole(value, "")

    def collate(self, values: list[list[int] | None], ids: list[str], task: str | None = None) -> dict[str, Tensor]:
        rows = [value or [] for value in values]
        longest, pad = max(map(len, rows)), self.tokenizer.pad_token_id
        filled = [[pad] * (longest - len(row)) + row for row in rows]
        counts = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        batch = {"input_ids": filled, "attention_mask": counts}
        found = {key: torch.tensor(value, dtype=torch.long).view(len(rows), longest) for key, value in batch.items()}
        return {**found, "present": present_of(values)}


class ChatFigures:
    """What `data check` counts of conversations.

    Args:
        script: makes ids of messages.
        name: of the modality.
    """

    def __init__(self, script: Script, name: str) -> None:
        self.script, self.name = script, name

    def of(self, value: Any, where: str) -> Mapping[str, int]:
        """See `adaptkit.data.checking.Figures`."""
        told = self.script.told(value, where)
        said = [message["content"] for message in value if is_learned(message)]
        back = self.script.answer(told).strip() == said[-1].strip()
        return {LEARNED: told.learned, LEFT_OUT: told.left_out, UNLIKE: int(not back)}

    def odd(self, totals: Mapping[str, int]) -> Iterator[str]:
        """See `adaptkit.data.checking.Figures`."""
        if totals.get(UNLIKE):
            yield f"{totals[UNLIKE]:,} {self.name} have a last answer whose tokens, read back, are not its words."
