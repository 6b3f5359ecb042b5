"""The model of an artifact, with every check before a tensor is used."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptkit.anatomy.loading.builder import builder_file, is_builder
from adaptkit.artifact.format import AGAIN, DESCRIPTION, Base, Description, is_carried
from adaptkit.artifact.identity import refuse_other_inputs, refuse_other_models
from adaptkit.artifact.reading import Artifact, artifact_folder, difference, forms, json_or_empty, read_artifact
from adaptkit.errors import ArtifactError, Problem, RecipeError
from adaptkit.kinds import POINTS, load_plugin, plugin_of
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import Recipe, parse_recipe
from adaptkit.version import __version__

RUN_CODE = "ADAPTKIT_RUN_CODE"  # in the environment, "1": artifacts may name code that builds their backbone


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
    where = str(artifact.folder)
    refuse_other_models(described, model, where=where)
    refuse_other_inputs(described, model, where=where)
    if (found := {task: list(names) or None for task, names in model.plan.labels.items()}) != described.labels:
        raise ArtifactError(f"labels: says {described.labels}, and its model has {found}.", where=where, hint=AGAIN)
    if recipe.init_from is not None:  # it has values of what is frozen, too
        model.keep(artifact.tensors)
    _refuse_unfitting(artifact, model.trainable_state())
    model.load_trainable_state(artifact.tensors)
    return model


def artifact_recipe(artifact: Artifact, *, base: Path | None = None, run_code: bool | None = None) -> Recipe:
    """The recipe in an artifact, its paths resolved against `base`.

    Raises:
        ArtifactError: it is not a recipe, not of this adapter, or names code that may not run.
    """
    where = str(artifact.folder / DESCRIPTION)
    try:
        document = tomllib.loads(artifact.description.recipe)
        _refuse_other_plugins(artifact)
        base = base or _recipe_folder(artifact.folder)
        tables = [(document["backbone"], artifact.description.base)]
        tables += [(document["modality"][name]["tower"], of) for name, of in artifact.description.towers.items()]
        for table, described in tables:
            _refuse_code(table["model"], artifact, run_code)
            _find(table, described, artifact.folder, base)
        recipe = parse_recipe(document, base=base, needs_task=bool(artifact.description.labels))
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"the recipe in it is not readable: {error}.", where=where, hint=AGAIN) from error
    except RecipeError as error:
        made = f"It was made with adaptkit {artifact.description.adaptkit}, and this is {__version__}."
        raise ArtifactError.all(
            Problem(f"the recipe in it is not understood: {str(problem).rstrip()}", where, made)
            for problem in error.problems
        ) from error
    _refuse_disagreement(artifact.description, recipe, where)
    return recipe


def _refuse_disagreement(described: Description, recipe: Recipe, where: str) -> None:
    """What adapter.json says twice must be the same."""
    towers = [name for name, table in recipe.modality.items() if getattr(table, "tower", None) is not None]
    pairs: dict[str, tuple[Any, Any]] = {
        "name": (described.name, recipe.name),
        "labels": (sorted(described.labels), sorted(recipe.task)),
        "towers": (sorted(described.towers), sorted(towers)),
    }
    for task, table in recipe.task.items():
        listed = getattr(table, "labels", ())  # None: the data said which, and now the artifact does
        told = described.labels.get(task)
        pairs[f"labels.{task}"] = (told, listed or told or "some") if listed != () else (told, told)
    for key, (told, wanted) in pairs.items():
        if told != wanted:
            raise ArtifactError(f"{key}: says {told}, and the recipe in it says {wanted}.", where=where, hint=AGAIN)


def _refuse_other_plugins(artifact: Artifact) -> None:
    """The user's own kinds must be there, and be those that the adapter was trained with."""
    where = str(artifact.folder / DESCRIPTION)
    origins = {kind.origin for point in POINTS for kind in point.kinds.values()}
    for entry in artifact.description.plugins:
        name = entry.name
        wanted = f"{name} ({entry.version or 'sha256:' + entry.sha256[:8]})"
        if name not in origins:
            hint = f"Give your copy of it: --plugin {name}, or load_artifact(..., plugins=[...])."
            raise ArtifactError(f"it was made with the plugin {wanted}, which is not loaded.", where=where, hint=hint)
        if not plugin_of(name).fits(**entry.model_dump()):
            raise ArtifactError(
                f"it was made with the plugin {wanted}, and {plugin_of(name)} is loaded.",
                where=where,
                hint="Load that version, or say that this one will do: --any-plugin-version, any_plugin_version=True.",
            )


def _find(table: dict[str, Any], described: Base, folder: Path, base: Path) -> None:
    """A model that the artifact carries lies in its folder; another local one that is not here is where it was."""
    if is_carried(described):
        place = (folder / described.id).resolve()
        if not place.is_relative_to(folder.resolve()):
            raise ArtifactError(f"names the model {described.id!r}, which is not in it.", where=str(folder), hint=AGAIN)
        table["model"] = str(place)
        return
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


def _recipe_folder(folder: Path) -> Path:
    """Where the recipe of the run around an artifact lay; the current folder for an exported artifact."""
    for around in list(folder.resolve().parents)[:3]:
        recorded = json_or_empty(around / "env.json").get("recipe_folder")
        if isinstance(recorded, str):
            return Path(recorded)
    return Path()


def _refuse_unfitting(artifact: Artifact, wanted: Mapping[str, Tensor]) -> None:
    """Names, shapes and number formats are the model's; one that it holds exactly (float16 in float32) is fine."""
    there, here = forms(artifact.tensors), forms(wanted)
    for name in there.keys() & here.keys():
        saved, own = artifact.tensors[name], wanted[name]
        if saved.shape == own.shape and torch.promote_types(saved.dtype, own.dtype) == own.dtype:
            here[name] = there[name]
    if there != here:
        raise ArtifactError(
            f"does not fit the model its recipe describes: {difference(there, here)}.",
            where=str(artifact.folder),
            hint=f"It was made with adaptkit {artifact.description.adaptkit}.",
        )
