"""What lies in an artifact folder: its files, and the content of `adapter.json`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from adaptkit.errors import ArtifactError

FORMAT = 1
TENSORS = "adapter.safetensors"
DESCRIPTION = "adapter.json"
CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Base:
    """The backbone, or a tower, that an artifact belongs to.

    Attributes:
        name: as the recipe names it.
        id: hub id, timm name, local folder, or the type of a model built from a configuration.
        library: "transformers" or "timm".
        revision: of the hub repository, or None.
        fingerprint: SHA-256 over its tensors before anything was trained.
    """

    name: str
    id: str
    library: str
    revision: str | None
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Description:
    """Content of adapter.json.

    Attributes:
        name: of the recipe.
        recipe: the resolved recipe, as TOML.
        base: the backbone.
        labels: task -> labels in the order of its outputs, or None.
        tokenizer: id of the tokenizer's model, or None where the backbone reads no text.
        sha256: of adapter.safetensors.
        shapes: tensor name -> shape.
        parameters: counts, as in plan.json.
        metrics: split -> metric -> value.
        seed: the seed whose tensors these are, or None.
        note: one sentence for the reader, or "".
        adaptkit: version that wrote it.
        recipe_sha256: of `recipe`, which holds what no tensor shows, such as LoRA's alpha; "" where nobody took it.
        towers: modality -> the model that its encoder runs, before anything was trained.
        plugins: name, version and sha256 of those whose kinds the recipe uses; never their code.
        format: version of this format.
    """

    name: str
    recipe: str
    base: Base
    labels: dict[str, list[str] | None]
    tokenizer: str | None
    sha256: str
    shapes: dict[str, list[int]]
    parameters: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    note: str = ""
    adaptkit: str = ""
    recipe_sha256: str = ""
    towers: dict[str, Base] = field(default_factory=dict)
    plugins: list[dict[str, str]] = field(default_factory=list)
    format: int = FORMAT

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def sha256(content: bytes) -> str:
    """Hex digest of the bytes."""
    return hashlib.sha256(content).hexdigest()


def read_description(folder: Path) -> Description:
    """adapter.json of an artifact.

    Raises:
        ArtifactError: missing, not JSON, incomplete, or written by a newer adaptkit.
    """
    path = folder / DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError("is missing.", where=str(path), hint="Export or train the adapter again.") from error
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}.", where=str(path)) from error
    except ValueError as error:
        raise ArtifactError(f"is not valid JSON: {error}.", where=str(path), hint=_AGAIN) from error
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise ArtifactError("is not an adaptkit artifact: it has no format number.", where=str(path), hint=_AGAIN)
    if content["format"] > FORMAT:
        raise ArtifactError(
            f"has format {content['format']}, and this adaptkit reads up to {FORMAT}.",
            where=str(path),
            hint="pip install --upgrade adaptkit",
        )
    try:
        towers = {name: Base(**tower) for name, tower in content.get("towers", {}).items()}
        return Description(**{**content, "base": Base(**content["base"]), "towers": towers})
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"is incomplete or has unknown entries: {error}.", where=str(path), hint=_AGAIN) from error


_AGAIN = "The file is damaged; export or train the adapter again."
