"""TensorBoard files, for who asks for them; the only file that needs the extra."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adaptkit.errors import UnavailableError


def require_tensorboard() -> None:
    """Raises UnavailableError if the extra is not installed."""
    if find_spec("tensorboard") is None:
        raise UnavailableError(
            "train.tensorboard = true needs TensorBoard.", hint='pip install "adaptkit[tensorboard]"'
        )


class TensorBoardLog:
    """Writes each number under `seed<seed>/<kind>/<name>`."""

    def __init__(self, folder: Path) -> None:
        require_tensorboard()
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def write(self, kind: str, *, seed: int, epoch: int, step: int, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._writer.add_scalar(f"seed{seed}/{kind}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()
