"""Reading adapters of other libraries: which library wrote a folder, and who reads it."""

from __future__ import annotations

from pathlib import Path

from adaptkit.artifact.assembling import Converted
from adaptkit.artifact.format import read_json
from adaptkit.artifact.from_adapterhub import convert_adapterhub
from adaptkit.artifact.from_peft import convert_peft
from adaptkit.artifact.to_peft import CONFIG
from adaptkit.errors import ArtifactError


def convert(source: Path, destination: Path, *, backbone: str | None = None, force: bool = False) -> Converted:
    """Read an adapter of PEFT or of AdapterHub and write it as an artifact without tasks; complete or not at all.

    Args:
        source: a folder with adapter_config.json and its tensors.
        destination: the artifact.
        backbone: the model to graft onto; by default the one that the configuration names.
        force: replace what is there.

    Raises:
        ArtifactError: a file is missing or damaged, or of neither library; tensors or options that are not understood.
        RecipeError: there is no such backbone.
        RunError: the folder is there (without `force`) or cannot be written.
    """
    config = read_json(source / CONFIG)
    if "peft_type" in config:
        return convert_peft(source, destination, backbone=backbone, force=force)
    if "config" in config:
        return convert_adapterhub(source, destination, backbone=backbone, force=force)
    raise ArtifactError(
        "is neither PEFT's nor AdapterHub's: it has no peft_type and no config.", where=str(source / CONFIG)
    )
