"""Reading an artifact back, with every check before a tensor is used. Nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from adaptkit.anatomy import fingerprint
from adaptkit.anatomy.loading.builder import builder_file, is_builder
from adaptkit.artifact.format import DESCRIPTION, TENSORS, Base, Description, read_description, sha256
from adaptkit.artifact.save import refuse_not_finite
from adaptkit.errors import ArtifactError
from adaptkit.kinds import POINTS, load_plugin, plugin_of
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import Recipe, parse_recipe

_AGAIN = "The file is damaged; export or train the adapter again."
RUN_CODE = "ADAPTKIT_RUN_CODE"  # in the environment, "1": artifacts may name code that builds their backbone


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


def load_artifact(
    path: str | Path,
    *,
    device: str | torch.device | None = None,
    base: Path | None = None,
    plugins: Sequence[str] = (),
    any_plugin_version: bool = False,
    run_code: bool | None = None,
) -> AdaptedModel:
    """The adapted model of a run or artifact folder, in evaluation mode.

    Loads the backbone by its name, checks that it is the one the adapter was trained on, grafts the adapters
    and fills in the trained tensors.

    Args:
        path: a run or artifact folder.
        device: where the model goes; the CPU by default.
        base: folder that relative paths of the recipe start from. By default that of the recipe the run was
            started with, or the current folder.
        plugins: files and modules of kinds that the recipe uses. An artifact names what it needs and never brings it.
        any_plugin_version: take these plugins, though the artifact was made with another version of them.
        run_code: whether the artifact may name Python code of this machine that builds its backbone or a tower
            (`model = "my_package.nets:build"`). By default what ADAPTKIT_RUN_CODE says, and else no.

    Raises:
        ArtifactError: a file is missing, damaged, changed or of a newer format, the backbone is another, a plugin is
            missing or of another version, or code would have to run.
        UnavailableError: the backbone cannot be had here.
    """
    for name in plugins:
        load_plugin(name, any_version=any_plugin_version)
    artifact = read_artifact(artifact_folder(Path(path)))
    model = rebuild(artifact, base=base, run_code=run_code)
    return model.to(device).eval() if device is not None else model.eval()


def rebuild(artifact: Artifact, *, base: Path | None = None, run_code: bool | None = None) -> AdaptedModel:
    """The model an artifact belongs to, with its tensors in it."""
    described = artifact.description
    recipe = artifact_recipe(artifact, base=base, run_code=run_code)
    labels = {task: names for task, names in described.labels.items() if names}
    model = build_model(make_plan(recipe, labels=labels))
    _refuse_other_models(artifact, model)
    if recipe.init_from is not None:  # it has values of what is frozen, too
        model.keep(artifact.tensors)
    _refuse_unfitting(artifact, model.trainable_state())
    model.load_trainable_state(artifact.tensors)
    return model


def _refuse_other_models(artifact: Artifact, model: AdaptedModel) -> None:
    described = artifact.description
    found = fingerprint(model.backbone)
    if found != described.base.fingerprint:
        raise ArtifactError(
            f"belongs to another backbone: {described.base.id} has the fingerprint {found[:19]}..., "
            f"and the adapter was trained on {described.base.fingerprint[:19]}....",
            where=str(artifact.folder),
            hint="Use the model and revision that adapter.json names under `base`.",
        )
    for name, tower in model.towers.items():
        found, wanted = fingerprint(tower), described.towers.get(name)
        if wanted is None or found != wanted.fingerprint:
            trained_on = "none" if wanted is None else f"{wanted.fingerprint[:19]}..."
            raise ArtifactError(
                f"belongs to another tower of {name}: that has the fingerprint {found[:19]}..., "
                f"and the adapter was trained with {trained_on}.",
                where=str(artifact.folder),
                hint="Use the model and revision that adapter.json names under `towers`.",
            )


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
    status = _json(path / "status.json").get("status")
    if status is not None:
        hint = "Continue it: adaptkit train RECIPE --resume." if status == "interrupted" else ""
        raise ArtifactError(f"the run has no artifact; it is {status}.", where=str(path), hint=hint)
    raise ArtifactError("is neither a run nor an artifact folder.", where=str(path))


def read_artifact(folder: Path) -> Artifact:
    """Read and check the files of an artifact, without the backbone.

    Raises:
        ArtifactError: a file is missing, damaged, changed, or of a newer format.
    """
    description = read_description(folder)
    path = folder / TENSORS
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError("is missing.", where=str(path), hint="Export or train the adapter again.") from error
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}.", where=str(path)) from error
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ArtifactError(f"is truncated or corrupt ({error}).", where=str(path), hint=_AGAIN) from error
    if sha256(content) != description.sha256:
        raise ArtifactError(
            f"is not the file that {DESCRIPTION} describes: its SHA-256 differs.",
            where=str(path),
            hint=_AGAIN,
        )
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    if shapes != description.shapes:
        raise ArtifactError(
            f"differs from what {DESCRIPTION} lists: {_difference(shapes, description.shapes)}.",
            where=str(path),
            hint=_AGAIN,
        )
    refuse_not_finite(tensors, where=str(path))
    return Artifact(folder, description, tensors)


def artifact_recipe(artifact: Artifact, *, base: Path | None = None, run_code: bool | None = None) -> Recipe:
    """The recipe in an artifact, its paths resolved against `base`.

    Raises:
        ArtifactError: it is not a recipe, was changed since the adapter was saved, or names code that may not run.
    """
    try:
        document = tomllib.loads(artifact.description.recipe)
        _refuse_changed(artifact)
        _refuse_other_plugins(artifact)
        base = base or _recipe_folder(artifact.folder)
        tables = [(document["backbone"], artifact.description.base)]
        tables += [(document["modality"][name]["tower"], of) for name, of in artifact.description.towers.items()]
        for table, described in tables:
            _refuse_code(table["model"], artifact, run_code)
            _find(table, described, base)
        return parse_recipe(document, base=base)
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        where = str(artifact.folder / DESCRIPTION)
        raise ArtifactError(f"the recipe in it is not readable: {error}.", where=where, hint=_AGAIN) from error


def _refuse_other_plugins(artifact: Artifact) -> None:
    """The user's own kinds must be there, and be those that the adapter was trained with."""
    where = str(artifact.folder / DESCRIPTION)
    origins = {kind.origin for point in POINTS for kind in point.kinds.values()}
    for entry in artifact.description.plugins:
        name = entry["name"]
        wanted = f"{name} ({entry['version'] or 'sha256:' + entry['sha256'][:8]})"
        if name not in origins:
            hint = f"Give your copy of it: --plugin {name}, or load_artifact(..., plugins=[...])."
            raise ArtifactError(f"it was made with the plugin {wanted}, which is not loaded.", where=where, hint=hint)
        if not plugin_of(name).fits(**entry):
            raise ArtifactError(
                f"it was made with the plugin {wanted}, and {plugin_of(name)} is loaded.",
                where=where,
                hint="Load that version, or say that this one will do: --any-plugin-version, any_plugin_version=True.",
            )


def _find(table: dict[str, Any], described: Base, base: Path) -> None:
    """A local model that the recipe names relative to a folder that is not here is where it was."""
    known, named = (builder_file(model) or Path(model) for model in (described.id, table["model"]))
    if known.is_absolute() and known.exists() and not (base / named).exists():
        table["model"] = described.id


def _refuse_code(model: str, artifact: Artifact, allowed: bool | None) -> None:
    """A recipe of one's own is a program; an artifact may come from anywhere, and is data until one says otherwise."""
    allowed = os.environ.get(RUN_CODE, "") not in ("", "0") if allowed is None else allowed
    if is_builder(model) and not allowed:
        raise ArtifactError(
            f"is built on {model}, Python code that is not part of it and would run now.",
            where=str(artifact.folder),
            hint=f"If you trust it: load_artifact(..., run_code=True), or {RUN_CODE}=1 for the commands.",
        )


def _refuse_changed(artifact: Artifact) -> None:
    """Another alpha or dropout gives other outputs with the same tensors, so nothing else would tell."""
    described = artifact.description
    if described.recipe_sha256 and described.recipe_sha256 != sha256(described.recipe.encode()):
        raise ArtifactError(
            "the recipe in it is not the one that the adapter was saved with: its SHA-256 differs.",
            where=str(artifact.folder / DESCRIPTION),
            hint="To change the adapter, change the recipe and train again, with init_from where it is to go on.",
        )


def _recipe_folder(folder: Path) -> Path:
    """Where the recipe of the run around an artifact lay; the current folder for an exported artifact."""
    for around in list(folder.resolve().parents)[:3]:
        recorded = _json(around / "env.json").get("recipe_folder")
        if isinstance(recorded, str):
            return Path(recorded)
    return Path()


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _refuse_unfitting(artifact: Artifact, wanted: dict[str, Tensor]) -> None:
    shapes = {name: list(tensor.shape) for name, tensor in wanted.items()}
    if shapes != artifact.description.shapes:
        told = _difference(artifact.description.shapes, shapes)
        raise ArtifactError(
            f"does not fit the model its recipe describes: {told}.",
            where=str(artifact.folder),
            hint=f"It was made with adaptkit {artifact.description.adaptkit}.",
        )


def _difference(found: dict[str, list[int]], wanted: dict[str, list[int]]) -> str:
    """The first three differences, as text."""
    told = [f"{name} is missing" for name in sorted(set(wanted) - set(found))]
    told += [f"{name} is unexpected" for name in sorted(set(found) - set(wanted))]
    told += [
        f"{name} is {tuple(found[name])}, not {tuple(wanted[name])}"
        for name in sorted(set(found) & set(wanted))
        if found[name] != wanted[name]
    ]
    more = f" and {len(told) - 3} more" if len(told) > 3 else ""
    return "; ".join(told[:3]) + more
