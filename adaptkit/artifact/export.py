"""Taking an artifact out of its run folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from adaptkit.artifact.format import CARD, DESCRIPTION, TENSORS, is_carried
from adaptkit.artifact.full import export_full
from adaptkit.artifact.load import artifact_recipe, rebuild
from adaptkit.artifact.reading import artifact_folder, read_artifact
from adaptkit.artifact.save import as_told, save_artifact
from adaptkit.artifact.upgrade import read_format_1
from adaptkit.atomic import new_folder
from adaptkit.errors import ArtifactError, UsageError


def export_adapter(
    source: Path,
    destination: Path | None = None,
    *,
    full: bool = False,
    force: bool = False,
    upgrade: bool = False,
    check: bool = True,
    run_code: bool | None = None,
) -> Path:
    """Copy the artifact of a run to a folder of its own; complete or not at all.

    What is exported was loaded before, with its backbone, so that nothing leaves that cannot be loaded here.

    Args:
        source: a run or artifact folder.
        destination: where to; `./<recipe>-adapter` by default.
        full: write the backbone, the towers and their tokenizers, too: `export_full`.
        force: replace what is there.
        upgrade: the artifact has format 1 and is trusted as it is; what is written has the format of today.
        check: of a full export: load what was written, and compare its outputs.
        run_code: see `load_artifact`.

    Raises:
        UsageError: the destination exists (without `force`), or is the artifact itself; nothing is to be upgraded.
        ArtifactError: whatever `load_artifact` refuses; its models lie in its folder, and are not copied (no `full`).
        UnavailableError: the backbone cannot be had here.
    """
    folder = artifact_folder(source)
    artifact = read_format_1(folder) if upgrade else read_artifact(folder)
    name = artifact_recipe(artifact, run_code=run_code).name  # which no separator can be in
    destination = destination or Path(f"{name}-adapter")
    refuse_destination(destination, folder, force)
    if full:
        export_full(artifact, destination, force=force, run_code=run_code, check=check)
        return destination
    if any(map(is_carried, (artifact.description.base, *artifact.description.towers.values()))):
        raise ArtifactError(
            "carries its backbone, which nobody would find without it.",
            where=str(folder),
            hint="Copy the folder as a whole, or export it as one: --format full.",
        )
    model = rebuild(artifact, run_code=run_code)
    if upgrade:
        return save_artifact(model, destination, force=force, **as_told(artifact.description))
    with new_folder(destination, replace=force) as temporary:
        for name in (TENSORS, DESCRIPTION, CARD):
            if (folder / name).exists():
                shutil.copyfile(folder / name, temporary / name)
    return destination


def refuse_destination(destination: Path, source: Path, force: bool, *, mark: str = DESCRIPTION) -> None:
    """Raise UsageError where a folder is not to be written: it is the source, is there, or lacks a file of its sort."""
    if destination.resolve() == source.resolve():
        raise UsageError("the destination is the source itself.", where=str(destination))
    if destination.exists() and not force:
        raise UsageError("exists already.", where=str(destination), hint="Add --force to replace it.")
    if force and destination.exists() and not (destination / mark).is_file():
        raise UsageError(
            f"exists and has no {mark}, so --force does not replace it.",
            where=str(destination),
            hint="Choose another destination.",
        )
