"""The files of an artifact, each whole and as the others describe it. Nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from adaptkit.artifact.format import AGAIN, DESCRIPTION, TENSORS, Description, read_description, sha256
from adaptkit.artifact.save import dtype_of, refuse_not_finite
from adaptkit.errors import ArtifactError


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact whose files are whole and agree with each other.

    Attributes:
        folder: where it lies.
        description: content of adapter.json.
        tensors: content of adapter.safetensors.
    """

    folder: Path
    description: Description
    tensors: dict[str, Tensor]


def artifact_folder(path: Path) -> Path:
    """The artifact in a run folder, or the folder itself.

    Raises:
        ArtifactError: there is none.
    """
    for folder in (path, path / "artifact"):
        if (folder / DESCRIPTION).is_file() or (folder / TENSORS).is_file():
            return folder
    if not path.exists():
        raise ArtifactError("does not exist.", where=str(path), hint="`adaptkit runs` lists the runs there are.")
    status = json_or_empty(path / "status.json").get("status")
    if status is not None:
        hint = "Continue it: adaptkit train RECIPE --resume." if status == "interrupted" else ""
        raise ArtifactError(f"the run has no artifact; it is {status}.", where=str(path), hint=hint)
    raise ArtifactError("is neither a run nor an artifact folder.", where=str(path))


def read_artifact(folder: Path) -> Artifact:
    """Read and check the files of an artifact, without the backbone.

    Raises:
        ArtifactError: a file is missing, damaged, changed, or of another format.
    """
    return with_tensors(folder, read_description(folder))


def with_tensors(folder: Path, description: Description) -> Artifact:
    """The tensors of an artifact, which are those that its description describes."""
    path = folder / TENSORS
    content, tensors = read_tensors(path)
    if sha256(content) != description.sha256:
        raise ArtifactError(
            f"is not the file that {DESCRIPTION} describes: its SHA-256 differs.",
            where=str(path),
            hint=AGAIN,
        )
    listed = _forms(description.shapes, description.dtypes)
    if (found := forms(tensors)) != listed:
        raise ArtifactError(
            f"differs from what {DESCRIPTION} lists: {difference(found, listed)}.",
            where=str(path),
            hint=AGAIN,
        )
    refuse_not_finite(tensors, where=str(path))
    return Artifact(folder, description, tensors)


def read_tensors(path: Path) -> tuple[bytes, dict[str, Tensor]]:
    """A file of tensors, as bytes and as what they mean.

    Raises:
        ArtifactError: missing, unreadable or damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError("is missing.", where=str(path), hint="Export or train the adapter again.") from error
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}.", where=str(path)) from error
    try:
        return content, load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ArtifactError(f"is truncated or corrupt ({error}).", where=str(path), hint=AGAIN) from error


def forms(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Tensor name -> "float32 (3, 16)"."""
    return {name: f"{dtype_of(tensor)} {tuple(tensor.shape)}" for name, tensor in tensors.items()}


def _forms(shapes: Mapping[str, list[int]], dtypes: Mapping[str, str]) -> dict[str, str]:
    names = dict.fromkeys([*shapes, *dtypes])
    return {name: f"{dtypes.get(name, 'no dtype')} {tuple(shapes.get(name, ['no shape']))}" for name in names}


def difference(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """The first three differences, as text."""
    told = [f"{name} is missing" for name in sorted(set(wanted) - set(found))]
    told += [f"{name} is unexpected" for name in sorted(set(found) - set(wanted))]
    told += [
        f"{name} is {found[name]}, not {wanted[name]}"
        for name in sorted(set(found) & set(wanted))
        if found[name] != wanted[name]
    ]
    more = f" and {len(told) - 3} more" if len(told) > 3 else ""
    return "; ".join(told[:3]) + more


def json_or_empty(path: Path) -> dict[str, Any]:
    """The object in a JSON file that only tells more; {} where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
