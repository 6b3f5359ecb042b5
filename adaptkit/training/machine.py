"""The machine a training runs on: its device and precision, what env.json says of it, and running out of its memory."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from adaptkit.atomic import write_json
from adaptkit.errors import OutOfMemory, UnavailableError
from adaptkit.version import __version__

_MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
_PACKAGES = ("torch", "transformers", "timm", "accelerate", "numpy", "scikit-learn", "safetensors")


def build_accelerator(precision: str) -> Accelerator:
    """Accelerate's view of the machine for this precision.

    Raises:
        UnavailableError: fp16 without a GPU, or several processes.
    """
    # On the CPU accelerate sees one process, however many a launcher started: all would train into the same folder.
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UnavailableError(
            f"this is one of {os.environ['WORLD_SIZE']} processes, and a training runs in one.",
            hint="Start it as adaptkit train, without torchrun or accelerate launch, or with one process.",
        )
    # Accelerate keeps the precision for the whole process; a second training may want another one.
    AcceleratorState._reset_state()
    try:
        accelerator = Accelerator(mixed_precision=_MIXED[precision])
    except ValueError as error:
        raise UnavailableError(f'train.precision = "{precision}" does not work here: {error}') from error
    if precision == "fp16" and accelerator.device.type == "cpu":
        raise UnavailableError('train.precision = "fp16" needs a GPU.', hint='Use "bf16" or "fp32" on the CPU.')
    return accelerator


def environment(device: str) -> dict[str, Any]:
    """Content of env.json: what a result may depend on besides the recipe."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "packages": {"adaptkit": __version__, **{name: metadata.version(name) for name in _PACKAGES}},
        "device": device,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def changes(recorded: Path, now: Mapping[str, Any]) -> list[str]:
    """What is not as it was when the run was started, one sentence each; the record is extended by what it is now.

    Args:
        recorded: env.json of the run.
        now: of `environment`.
    """
    try:
        then = json.loads(recorded.read_text(encoding="utf-8"))
        before = {**then, **then["packages"]}
        for later in then.get("resumed", []):
            before |= later
        known = {**now, **now["packages"]}
        new = {name: value for name, value in known.items() if name != "packages" and before.get(name) != value}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        return [f"{recorded} is not readable ({error}), so another machine or version would not be noticed."]
    if new:
        write_json(recorded, {**then, "resumed": [*then.get("resumed", []), new]})
    told = [f"{name} was {before.get(name)} before, and is {value} now" for name, value in new.items()]
    return [f"{text}: the last digits of the result may be others." for text in told]


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn the ways of running out of memory into one error.

    Raises:
        OutOfMemory: with what to change.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
            text = str(error).lower()
            if "out of memory" not in text and "can't allocate memory" not in text:
                raise
        raise OutOfMemory(
            "the machine ran out of memory.",
            hint="Lower train.batch_size and raise train.accumulation by the same factor, "
            "or set train.gradient_checkpointing = true.",
        ) from error
