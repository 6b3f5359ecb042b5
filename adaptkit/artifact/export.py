"""Taking an artifact out of its run folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from adaptkit.artifact.format import CARD, DESCRIPTION, TENSORS
from adaptkit.artifact.load import artifact_folder, read_artifact
from adaptkit.atomic import new_folder
from adaptkit.errors import UsageError


def export_adapter(source: Path, destination: Path | None = None, *, force: bool = False) -> Path:
    """Copy the artifact of a run to a folder of its own; complete or not at all.

    Args:
        source: a run or artifact folder.
        destination: where to; `./<recipe>-adapter` by default.
        force: replace what is there.

    Raises:
        UsageError: the destination exists (without `force`), or is the artifact itself.
        ArtifactError: the artifact is damaged.
    """
    folder = artifact_folder(source)
    artifact = read_artifact(folder)
    destination = destination or Path(f"{artifact.description.name}-adapter")
    if destination.resolve() == folder.resolve():
        raise UsageError("the destination is the artifact itself.", where=str(destination))
    if destination.exists() and not force:
        raise UsageError("exists already.", where=str(destination), hint="Add --force to replace it.")
    if force and destination.exists() and not (destination / DESCRIPTION).is_file():
        raise UsageError(
            "exists and is not an adapter folder, so --force does not replace it.",
            where=str(destination),
            hint="Choose another destination.",
        )
    with new_folder(destination, replace=force) as temporary:
        for name in (TENSORS, DESCRIPTION, CARD):
            if (folder / name).exists():
                shutil.copyfile(folder / name, temporary / name)
    return destination
