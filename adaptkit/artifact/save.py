"""Writing an artifact folder: the trained tensors, what they belong to, and a model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from adaptkit import __version__
from adaptkit.anatomy import fingerprint
from adaptkit.artifact.atomic import new_folder, write_bytes, write_json, write_text
from adaptkit.artifact.card import write_card
from adaptkit.artifact.format import CARD, DESCRIPTION, TENSORS, Base, Description, sha256
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel
from adaptkit.plan import Plan
from adaptkit.recipe import resolved_toml


def save_artifact(
    model: AdaptedModel,
    path: Path,
    *,
    base_fingerprint: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    seed: int | None = None,
    note: str = "",
    force: bool = False,
) -> Path:
    """Write the trained part of a model to a folder; complete or not at all.

    Args:
        model: the adapted model.
        path: the folder.
        base_fingerprint: of the backbone before training. Needed only where the recipe trains parts of the
            backbone itself; otherwise the backbone is still what it was.
        metrics: split -> metric -> value, for the card.
        seed: the seed of these tensors.
        note: one sentence for the card.
        force: replace an artifact that is there.

    Raises:
        ArtifactError: a tensor is not finite, the adapters are merged, or the fingerprint is needed and not
            given.
        RunError: the folder exists (without `force`) or cannot be written.
    """
    plan = model.plan
    if plan.inside and not model.receipt.grafts:
        raise ArtifactError("the adapters are merged into the backbone, so there is no adapter left to save.")
    original = base_fingerprint or _fingerprint(model)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.trainable_state().items()}
    refuse_not_finite(tensors, where=str(path))
    content = save({name: tensor.clone() for name, tensor in tensors.items()})
    recipe = resolved_toml(plan.recipe)
    description = Description(
        name=plan.recipe.name,
        recipe=recipe,
        base=_base(plan, original),
        labels={task: list(labels) or None for task, labels in plan.labels.items()},
        tokenizer=plan.ref.id if any(m.kind == "text" for m in plan.recipe.modality.values()) else None,
        sha256=sha256(content),
        shapes={name: list(tensor.shape) for name, tensor in tensors.items()},
        parameters=plan.parameters.as_dict(),
        metrics=dict(metrics or {}),
        seed=seed,
        note=note,
        adaptkit=__version__,
        recipe_sha256=sha256(recipe.encode()),
    )
    with new_folder(path, replace=force) as temporary:
        write_bytes(temporary / TENSORS, content)
        write_json(temporary / DESCRIPTION, description.as_dict())
        write_text(temporary / CARD, write_card(description, [graft.as_dict() for graft in plan.grafts]))
    return path


def refuse_not_finite(tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Raises ArtifactError naming the first tensor with NaN or infinity in it."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(f"the tensor {name} has values that are NaN or infinite.", where=where)


def _fingerprint(model: AdaptedModel) -> str:
    if model.plan.unfrozen:
        raise ArtifactError(
            "the backbone was trained as well, so its original fingerprint cannot be computed any more.",
            hint="Pass base_fingerprint: adaptkit.anatomy.fingerprint(model.backbone) before training.",
        )
    return fingerprint(model.backbone)


def _base(plan: Plan, original: str) -> Base:
    ref = plan.ref
    name = str(ref.folder.resolve()) if ref.folder is not None else ref.id
    return Base(plan.recipe.backbone.model, name, ref.library, ref.revision, original)
