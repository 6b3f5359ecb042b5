"""Taking an artifact out of its run folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from adaptkit.artifact.format import CARD, DESCRIPTION, TENSORS
from adaptkit.artifact.load import artifact_recipe, rebuild
from adaptkit.artifact.reading import artifact_folder, read_artifact
from adaptkit.artifact.save import save_artifact
from adaptkit.artifact.upgrade import read_format_1
from adaptkit.atomic import new_folder
from adaptkit.errors import UsageError


def export_adapter(
    source: Path,
    destination: Path | None = None,
    *,
    force: bool = False,
    upgrade: bool = False,
    run_code: bool | None = None,
) -> Path:
    """Copy the artifact of a run to a folder of its own; complete or not at all.

    What is exported was loaded before, with its backbone, so that nothing leaves that cannot be loaded here.

    Args:
        source: a run or artifact folder.
        destination: where to; `./<recipe>-adapter` by default.
        force: replace what is there.
        upgrade: the artifact has format 1 and is trusted as it is; what is written has the format of today.
        run_code: see `load_artifact`.

    Raises:
        UsageError: the destination exists (without `force`), or is the artifact itself; nothing is to be upgraded.
        ArtifactError: whatever `load_artifact` refuses.
        UnavailableError: the backbone cannot be had here.
    """
    folder = artifact_folder(source)
    artifact = read_format_1(folder) if upgrade else read_artifact(folder)
    name = artifact_recipe(artifact, run_code=run_code).name  # which no separator can be in
    destination = destination or Path(f"{name}-adapter")
    _refuse_destination(destination, folder, force)
    model = rebuild(artifact, run_code=run_code)
    if upgrade:
        told = artifact.description
        return save_artifact(
            model,
            destination,
            base_fingerprint=told.base.fingerprint,
            tower_fingerprints={name: tower.fingerprint for name, tower in told.towers.items()},
            metrics=told.metrics,
            seed=told.seed,
            note=told.note,
            force=force,
        )
    with new_folder(destination, replace=force) as temporary:
        for name in (TENSORS, DESCRIPTION, CARD):
            if (folder / name).exists():
                shutil.copyfile(folder / name, temporary / name)
    return destination


def _refuse_destination(destination: Path, folder: Path, force: bool) -> None:
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
