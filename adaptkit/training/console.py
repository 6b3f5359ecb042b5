"""Reporters for people: plain lines off a terminal, a progress bar on one. Both write to stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from adaptkit.training.callbacks import (
    Callback,
    Evaluated,
    RunStarted,
    SeedStarted,
    StepDone,
    Validated,
    written,
)


def console_reporter(stream: TextIO | None = None) -> Callback:
    """The reporter that suits the stream (default: stderr)."""
    chosen = sys.stderr if stream is None else stream
    return RichReporter(chosen) if chosen.isatty() else PlainReporter(chosen)


class PlainReporter(Callback):
    """One line per event; of the steps, about ten in all.

    Args:
        stream: where the lines go (default: stderr).
        every: optimizer steps between two lines; None for a tenth of the training.
    """

    def __init__(self, stream: TextIO | None = None, *, every: int | None = None) -> None:
        self._stream = stream or sys.stderr
        self._every = every

    def run_started(self, event: RunStarted) -> None:
        for line in opening(event):
            self._write(line)

    def seed_started(self, event: SeedStarted) -> None:
        self._write(f"seed {event.seed}" + (f", continued at step {event.step}" if event.step else ""))

    def step_done(self, event: StepDone) -> None:
        every = self._every or max(1, event.steps // 10)
        if event.step % every == 0 or event.step == event.steps:
            self._write(f"  step {event.step}/{event.steps}  loss {event.loss:.4f}  lr {event.lr:.3g}")

    def validated(self, event: Validated) -> None:
        self._write(validation_line(event), style="bold green" if event.best else None)

    def evaluated(self, event: Evaluated) -> None:
        self._write(evaluation_line(event))

    def note(self, text: str) -> None:
        self._write(f"  {text}", style="yellow")

    def run_finished(self, run: Path, seconds: float) -> None:
        self._write(f"finished in {duration(seconds)}: {run}")

    def _write(self, line: str, style: str | None = None) -> None:
        print(line, file=self._stream, flush=True)


class RichReporter(PlainReporter):
    """A progress bar per seed with the running loss; what lasts is printed above it, in colours."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._console = Console(file=self._stream, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._steps = 0

    def run_started(self, event: RunStarted) -> None:
        self._steps = event.steps
        super().run_started(event)

    def seed_started(self, event: SeedStarted) -> None:
        self.close()
        self._bar = Progress(
            TextColumn("seed {task.fields[seed]}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("train", total=self._steps, completed=event.step, seed=event.seed, loss="-")
        self._bar.start()

    def step_done(self, event: StepDone) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=event.step, loss=f"{event.loss:.4f}")

    def evaluated(self, event: Evaluated) -> None:
        self.close()
        super().evaluated(event)

    def run_finished(self, run: Path, seconds: float) -> None:
        self.close()
        super().run_finished(run, seconds)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _write(self, line: str, style: str | None = None) -> None:
        self._console.print(line, style=style, markup=False, soft_wrap=True)


def opening(event: RunStarted) -> list[str]:
    """The lines that begin a run."""
    share = 100 * event.trainable / max(1, event.total)
    seeds = f"{'seed' if len(event.seeds) == 1 else 'seeds'} {', '.join(map(str, event.seeds))}"
    counts = f"{event.trainable:,} of {event.total:,} parameters train ({share:.2f} %)"
    return [
        f"{event.name}: {counts} on {event.device}",
        f"  data: {event.data}",
        f"  {event.epochs} epochs, {event.steps} steps, {seeds}",
        f"  run: {event.run}",
    ]


def validation_line(event: Validated) -> str:
    """`  epoch 2/3  loss 0.41  accuracy 0.87  (best)`."""
    mark = "  (best)" if event.best else ""
    return f"  epoch {event.epoch}/{event.epochs}  validation  {written(event.metrics, event.monitor)}{mark}"


def evaluation_line(event: Evaluated) -> str:
    """`  test without image  loss 0.69  accuracy 0.51`."""
    without = f" without {', '.join(event.dropped)}" if event.dropped else ""
    return f"  {event.split}{without}  {written(event.metrics, event.monitor)}"


def duration(seconds: float) -> str:
    """`48 s`, `2 min 05 s`, `1 h 04 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
