"""Training: from a recipe to a run folder with metrics and an artifact.

Imported on first use, so that importing a torch-free module of this package stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptkit.lazy import lazily

if TYPE_CHECKING:
    from adaptkit.training.callbacks import Callback
    from adaptkit.training.console import PlainReporter, RichReporter, console_reporter
    from adaptkit.training.folder import RunInfo, list_runs, newest_finished, read_run
    from adaptkit.training.interrupt import StopRequested
    from adaptkit.training.optimizers import OPTIMIZERS
    from adaptkit.training.result import RunResult
    from adaptkit.training.run import train
    from adaptkit.training.samplers import SAMPLERS
    from adaptkit.training.schedules import SCHEDULES

_HOME = {
    "OPTIMIZERS": "optimizers",
    "SAMPLERS": "samplers",
    "SCHEDULES": "schedules",
    "Callback": "callbacks",
    "PlainReporter": "console",
    "RichReporter": "console",
    "RunInfo": "folder",
    "RunResult": "result",
    "StopRequested": "interrupt",
    "console_reporter": "console",
    "list_runs": "folder",
    "newest_finished": "folder",
    "read_run": "folder",
    "train": "run",
}

__all__ = [*_HOME]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = lazily(__name__, _HOME)
