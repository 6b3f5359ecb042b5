"""metrics.jsonl: one line per logged step and per validation, for any tool that reads lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from adaptkit.atomic import unwritable, write_text

METRICS = "metrics.jsonl"


class Log(Protocol):
    """Where numbers go while a training runs."""

    def write(self, kind: str, *, seed: int, epoch: int, step: int, values: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


class MetricsLog:
    """Appends lines `{"kind", "seed", "epoch", "step", ...}`.

    The file is open only while a line is written: a crash loses none, and `forget_after` may replace it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._append("")

    def write(self, kind: str, *, seed: int, epoch: int, step: int, values: dict[str, Any]) -> None:
        """Append one line. `kind` is "train" or "validation"."""
        line = {"kind": kind, "seed": seed, "epoch": epoch, "step": step, **values}
        self._append(json.dumps(line) + "\n")

    def close(self) -> None:
        """Nothing stays open."""

    def _append(self, text: str) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise unwritable(self._path, error) from error


def forget_after(path: Path, *, seed: int, step: int, epochs: int) -> None:
    """Drop the lines a crashed run wrote after its last checkpoint, which a resumed run writes again.

    Args:
        path: metrics.jsonl.
        seed: whose lines.
        step: optimizer steps made at the checkpoint.
        epochs: epochs validated at the checkpoint.
    """
    if not path.exists():
        return
    kept = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # the half line of a crash
        again = line["step"] > step or (line["kind"] == "validation" and line["epoch"] > epochs)
        if line["seed"] != seed or not again:
            kept.append(text)
    write_text(path, "".join(f"{text}\n" for text in kept))


class Logs:
    """Several logs as one."""

    def __init__(self, *logs: Log) -> None:
        self._logs = logs

    def write(self, kind: str, *, seed: int, epoch: int, step: int, values: dict[str, Any]) -> None:
        for log in self._logs:
            log.write(kind, seed=seed, epoch=epoch, step=step, values=values)

    def close(self) -> None:
        for log in self._logs:
            log.close()
