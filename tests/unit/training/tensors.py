"""What an interrupted and resumed run must have in common with a whole one."""

from __future__ import annotations

from pathlib import Path

from adaptkit.training.checkpoint import PREVIOUS


def tensors(run: Path) -> dict[str, bytes]:
    """Bytes of every artifact and checkpoint, but for the last but one: that is of when the run was interrupted."""
    files = [file for file in run.rglob("*.safetensors") if file.name != PREVIOUS]
    return {str(file.relative_to(run)): file.read_bytes() for file in files}
