"""What a task that generates keeps of a split: a sum of likelihoods, and the texts themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adaptkit.tasks.generation.metrics import exact_match, perplexity, token_f1
from adaptkit.tasks.generation.references import references_of
from adaptkit.tasks.generation.words import nll_of
from adaptkit.tasks.metric import Values, complete
from adaptkit.tasks.outcome import Outcome

if TYPE_CHECKING:
    from torch import Tensor


class Texts(Outcome):
    """Of a task whose outputs are texts. Logits are never kept: they are (B, A, V) numbers a batch."""

    def __init__(self, task: Any) -> None:
        super().__init__(task)
        self.texts: list[str] = []
        self.references: list[Any] = []
        self._predictions: list[dict[str, Any]] = []
        self._nll, self._tokens, self._samples = 0.0, 0, 0

    def add(self, outputs: Tensor, targets: Any) -> None:
        labels = targets["labels"]
        counted = (targets["weights"] > 0) & (labels >= 0).any(1)  # (B,): those with an answer
        self._nll += float(nll_of(outputs, labels.to(outputs.device))[counted.to(outputs.device)].sum())
        self._tokens += int((labels >= 0)[counted].sum())
        self._samples += len(labels)

    def answer(self, answers: Any, targets: Any) -> None:
        """The answers to one batch, and its encoded targets."""
        self.texts += [texts[0] for texts in answers.texts]
        self._predictions += self.task.decode(answers)
        self.references += [] if targets is None else targets["references"]

    def measure(self) -> tuple[Values, list[str]]:
        if self._samples == 0:
            return dict.fromkeys(self.task.measured), ["there are no samples, so no metric is defined"]
        values: Values = {"perplexity": perplexity(self._nll, self._tokens)}
        notes = ["perplexity is too large for a number"] if values["perplexity"] is None else []
        if self.texts:
            known = [references_of(value, "") for value in self.references]
            for name, metric in (("exact_match", exact_match), ("token_f1", token_f1)):
                each = [metric(text, right) for text, right in zip(self.texts, known, strict=True)]
                values[name] = sum(each) / len(each)
            for further in self.task.sets.values():
                more, told = further.compute(self.texts, self.references, self.task)  # type: ignore[arg-type]
                values, notes = values | more, notes + told
        else:
            values = {**dict.fromkeys(self.task.measured), **values}
        if len(self.texts) < self._samples:
            notes.append(f"metrics of texts are of {len(self.texts):,} of the {self._samples:,} samples")
        return complete(values, self.task.measured, self.task.name), notes

    def decode(self, items: Sequence[str] = ()) -> list[dict[str, Any]]:
        return self._predictions
