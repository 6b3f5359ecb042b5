"""A conversation with a model: what `adaptkit chat` does with every line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from adaptkit.artifact.load import load_artifact
from adaptkit.errors import DataError, UsageError
from adaptkit.evaluation.evaluating import best_device
from adaptkit.formats.load import conversation_of
from adaptkit.formats.records import read_records
from adaptkit.model import AdaptedModel
from adaptkit.model.inference import check_generates, predictions
from adaptkit.model.tasks import build_tasks


class Conversation:
    """What was said to a model, and what it answered.

    Args:
        model: one that chats.
        system: prompt before everything; "" for that of the recipe, or none.
        decoding: keys of `[task.NAME.decoding]` that are to be other than in the recipe.

    Attributes:
        messages: all of it, as data holds it.
        files: column -> the file that the model sees besides.

    Raises:
        UsageError: the model does not chat, or a key of decoding that cannot be.
    """

    def __init__(self, model: AdaptedModel, *, system: str = "", decoding: Mapping[str, Any] = MappingProxyType({})):
        check_generates(model.plan)
        self.model, self.decoding, self.recipe = model, dict(decoding), model.plan.recipe
        said = conversation_of(self.recipe)
        if said is None:
            raise UsageError(
                f"{self.recipe.name} answers single questions, not conversations.",
                where="chat",
                hint='Use adaptkit predict --stream; a recipe that chats has a modality of kind = "chat".',
            )
        self._column = self.recipe.modality[said].column or said
        self.messages: list[dict[str, Any]] = []
        self.files: dict[str, str] = {}
        self._streams = self._can_stream()
        self.begin(system)

    @property
    def shows(self) -> list[str]:
        """The columns that a file can be given for."""
        read = [(table.column or name, table) for name, table in self.recipe.modality.items()]
        return [column for column, table in dict(read).items() if table.cell_form.holds == "file"]

    def begin(self, system: str = "") -> None:
        """Forget everything, files too."""
        self.messages = [{"role": "system", "content": system}] if system else []
        self.files = {}

    def show(self, column: str, path: str) -> None:
        """Let the model see a file from now on.

        Raises:
            DataError: it is not there.
        """
        if not Path(path).expanduser().is_file():
            raise DataError(f"there is no file {path!r}.", where=column)
        self.files[column] = str(Path(path).expanduser().absolute())

    def say(self, text: str, write: Callable[[str], None]) -> str:
        """The answer to what a user says; nothing of both is kept where there is none.

        Args:
            text: of the user.
            write: gets the answer piece by piece, and "\\n" at its end.

        Raises:
            DataError: the text cannot be read, or a file that is needed or was given.
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        samples = read_records(self.recipe, [{self._column: messages, **self.files, "id": "chat"}])
        how: dict[str, Any] = {"batch_size": 1, "decoding": self.decoding}
        (found,) = predictions(self.model, samples, write=write if self._streams else None, **how)
        answer = found["text"]
        if not self._streams:
            write(f"{answer}\n")
        if answer.strip():  # nothing can be said to nothing
            self.messages = [*messages, {"role": "assistant", "content": answer}]
        return answer

    def _can_stream(self) -> bool:
        """Whether the answer is there word by word: not with beams, nor where several are compared."""
        (task,) = build_tasks(self.model.plan, None, self.decoding).values()
        assert task.speaker is not None, "the plan says that it generates"
        with suppress(UsageError):
            task.speaker.streamer(lambda piece: None)
            return True
        return False


def converse(
    source: str | Path,
    *,
    system: str = "",
    decoding: Mapping[str, Any] = MappingProxyType({}),
    device: str | torch.device | None = None,
    base: Path | None = None,
) -> Conversation:
    """Begin a conversation with a run or an artifact.

        talk = converse("runs/support/...")
        talk.say("How do I undo a commit?", print)

    Args:
        source: a run or artifact folder.
        system: see `Conversation`.
        decoding: see `Conversation`.
        device: by default the accelerator, if there is one.
        base: folder that relative paths of the recipe start from; see `load_artifact`.

    Raises:
        ArtifactError: see `load_artifact`.
        UsageError: see `Conversation`.
    """
    model = load_artifact(source, device=device or best_device(), base=base)
    return Conversation(model, system=system, decoding=decoding)
