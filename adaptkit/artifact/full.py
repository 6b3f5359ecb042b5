"""An artifact with its models beside it: one folder that needs only adaptkit."""

from __future__ import annotations

from pathlib import Path

from adaptkit.artifact.load import load_artifact, rebuild
from adaptkit.artifact.models import Published, check_equal, tokenizer_of
from adaptkit.artifact.reading import Artifact
from adaptkit.artifact.save import Files, as_told
from adaptkit.atomic import new_folder
from adaptkit.model.probe import outputs

BACKBONE, TOWERS = "./backbone", "./towers"


def export_full(
    artifact: Artifact, destination: Path, *, force: bool = False, run_code: bool | None = None, check: bool = True
) -> None:
    """Write the adapter, the published models it belongs to and their tokenizers to one folder; complete or not at all.

    Args:
        artifact: from `read_artifact`.
        destination: where to.
        force: replace what is there.
        run_code: see `load_artifact`.
        check: load what was written, and compare its outputs: they are the same to the bit.

    Raises:
        ArtifactError: whatever `load_artifact` refuses, or a model of one's own code.
        RunError: the folder is there (without `force`) or cannot be written.
    """
    model = rebuild(artifact, run_code=run_code).eval()
    before = outputs(model) if check else {}
    places = {"": BACKBONE, **{name: f"{TOWERS}/{name}" for name in model.towers}}
    files = Files.of(model, where=destination, places=places, **as_told(artifact.description))
    with new_folder(destination, replace=force) as folder:
        for name, place in places.items():
            Published.of(model, name).write(folder / place, tokenizer_of(model, name))
        files.write(folder)
        if check:
            check_equal(before, load_artifact(folder, run_code=run_code), 0.0, where=str(destination))
