"""Adapters that start from trained ones: `[adapter.NAME] init_from = "runs/..."`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from adaptkit.anatomy import fingerprint
from adaptkit.artifact.load import Artifact, artifact_folder, read_artifact
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel
from adaptkit.plan import Plan
from adaptkit.recipe import AdapterSpec
from adaptkit.surgery.graft import FUSION


def sources(plan: Plan) -> dict[str, Artifact]:
    """Adapter -> the artifact it starts from, read and checked.

    Raises:
        ArtifactError: a folder is missing or damaged, or has no adapter of that name.
    """
    found = {}
    for name, spec in plan.recipe.adapter.items():
        if spec.init_from is None:
            continue
        where = plan.recipe.where(f"adapter.{name}.init_from")
        try:
            artifact = read_artifact(artifact_folder(plan.recipe.base / spec.init_from))
        except ArtifactError as error:
            first = error.problems[0]
            raise ArtifactError(f"{first.where}: {first.message}", where=where, hint=first.hint) from error
        children = {graft.child for graft in plan.grafts if graft.adapter == name}
        if not any(key.partition(".adapters.")[2].partition(".")[0] in children for key in artifact.tensors):
            raise ArtifactError(f"{spec.init_from} has no adapter {name!r}.", where=where)
        found[name] = artifact
    return found


def initialise(model: AdaptedModel, found: Mapping[str, Artifact]) -> None:
    """Give adapters, and the encoders of the sides they read, the values they have in their artifacts.

    Args:
        model: freshly built.
        found: of `sources`.

    Raises:
        ArtifactError: an artifact was trained on another backbone, or its tensors do not fit. Nothing is changed.
    """
    own = model.trainable_state()
    values: dict[str, Tensor] = {}
    for name, artifact in found.items():
        where = model.plan.recipe.where(f"adapter.{name}.init_from")
        if artifact.description.base.fingerprint != fingerprint(model.backbone):
            raise ArtifactError(
                f"{artifact.folder} belongs to another backbone, {artifact.description.base.id}.", where=where
            )
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
            values[key] = value
    with torch.no_grad():
        for key, value in values.items():
            own[key].copy_(value)


def own_prefixes(plan: Plan, adapter: str) -> tuple[str, ...]:
    """How the names of an adapter's tensors begin: at every site, of every slice of a fused projection."""
    return tuple(
        ".".join(part for part in ("" if graft.site.name == FUSION else "backbone", graft.site.path) if part)
        + f".adapters.{graft.child}."
        for graft in plan.grafts
        if graft.adapter == adapter
    )


def encoders_of(spec: AdapterSpec, own: dict[str, Tensor]) -> Iterator[str]:
    return (key for key in own for side in spec.sides if key.startswith(f"encoders.{side}."))
