"""Where the numbers of a training go: metrics.jsonl, and the trackers of accelerate that the recipe names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from accelerate import tracking

from adaptkit.atomic import unwritable, write_text
from adaptkit.errors import RecipeError, UnavailableError, nearest
from adaptkit.recipe import Recipe, resolved_tables

METRICS = "metrics.jsonl"


class Log:
    """The numbers of one seed.

    The file is open only while a line is written: a crash loses none, and `forget_after` may replace it.

    Args:
        path: metrics.jsonl, to which lines `{"kind", "seed", "epoch", "step", ...}` are appended.
        seed: whose numbers.
        trackers: started ones, which get every number as `KIND/NAME`.
    """

    def __init__(self, path: Path, seed: int, *trackers: tracking.GeneralTracker) -> None:
        self.path, self.seed, self.trackers = path, seed, trackers
        self._append("")

    def write(
        self, kind: str, *, epoch: int, step: int, values: Mapping[str, Any], details: Mapping[str, Any] | None = None
    ) -> None:
        """Append one line.

        Args:
            kind: "train", "validation" or "adapters".
            epoch: from 1.
            step: optimizer steps made.
            values: the numbers; those in nested tables have dotted names in trackers.
            details: for the file alone.
        """
        line = {"kind": kind, "seed": self.seed, "epoch": epoch, "step": step, **values, **(details or {})}
        self._append(json.dumps(line) + "\n")
        numbers = {f"{kind}/{name}": value for name, value in flat(values).items() if isinstance(value, int | float)}
        for tracker in self.trackers:
            tracker.log(numbers, step=step)

    def forget_after(self, *, step: int, epochs: int) -> None:
        """Drop the lines a crashed run wrote after its last checkpoint, which a resumed run writes again.

        Args:
            step: optimizer steps made at the checkpoint.
            epochs: epochs validated at the checkpoint.
        """
        kept = []
        for text in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
                again = line["step"] > step or (line["kind"] != "train" and line["epoch"] > epochs)
                kept += [text] * (line["seed"] != self.seed or not again)
            except (ValueError, KeyError, TypeError):
                continue  # the half line of a crash
        write_text(self.path, "".join(f"{text}\n" for text in kept))

    def _append(self, text: str) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise unwritable(self.path, error) from error


@contextmanager
def open_log(run: Path, recipe: Recipe, seed: int, *, step: int = 0) -> Iterator[Log]:
    """The log of a seed, with its trackers started; each seed is a run of its own there, under the recipe's name.

    Trackers that keep files do so in `<run>/<tracker>/seed<seed>`. The one that can forget what comes after `step`, at
    which a training is continued, does so.
    """
    config = {"run": str(run), "seed": seed, **flat(resolved_tables(recipe))}
    config = {key: value if isinstance(value, bool | int | float) else str(value) for key, value in config.items()}
    trackers = []
    with ExitStack() as finishing:
        for name, kind in tracker_classes(recipe).items():
            own = (f"seed{seed}", run / name) if kind.requires_logging_directory else (recipe.name,)
            tracker = kind(*own, **({"purge_step": step + 1} if step and name == "tensorboard" else {}))
            tracker.start()
            finishing.callback(tracker.finish)
            tracker.store_init_configuration(config)
            trackers.append(tracker)
        yield Log(run / METRICS, seed, *trackers)


def tracker_classes(recipe: Recipe) -> dict[str, Any]:
    """Name -> class of the trackers in `train.track`, and of TensorBoard where `train.tensorboard` asks for it.

    Raises:
        RecipeError: accelerate knows none of this name.
        UnavailableError: its package is not installed.
    """
    spec, known = recipe.train, tracking.LOGGER_TYPE_TO_CLASS
    found = {}
    for name in dict.fromkeys([*["tensorboard"] * spec.tensorboard, *spec.track]):
        where = recipe.where("train.track" if name in spec.track else "train.tensorboard")
        if name not in known:
            raise RecipeError(f"train.track: there is no tracker {name!r}.", where=where, hint=nearest(name, known))
        of_accelerate = known[name].__module__ == tracking.__name__
        if of_accelerate and name not in map(str, tracking.get_available_trackers()):
            package = '"adaptkit[tensorboard]"' if name == "tensorboard" else name
            raise UnavailableError(f"the tracker {name} is not installed.", where=where, hint=f"pip install {package}")
        found[name] = known[name]
    return found


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, of nested tables."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value
    return values
