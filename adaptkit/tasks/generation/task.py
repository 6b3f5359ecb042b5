"""A task whose outputs are texts: its targets as labels, their loss, and answers in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from adaptkit.tasks.generation.metrics import METRICS
from adaptkit.tasks.generation.references import Reference, best, drawn, references_of
from adaptkit.tasks.generation.speaker import Answers, AnswersInWords
from adaptkit.tasks.generation.table import Generation
from adaptkit.tasks.generation.texts import Texts
from adaptkit.tasks.generation.words import IGNORED
from adaptkit.tasks.metric import Metric
from adaptkit.tasks.task import TASKS, Task

if TYPE_CHECKING:
    from torch import Tensor

# B batch, A tokens of an answer, V words of the vocabulary

NOTHING = Reference("", 0.0)  # where no answer is right: there is nothing to learn


@TASKS.register("generation")
class GenerationTask(Task):
    """Text. Encoded targets are `labels` (B, A) int64, -100 behind the end, and `weights` (B,) float32.

    Those of an evaluation have `references` besides, the raw targets. Outputs are (B, A, V) logits of the labels. Of
    conversations there are also `ids` (B, T), all that was said up to the last label, -100 where nothing was.

    The loss is cross-entropy, of the answer's tokens alone. Every sample's is the mean over its tokens, and the loss
    their mean; or with `average = "tokens"` the mean over all tokens. A sample whose target has no answer weighs 0.

    Args:
        spec: its table.
    """

    table = Generation
    kind = "generation"
    default_monitor = "perplexity"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    def __init__(self, name: str, spec: Any, **common: Any) -> None:
        super().__init__(name, outputs=0, **common)
        self.spec = spec
        self.speaker = self._answering = AnswersInWords(name, spec)

    @classmethod
    def of(cls, spec: Any, name: str, training_targets: Sequence[Any] | None) -> GenerationTask:
        return cls(name, spec, **cls.shared(spec))

    def check(self, values: Sequence[Any], ids: Sequence[str]) -> None:
        script = self._answering.script
        for value, where in zip(values, ids, strict=True):
            references_of(value, where)
            if script is not None:
                script.check(value, where)
                script.told(value, where)

    def encode(self, values: Sequence[Any], ids: Sequence[str]) -> dict[str, Any]:
        if self._answering.script is not None:
            said = [references_of(value, where)[0].text for value, where in zip(values, ids, strict=True)]
            return {**self._told(values, ids), "references": said}
        found = [references_of(value, where) for value, where in zip(values, ids, strict=True)]
        return {**self._encoded([best(each or [NOTHING]) for each in found]), "references": list(values)}

    def encode_for_training(self, values: Sequence[Any], ids: Sequence[str]) -> dict[str, Any]:
        if self._answering.script is not None:
            return self._told(values, ids, training=True)
        found = [references_of(value, where) for value, where in zip(values, ids, strict=True)]
        return self._encoded([drawn(each or [NOTHING], self.spec.draw) for each in found])

    def _told(self, values: Sequence[Any], ids: Sequence[str], *, training: bool = False) -> dict[str, Any]:
        """Conversations whole: their first answers begin in one column, and from there on there are labels."""
        import torch

        script: Any = self._answering.script
        told = [script.told(value, where, training=training) for value, where in zip(values, ids, strict=True)]
        before = max(each.start for each in told)
        behind = max(len(each.ids) - each.start for each in told)

        def row(of: list[int], start: int) -> list[int]:
            return [IGNORED] * (before - start) + of + [IGNORED] * (behind - len(of) + start)

        read = torch.tensor([row(each.ids, each.start) for each in told])  # (B, T)
        labels = torch.tensor([row(each.labels, each.start) for each in told])[:, before:]  # (B, A)
        return {"ids": read, "labels": labels, "weights": torch.ones(len(told))}

    def _encoded(self, chosen: Sequence[Reference]) -> dict[str, Any]:
        import torch

        by_score = self.spec.weight_by == "score"
        weights = [each.score if by_score else float(each is not NOTHING) for each in chosen]
        labels = self._answering.words.labels([each.text for each in chosen], self.spec.max_tokens)
        return {"labels": labels, "weights": torch.tensor(weights)}

    def amount(self, targets: Mapping[str, Any]) -> float:
        if self.spec.average == "samples":
            return len(targets["labels"])
        return float(((targets["labels"] != IGNORED) & (targets["weights"] > 0)[:, None]).sum())

    def loss(self, logits: Tensor, targets: Any) -> Tensor:
        """Scalar loss of (B, A, V) logits, in float32."""
        import torch
        from torch.nn.functional import cross_entropy

        labels, weights = targets["labels"], targets["weights"]
        each = cross_entropy(
            logits.float().flatten(0, 1),
            labels.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self.spec.label_smoothing,
            reduction="none",
        ).view_as(labels)  # (B, A), 0 where there is no label
        counts = labels != IGNORED
        if self.spec.average == "samples":
            return (each.sum(1) / counts.sum(1) * weights).mean()
        tokens = (counts & (weights > 0)[:, None]).sum()
        return (each.sum(1) * weights).sum() / torch.clamp(tokens, min=1)

    def outcome(self) -> Texts:
        return Texts(self)

    def decode(self, logits: Any, items: Sequence[str] = ()) -> list[dict[str, Any]]:
        """`text`; several answers as `texts` and `scores`, choices with their `probabilities`.

        Args:
            logits: the Answers of a batch.
            items: unused.
        """
        answers: Answers = logits
        found: list[dict[str, Any]] = [{"text": texts[0]} for texts in answers.texts]
        for index, prediction in enumerate(found):
            scores = None if answers.scores is None else answers.scores[index]
            if self.spec.decoding.choices and scores is not None:
                by_name = dict(zip(answers.texts[index], scores, strict=True))
                prediction["probabilities"] = {choice: by_name[choice] for choice in self.spec.decoding.choices}
            elif self.spec.decoding.returned > 1:
                prediction["texts"] = answers.texts[index]
                prediction |= {} if scores is None else {"scores": scores}
        return found
