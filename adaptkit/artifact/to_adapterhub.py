"""Adapters as a folder that AdapterHub's `adapters` loads: a configuration, and the tensors in both of its formats."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from adaptkit.anatomy import dummy_inputs, study
from adaptkit.artifact.export import refuse_destination
from adaptkit.artifact.from_adapterhub import convert_adapterhub
from adaptkit.artifact.hub_folder import CONFIG, PICKLED, TENSORS
from adaptkit.artifact.hub_places import STYLES
from adaptkit.artifact.hub_writing import OTHERWISE, Writing
from adaptkit.artifact.load import artifact_recipe, load_artifact, rebuild
from adaptkit.artifact.reading import artifact_folder, read_artifact
from adaptkit.artifact.to_peft import Exported, left_out, refuse_elsewhere
from adaptkit.atomic import new_folder, write_bytes, write_json
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel

VERSION = "adapters.1.3.0"  # whose reader this was measured with
TOLERANCE = 1e-5


def export_adapterhub(
    source: Path,
    destination: Path | None = None,
    *,
    force: bool = False,
    check: bool = True,
    run_code: bool | None = None,
) -> Exported:
    """Write the adapters of the backbone as `adapters` does; complete or not at all.

    Args:
        source: a run or artifact folder.
        destination: the folder; `./<recipe>-adapterhub` by default.
        force: replace what is there.
        check: read what was written, and compare the backbone's outputs. `adapters` itself cannot be asked: it needs
            transformers 4.
        run_code: see `load_artifact`.

    Raises:
        ArtifactError: `adapters` has no such adapter, not at these places, or not in one folder; it has no such
            model; parts of the backbone were trained, too.
        RunError: the folder is there (without `force`) or cannot be written.
    """
    artifact = read_artifact(artifact_folder(source))
    where = str(artifact.folder)
    recipe = artifact_recipe(artifact, run_code=run_code)
    destination = destination or Path(f"{recipe.name}-adapterhub")
    refuse_destination(destination, artifact.folder, force, mark=CONFIG)
    model = rebuild(artifact, run_code=run_code).eval()
    refuse_elsewhere(model, where, "AdapterHub")
    described, tensors = _described(model, re.sub(r"\W", "_", recipe.name), where)  # a module's name has no dot
    with new_folder(destination, replace=force) as folder:
        write_json(folder / CONFIG, described)
        content = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        write_bytes(folder / TENSORS, save(content, metadata={"format": "pt"}))
        pickled = io.BytesIO()
        torch.save(content, pickled)
        write_bytes(folder / PICKLED, pickled.getvalue())
        difference = _compared(model, folder, where) if check else None
    return Exported(destination, left_out(model), difference)


def _described(model: AdaptedModel, name: str, where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """adapter_config.json and the tensors."""
    anatomy = study(model.backbone)
    if anatomy.family not in STYLES:
        text = f"`adapters` has no model of the family {anatomy.family}"
        raise ArtifactError(f"{text}.", where=where, hint=f"It has {', '.join(sorted(STYLES))}. {OTHERWISE}")
    if model.plan.unfrozen:
        raise ArtifactError(
            f"{len(model.plan.unfrozen)} parameters of the backbone were trained, which its folders do not hold.",
            where=where,
            hint=OTHERWISE,
        )
    writing = Writing(name, anatomy, model, where)
    described = {
        "name": name,
        "version": VERSION,
        "config": writing.config(),
        "model_type": anatomy.family,
        "model_class": type(model.backbone).__name__,
        "model_name": model.plan.ref.id,
        "hidden_size": getattr(model.backbone.config, "hidden_size", None),
    }
    return described, writing.tensors()


def _states(output: Any) -> Tensor:
    """The last hidden states, which a language model has among all of them."""
    if "last_hidden_state" in output:
        return output.last_hidden_state.float()
    return (output["decoder_hidden_states" if "decoder_hidden_states" in output else "hidden_states"])[-1].float()


def _compared(model: AdaptedModel, folder: Path, where: str) -> float:
    """How far the outputs are from ours of what was written and read again."""
    with tempfile.TemporaryDirectory() as place:
        ref = model.plan.ref
        backbone = str(ref.folder.resolve()) if ref.folder is not None else ref.id
        convert_adapterhub(folder, Path(place) / "again", backbone=backbone)
        again = load_artifact(Path(place) / "again").backbone.eval()
    inputs: Mapping[str, Any] = dummy_inputs(model.backbone, device="cpu")
    with torch.no_grad():
        ours, found = (_states(each(**inputs, output_hidden_states=True)) for each in (model.backbone, again))
    difference, scale = float((ours - found).abs().max()), float(ours.abs().max())
    if not difference <= TOLERANCE * scale:
        raise ArtifactError(
            f"what was written gives outputs that differ by up to {difference:.2g}, of {scale:.2g} at most.",
            where=where,
            hint="Nothing is written. --no-check writes it all the same.",
        )
    return difference
