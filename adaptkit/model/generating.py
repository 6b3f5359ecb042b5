"""What an adapted model does in words: the scores of given answers, answers of its own, and texts for plain samples."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import Tensor, nn

from adaptkit import sides
from adaptkit.anatomy.calling.forward import Call
from adaptkit.anatomy.calling.generating import Sequences, answered, generated, opening, told, word_scores
from adaptkit.model.encoded import Encoded, Inputs
from adaptkit.plan import Plan
from adaptkit.sides import Side

# B batch, P tokens before the answer, A tokens of an answer, K answers per sample, V words


class Generates(nn.Module):
    """The base of an adapted model, for tasks whose outputs are texts."""

    plan: Plan
    backbone: nn.Module

    def generate_ids(
        self,
        inputs: Inputs,
        task: str,
        settings: Mapping[str, Any],
        *,
        drop: Collection[str] = (),
        stops: Callable[[list[int]], bool] | None = None,
        streamer: Any = None,
    ) -> Sequences:
        """Answers to a collated batch, by transformers' search. The encoders run once, whatever the search.

        Args:
            inputs: modality -> tensors.
            task: that is answered.
            settings: keys of transformers' GenerationConfig.
            drop: modalities that count as absent in every sample.
            stops: whether an answer so far ends here, of its ids.
            streamer: gets the ids as they come.
        """
        encoded = self._encoded_for(inputs, drop, task)
        call = self._opening(encoded)
        with self._laid_out(encoded, call, task, dict(encoded.blocks)):
            return generated(self.backbone, self.plan.spec, call, settings, stops=stops, streamer=streamer)

    def speak(self, encoded: Encoded, targets: Mapping[str, Tensor], *, task: str | None) -> Tensor:
        """(B, A, V) logits of given answers, each word seen after those before it (teacher forcing).

        Args:
            encoded: the batch.
            targets: `labels`, (B, A) ids, the end among them and -100 behind it. With `ids`, (B, T), which end where
                the labels do, these are read in place of the text: conversations in which some words are labels.
            task: for adapters that tell tasks apart.
        """
        labels = targets["labels"]
        if "ids" in targets:
            call = told(self.backbone, targets["ids"], encoded.tokens)
        else:
            call = answered(self.backbone, self.plan.spec, self._opening(encoded), labels)
        with self._laid_out(encoded, call, task, dict(encoded.blocks)):
            return word_scores(self.backbone, call, labels.shape[1])

    def _opening(self, encoded: Encoded) -> Call:
        return opening(self.backbone, self.plan.spec, encoded.native.get("text"), encoded.tokens)

    @contextmanager
    def _laid_out(self, encoded: Encoded, call: Call, task: str | None, blocks: dict[str, Side]) -> Iterator[None]:
        """The sides of the batch, for everything that the backbone runs inside."""
        given = {"task": task, "spans": encoded.spans, "blocks": blocks, "behind": call.behind}
        with (
            sides.use_sides(encoded.streams, call.masks, **given),  # type: ignore[arg-type]
            self._replayed("", encoded.kept),
        ):
            yield

    def _replayed(self, model: str, given: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _encoded_for(self, inputs: Inputs, drop: Collection[str], task: str) -> Encoded:
        raise NotImplementedError
