"""Models and adapters that start from trained ones: `init_from`, of a whole recipe or of one adapter."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from adaptkit.artifact.continuing import (
    adapter_of,
    changed_head,
    changed_readout,
    concerned,
    parts,
    refuse_other_options,
    source_recipe,
)
from adaptkit.artifact.identity import refuse_other_inputs, refuse_other_models
from adaptkit.artifact.reading import Artifact, artifact_folder, json_or_empty, read_artifact
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel
from adaptkit.model.towers import host_of
from adaptkit.plan import Plan
from adaptkit.recipe import AdapterSpec


@dataclass(frozen=True, slots=True)
class Sources:
    """What a recipe starts from.

    Attributes:
        recipe: the artifact that everything starts from which fits; None for none.
        adapters: adapter -> the artifact it starts from.
    """

    recipe: Artifact | None = None
    adapters: Mapping[str, Artifact] = field(default_factory=dict)


def sources(plan: Plan) -> Sources:
    """The artifacts that the recipe names, read and checked, as far as that needs no model.

    Raises:
        ArtifactError: a folder is missing or damaged, has no finished run, no adapter of that name, or one of another
            function.
    """
    whole = None
    if plan.recipe.init_from is not None:
        where = plan.recipe.where("init_from")
        whole = named(plan, plan.recipe.init_from, where)
        grafted = [key for key in whole.tensors if adapter_of(plan, key) and is_of_whole(plan, key)]
        refuse_other_options(plan, whole, grafted, where)
    found = {}
    for name, spec in plan.recipe.adapter.items():
        if spec.init_from is None:
            continue
        where = plan.recipe.where(f"adapter.{name}.init_from")
        artifact = named(plan, spec.init_from, where)
        if not any(is_of(plan, name, key) for key in artifact.tensors):
            raise ArtifactError(f"{spec.init_from} has no adapter {name!r}.", where=where)
        refuse_other_options(plan, artifact, [key for key in artifact.tensors if is_of(plan, name, key)], where)
        found[name] = artifact
    return Sources(whole, found)


def named(plan: Plan, source: str, where: str) -> Artifact:
    """The artifact of a run, an artifact folder, or of the newest finished run in a folder of runs."""
    folder = Path(os.path.normpath(plan.recipe.path(source)))
    if not folder.exists():
        hint = "Train what it starts from first, or name another run, artifact or folder of runs."
        raise ArtifactError(f"init_from: {folder} does not exist.", where=where, hint=hint)
    try:
        artifact = read_artifact(artifact_folder(newest_run(folder) or folder))
        source_recipe(artifact)
        return artifact
    except ArtifactError as error:
        first = error.problems[0]
        raise ArtifactError(f"{first.where}: {first.message}", where=where, hint=first.hint) from error


def newest_run(folder: Path) -> Path | None:
    """The newest finished run in a folder of runs, of one recipe or of several; None if it is no such folder.

    Raises:
        ArtifactError: there are runs, and none is finished.
    """
    if (folder / "status.json").exists() or (folder / "adapter.json").exists():
        return None
    runs = {path.parent: json_or_empty(path) for depth in ("*", "*/*") for path in folder.glob(f"{depth}/status.json")}
    finished = {run: told for run, told in runs.items() if told.get("status") == "finished"}
    if runs and not finished:
        raise ArtifactError("has no finished run.", where=str(folder), hint="Train one to its end first.")
    return max(finished, key=lambda run: (str(finished[run].get("started")), run.name), default=None)


def initialise(model: AdaptedModel, found: Sources) -> tuple[str, ...]:
    """Give the model the values that its sources hold.

    Args:
        model: freshly built.
        found: of `sources`.

    Returns:
        What a user should know of it: heads that start anew all the same, what was left out, what stayed fresh.

    Raises:
        ArtifactError: an artifact was trained on another backbone, its tensors do not fit, or options of what they
            belong to changed its function. Nothing is changed.
    """
    values: dict[str, Tensor] = {}
    notes: list[str] = []
    anew: dict[str, str] = {}
    if found.recipe is not None:
        anew = heads_that_differ(model, found.recipe)
        heads = tuple(f"heads.{task}." for task in anew)
        values |= values_of_recipe(model, found.recipe, heads)
        notes += [f"init_from: the head of {task} starts anew: {why}" for task, why in anew.items()]
        told = changed_readout(model, source_recipe(found.recipe))
        if told and any(key.startswith("heads.") for key in values):
            how = f"comes about otherwise than in {found.recipe.folder}: {'; '.join(told)}"
            notes.append(f"init_from: what heads read {how}. Their values are taken all the same.")
        rest = [key for key in found.recipe.tensors if key not in values and not key.startswith(heads)]
        left = [key for key in rest if is_of_whole(model.plan, key)]
        if left:
            notes.append(f"init_from leaves out of {found.recipe.folder}: {parts(model.plan, left)}")
    for name, artifact in found.adapters.items():
        taken = values_of_adapter(model, name, artifact)
        read = tuple(f"encoders.{side}." for side in model.plan.recipe.adapter[name].sides)
        there = [key for key in artifact.tensors if is_of(model.plan, name, key) or key.startswith(read)]
        left = [key for key in there if key not in taken]
        if left:
            notes.append(f"adapter.{name}.init_from leaves out of {artifact.folder}: {parts(model.plan, left)}")
        values |= taken
    fresh = fresh_names(model, found, values, tuple(anew))
    if fresh:
        notes.append(f"init_from: these start fresh: {parts(model.plan, fresh)}")
    model.initialise(values)
    return tuple(notes)


def fresh_names(model: AdaptedModel, found: Sources, values: Mapping[str, Tensor], anew: tuple[str, ...]) -> list[str]:
    """The model's own tensors that no source gives, of what a source was asked for; heads that start anew are told."""
    told = tuple(f"heads.{task}." for task in anew)
    own = [key for key in model.trainable_state() if model.is_own(key) and key not in values]
    if found.recipe is not None:
        return [key for key in own if not key.startswith(told)]
    sides = {side for name in found.adapters for side in model.plan.recipe.adapter[name].sides}
    return [key for key in own if any(key.startswith(f"encoders.{side}.") for side in sides)]


def refuse_other_function(model: AdaptedModel, artifact: Artifact, taken: Collection[str], where: str) -> None:
    """Raise ArtifactError where the values would mean something else: other options, or other inputs."""
    refuse_other_options(model.plan, artifact, taken, where)
    read, told = concerned(model.plan, taken), f"{artifact.folder} "
    refuse_other_inputs(artifact.description, model, where=where, subject=told, modalities=read)


def is_of_whole(plan: Plan, key: str) -> bool:
    """Whether a tensor is for the recipe's `init_from`: adapters with one of their own have the last word."""
    spec = plan.recipe.adapter.get(adapter_of(plan, key))
    return spec is None or spec.init_from is None


def is_of(plan: Plan, adapter: str, key: str) -> bool:
    """Whether a tensor of an artifact belongs to the adapter of this name, wherever it is."""
    children = {graft.child for graft in plan.grafts if graft.adapter == adapter}
    return key.partition(".adapters.")[2].partition(".")[0] in children


def values_of_recipe(model: AdaptedModel, artifact: Artifact, leave: tuple[str, ...]) -> dict[str, Tensor]:
    """Every tensor of the artifact that the model has by this name, but for those whose names begin so.

    Raises:
        ArtifactError: one has another shape, or there is none.
    """
    where = model.plan.recipe.where("init_from")
    check_backbone(model, artifact, where)
    own = model.state_dict(keep_vars=True)
    values = {
        key: value
        for key, value in artifact.tensors.items()
        if key in own and not key.startswith(leave) and is_of_whole(model.plan, key)
    }
    wrong = [key for key, value in values.items() if value.shape != own[key].shape]
    if wrong:
        told = "; ".join(
            f"{key} is {tuple(values[key].shape)} there and {tuple(own[key].shape)} here" for key in wrong[:3]
        )
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ArtifactError(
            f"{artifact.folder} does not fit: {told}{more}.",
            where=where,
            hint="Give them the sizes they were trained with, or another name to what is to start anew.",
        )
    if not values:
        raise ArtifactError(
            f"nothing in {artifact.folder} fits this recipe.",
            where=where,
            hint="Modalities, adapters and tasks must have the names that they had there.",
        )
    refuse_other_function(model, artifact, values.keys(), where)
    return values


def heads_that_differ(model: AdaptedModel, artifact: Artifact) -> dict[str, str]:
    """Task -> why the head that the artifact has for it cannot be the model's."""
    found, there_recipe = {}, source_recipe(artifact)
    for task, labels in model.plan.labels.items():
        here, there = (
            {key: tuple(value.shape) for key, value in tensors.items() if key.startswith(f"heads.{task}.")}
            for tensors in (model.state_dict(keep_vars=True), artifact.tensors)
        )
        trained = artifact.description.labels.get(task) or []
        if there and here != there:
            found[task] = f"it has {shapes(here)}, and {shapes(there)} in {artifact.folder}."
        elif there and list(labels) != trained:
            found[task] = f"its labels are not those of {artifact.folder}."
        elif there and (told := changed_head(model, there_recipe, task)):
            found[task] = f"it is not that of {artifact.folder}: {'; '.join(told)}."
    return found


def shapes(tensors: Mapping[str, tuple[int, ...]]) -> str:
    """The shapes of a head's weights, in their order: (3, 16), (2, 3)."""
    return ", ".join(str(shape) for shape in tensors.values() if len(shape) > 1) or "other tensors"


def values_of_adapter(model: AdaptedModel, name: str, artifact: Artifact) -> dict[str, Tensor]:
    """The tensors of an adapter, and of the encoders of the sides that it reads.

    Raises:
        ArtifactError: one is missing or has another shape.
    """
    where = model.plan.recipe.where(f"adapter.{name}.init_from")
    check_backbone(model, artifact, where)
    own = model.trainable_state()
    wanted = [key for key in own if key.startswith(own_prefixes(model.plan, name))]
    wanted += [key for key in encoders_of(model.plan.recipe.adapter[name], own) if key in artifact.tensors]
    for key in wanted:
        value = artifact.tensors.get(key)
        if value is None or value.shape != own[key].shape:
            there = "missing" if value is None else f"of shape {tuple(value.shape)}"
            raise ArtifactError(
                f"{key} is {there} in {artifact.folder}, and has shape {tuple(own[key].shape)} here.",
                where=where,
                hint="Give the adapter the kind, sites and sizes that it was trained with.",
            )
    refuse_other_function(model, artifact, wanted, where)
    return {key: artifact.tensors[key] for key in wanted}


def check_backbone(model: AdaptedModel, artifact: Artifact, where: str) -> None:
    """Raise ArtifactError where the artifact was trained on another backbone or another tower."""
    refuse_other_models(artifact.description, model, where=where, subject=f"{artifact.folder} ")


def own_prefixes(plan: Plan, adapter: str) -> tuple[str, ...]:
    """How the names of an adapter's tensors begin: at every site, of every slice of a fused projection."""
    return tuple(f"{host_of(graft)}.adapters.{graft.child}." for graft in plan.grafts if graft.adapter == adapter)


def encoders_of(spec: AdapterSpec, own: Mapping[str, Tensor]) -> Iterator[str]:
    return (key for key in own for side in spec.sides if key.startswith(f"encoders.{side}."))
