"""What every kind of task does with its targets: check, encode, count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol


class Speaker(Protocol):
    """What generates the answers of a task whose outputs are texts.

    Attributes:
        seed: of what is drawn.
    """

    seed: int

    def connect(self, tokenizer: Callable[[], Any], *, framed: bool, script: Any = None) -> None:
        """Take what gives the backbone's tokenizer when first needed.

        Args:
            tokenizer: loads it.
            framed: the backbone reads a target as a sequence of its own, not behind the prompt.
            script: finds targets in what the backbone reads (`told`, `check`, `ends`); None where they have a column
                of their own.
        """

    def answers(self, model: Any, inputs: Mapping[str, Any], *, drop: Any = (), streamer: Any = None) -> Any:
        """What a model answers to a batch, for `decode`.

        Args:
            model: an adapted model.
            inputs: modality -> collated tensors.
            drop: modalities to leave out.
            streamer: gets the ids of the tokens as they come.
        """

    def streamer(self, write: Callable[[str], None]) -> Any:
        """What hands on a text while it is generated.

        Raises:
            UsageError: it is generated in a way that has no text before its end.
        """

    def samples(self, split: str, of: int) -> int:
        """How many samples of a split answers are generated for."""
        ...


class Encodes:
    """The base of tasks: from raw targets to what a loss takes.

    Attributes:
        speaker: what generates its texts; None for tasks whose outputs are numbers.
    """

    speaker: Speaker | None = None

    def check(self, values: Sequence[Any], ids: Sequence[str]) -> None:
        """Raise DataError, naming the sample, for raw targets that `encode` cannot take."""
        self.encode(values, ids)

    def encode(self, values: Sequence[Any], ids: Sequence[str]) -> Any:
        """Raw targets as `loss` takes them: a tensor, or a dict of tensors and of what metrics compare with.

        Raises:
            DataError: naming the sample.
        """
        raise NotImplementedError

    def encode_for_training(self, values: Sequence[Any], ids: Sequence[str]) -> Any:
        """`encode`, for a step of training; what is drawn at random comes from Python's generator."""
        return self.encode(values, ids)

    def amount(self, targets: Any) -> float:
        """How much a batch counts among others: its loss is a mean over so many equal parts. By default, samples."""
        return len(targets)
