"""Answers in words: by transformers' search, or the likeliest of given ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from adaptkit.errors import UsageError
from adaptkit.tasks.generation.words import Words, nll_of

if TYPE_CHECKING:
    from torch import nn

# B batch, A tokens of an answer, C choices


@dataclass(frozen=True, slots=True)
class Answers:
    """What was generated for a batch.

    Attributes:
        texts: of every sample, the best first.
        scores: of every one of them a number that is higher for a better one; None where nothing compared them.
    """

    texts: list[list[str]]
    scores: list[list[float]] | None


class Streamed:
    """What transformers' search gives ids as it finds them, of one sample at a time; hands on what is new as text.

    Args:
        words: the tokenizer.
        stop: texts that end an answer.
        write: gets the pieces, and "\\n" at an answer's end.
    """

    def __init__(self, words: Words, stop: Sequence[str], write: Callable[[str], None]) -> None:
        self.words, self.stop, self.write = words, stop, write
        self._ids: list[int] = []
        self._begun, self._shown = False, 0

    def put(self, value: Any) -> None:
        """Ids; the first ones are those before the answer."""
        if not self._begun:
            self._begun = True
            return
        self._ids += value.flatten().tolist()
        self._show()

    def end(self) -> None:
        """The answer is complete."""
        self._show(complete=True)
        self.write("\n")
        self._ids, self._begun, self._shown = [], False, 0

    def _show(self, *, complete: bool = False) -> None:
        text = self.words.text(self._ids, self.stop)
        # A character of several tokens is not there yet, and a text that stops an answer may have begun.
        held = 0 if complete else max((len(word) - 1 for word in self.stop), default=0)
        ready = len(text) - held if complete or not text.endswith("\ufffd") else 0
        if ready > self._shown:
            self.write(text[self._shown : ready])
            self._shown = ready


class AnswersInWords:
    """What generates the answers of a task.

    Args:
        name: of the task.
        spec: its table.
    """

    def __init__(self, name: str, spec: Any) -> None:
        self.name, self.spec, self.seed = name, spec, spec.decoding.seed
        self._load: Callable[[], Any] | None = None
        self._framed, self.script = False, None

    def connect(self, tokenizer: Callable[[], Any], *, framed: bool, script: Any = None) -> None:
        """See `adaptkit.tasks.targets.Speaker`."""
        self._load, self._framed, self.script = tokenizer, framed, script

    @cached_property
    def words(self) -> Words:
        """The backbone's tokenizer, loaded when first used.

        Raises:
            RecipeError: it has no token that could end an answer.
        """
        assert self._load is not None, "build_tasks connects it"
        ends = () if self.script is None else self.script.ends
        return Words(self._load(), framed=self._framed, ends=ends)

    def streamer(self, write: Callable[[str], None]) -> Streamed:
        """See `adaptkit.tasks.targets.Speaker`."""
        told = self.spec.decoding
        if told.beams > 1 or told.returned > 1 or told.choices:
            what = "choices" if told.choices else "several beams or answers"
            hint = "Leave --stream out, or decode greedily or by sampling."
            raise UsageError(f"with {what} no text is there before its end.", where="--stream", hint=hint)
        return Streamed(self.words, told.stop, write)

    def samples(self, split: str, of: int) -> int:
        """All of every split but of one that is looked at after each epoch."""
        limit = self.spec.decoding.validation_samples
        return of if split != "validation" or isinstance(limit, str) else min(limit, of)

    def answers(self, model: Any, inputs: Mapping[str, Any], *, drop: Any = (), streamer: Any = None) -> Answers:
        """See `adaptkit.tasks.targets.Speaker`."""
        if self.spec.decoding.choices:
            return self._choice(model, inputs, drop)
        stop = self.spec.decoding.stop
        how = {"drop": drop, "stops": self._stops if stop else None, "streamer": streamer}
        found = model.generate_ids(inputs, self.name, self._settings(), **how)
        texts = [[self.words.text(row, stop) for row in rows] for rows in found.ids.tolist()]
        return Answers(texts, None if found.scores is None else found.scores.tolist())

    def _settings(self) -> dict[str, Any]:
        """The keys of transformers' GenerationConfig."""
        told = self.spec.decoding
        found: dict[str, Any] = {
            "max_new_tokens": told.max_new_tokens or self.spec.max_tokens,
            "num_beams": told.beams,
            "num_return_sequences": told.returned,
            "do_sample": told.do_sample,
            "repetition_penalty": told.repetition_penalty,
            "no_repeat_ngram_size": told.no_repeat_ngram_size,
            "eos_token_id": self.words.ends,
            "pad_token_id": self.words.pad,
        }
        if told.do_sample:
            found |= {"temperature": told.temperature, "top_k": told.top_k, "top_p": told.top_p}
        if told.beams > 1:
            found |= {"length_penalty": told.length_penalty, "early_stopping": told.early_stopping}
        return found

    def _stops(self, ids: list[int]) -> bool:
        text = self.words.text(ids)
        return any(word in text for word in self.spec.decoding.stop)

    def _choice(self, model: nn.Module, inputs: Mapping[str, Any], drop: Any) -> Answers:
        """The choices by their likelihood as a whole, the end token's included; scores are shares of the likelihood."""
        import torch

        choices = list(self.spec.decoding.choices)
        rows = next(iter(inputs.values()))["present"]  # (B,)
        columns = []
        for choice in choices:
            labels = self.words.labels([choice]).to(rows.device).expand(len(rows), -1)  # (B, A)
            logits = model(inputs, drop=drop, targets={self.name: {"labels": labels}})[self.name]
            columns.append(-nll_of(logits, labels))
        shares = torch.stack(columns, dim=1).softmax(1)  # (B, C)
        order = shares.argsort(dim=1, descending=True, stable=True)
        texts = [[choices[at] for at in row] for row in order.tolist()]
        return Answers(texts, shares.gather(1, order).tolist())
