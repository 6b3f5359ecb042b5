"""What a result may depend on beside the recipe: versions, machine, threads."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import Any

import torch

from adaptkit import __version__

_PACKAGES = (
    "torch",
    "transformers",
    "timm",
    "accelerate",
    "numpy",
    "scikit-learn",
    "safetensors",
)


def environment(device: str) -> dict[str, Any]:
    """Content of env.json."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "packages": {"adaptkit": __version__, **{name: version(name) for name in _PACKAGES}},
        "device": device,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def version(package: str) -> str | None:
    """Installed version; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
