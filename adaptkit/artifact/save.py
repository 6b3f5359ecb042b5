"""Writing an artifact folder: the trained tensors, what they belong to, and a model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from adaptkit.anatomy import ModelRef, configuration, fingerprint
from adaptkit.artifact.card import write_card
from adaptkit.artifact.format import CARD, DESCRIPTION, TENSORS, Description, parsed, sha256
from adaptkit.artifact.identity import inputs_of, versions
from adaptkit.atomic import new_folder, write_bytes, write_json, write_text
from adaptkit.errors import ArtifactError, RunError
from adaptkit.kinds import BUILT_IN, Plugin, kinds_in, loaded_plugins, plugin_of
from adaptkit.model import AdaptedModel
from adaptkit.model.towers import path_of
from adaptkit.plan import Plan
from adaptkit.plan.streams import reads_text
from adaptkit.recipe import Recipe
from adaptkit.recipe.write import carrying, resolved_tables, toml_of
from adaptkit.surgery.graft import FUSION, Graft
from adaptkit.version import __version__


def save_artifact(
    model: AdaptedModel,
    path: Path,
    *,
    base_fingerprint: str | None = None,
    tower_fingerprints: Mapping[str, str] = MappingProxyType({}),
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
        tower_fingerprints: modality -> likewise of its tower.
        metrics: split -> metric -> value, for the card.
        seed: the seed of these tensors.
        note: one sentence for the card.
        force: replace an artifact that is there.

    Raises:
        ArtifactError: a tensor is not finite, the adapters are merged, or the fingerprint is needed and not
            given.
        RunError: the folder exists (without `force`) or cannot be written.
    """
    told = {"metrics": metrics, "seed": seed, "note": note}
    files = Files.of(model, base_fingerprint, tower_fingerprints, where=path, **told)
    with new_folder(path, replace=force) as temporary:
        files.write(temporary)
    return path


def as_told(told: Description) -> dict[str, Any]:
    """What `save_artifact` is given of an artifact that is written anew, with the same values."""
    return {
        "base_fingerprint": told.base.fingerprint,
        "tower_fingerprints": {name: tower.fingerprint for name, tower in told.towers.items()},
        "metrics": told.metrics,
        "seed": told.seed,
        "note": told.note,
    }


@dataclass(frozen=True, slots=True)
class Files:
    """The files of an artifact, before they are written.

    Attributes:
        content: of adapter.safetensors.
        description: what adapter.json says.
        grafts: that the card lists.
    """

    content: bytes
    description: Description
    grafts: tuple[Graft, ...]

    @classmethod
    def of(
        cls,
        model: AdaptedModel,
        base_fingerprint: str | None = None,
        tower_fingerprints: Mapping[str, str] = MappingProxyType({}),
        *,
        where: Path,
        metrics: Mapping[str, Any] | None = None,
        seed: int | None = None,
        note: str = "",
        places: Mapping[str, str] = MappingProxyType({}),
    ) -> Files:
        """What `save_artifact` writes.

        Args:
            model, base_fingerprint, tower_fingerprints, metrics, seed, note: see `save_artifact`.
            where: the place to name in errors.
            places: where in the artifact's folder its models lie: "" (the backbone) or a modality -> "./backbone".
                Those that are not named are found where they were.

        Raises:
            ArtifactError: see `save_artifact`.
        """
        plan = model.plan
        grafted = {"": model.receipt.grafts, **{name: each.grafts for name, each in model.tower_receipts.items()}}
        if any(graft.site.name != FUSION and not grafted[graft.model] for graft in plan.grafts):
            raise ArtifactError("the adapters are merged into the backbone, so there is no adapter left to save.")
        towers = {name: tower_fingerprints.get(name) or _of_tower(model, name) for name in plan.towers}
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.trainable_state().items()}
        refuse_not_finite(tensors, where=str(where))
        content = save(tensors)
        described = _described(model, tensors, base_fingerprint or _fingerprint(model), towers)
        described |= {"sha256": sha256(content), "metrics": _numbers(metrics or {}), "seed": seed, "note": note}
        described["recipe"] = toml_of(carrying(resolved_tables(plan.recipe), places))
        for name, place in places.items():
            described_model = described["towers"][name] if name else described["base"]
            described_model["name"] = described_model["id"] = place
        return cls(content, parsed(described, where / DESCRIPTION), plan.grafts)

    def write(self, folder: Path) -> None:
        """Into a folder that is there."""
        write_bytes(folder / TENSORS, self.content)
        write_json(folder / DESCRIPTION, self.description.as_dict())
        write_text(folder / CARD, write_card(self.description, [graft.as_dict() for graft in self.grafts]))


def _described(
    model: AdaptedModel, tensors: Mapping[str, Tensor], original: str, towers: Mapping[str, str]
) -> dict[str, Any]:
    """What adapter.json says of a model.

    Args:
        model: as it is.
        tensors: what is saved of it.
        original: fingerprint of its backbone.
        towers: modality -> that of its tower.
    """
    plan = model.plan
    words = reads_text(plan.recipe) or any(task.generates for task in plan.recipe.task.values())
    return {
        "name": plan.recipe.name,
        "base": _base(plan.recipe.backbone.model, plan.ref, original, model.backbone),
        "towers": {
            name: _base(_named(plan, name), tower.ref, towers[name], model.towers[name])
            for name, tower in plan.towers.items()
        },
        "inputs": inputs_of(model),
        "labels": {task: list(labels) or None for task, labels in plan.labels.items()},
        "tokenizer": (plan.recipe.backbone.tokenizer or plan.ref.id) if words else None,
        "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
        "dtypes": {name: dtype_of(tensor) for name, tensor in tensors.items()},
        "parameters": plan.parameters.as_dict(),
        "adaptkit": __version__,
        "versions": versions(),
        "plugins": [plugin.as_dict() for plugin in used_plugins(plan.recipe)],
    }


def refuse_not_finite(tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Raises ArtifactError naming the first tensor with NaN or infinity in it."""
    for name, tensor in tensors.items():
        numbers = tensor.float() if tensor.dtype.itemsize == 1 else tensor  # float8 cannot be asked
        if tensor.is_floating_point() and not bool(torch.isfinite(numbers).all()):
            raise ArtifactError(f"the tensor {name} has values that are NaN or infinite.", where=where)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Split -> metric -> value, as JSON writes them: users' metrics may be of numpy or torch."""
    return {
        split: {name: None if value is None else float(value) for name, value in values.items()}
        if isinstance(values, Mapping)
        else values
        for split, values in metrics.items()
    }


def _fingerprint(model: AdaptedModel) -> str:
    if model.plan.unfrozen or any(name.startswith("backbone.") for name in model.initialised):
        raise ArtifactError(
            "the backbone has other values than published, so its original fingerprint cannot be computed any more.",
            hint="Pass base_fingerprint: adaptkit.anatomy.fingerprint(model.backbone) before training.",
        )
    return fingerprint(model.backbone)


def _of_tower(model: AdaptedModel, name: str) -> str:
    changed = any(key.startswith(f"{path_of(name)}.") for key in model.initialised)
    if model.plan.towers[name].unfrozen or changed:
        raise ArtifactError(
            f"the tower of {name} was trained as well, so its original fingerprint cannot be computed any more.",
            hint="Pass tower_fingerprints: adaptkit.artifact.save.fingerprints(model) before training.",
        )
    return fingerprint(model.towers[name])


def fingerprints(model: AdaptedModel) -> dict[str, str]:
    """Of the backbone ("") and of every tower, by modality."""
    return {"": fingerprint(model.backbone)} | {name: fingerprint(tower) for name, tower in model.towers.items()}


def _named(plan: Plan, modality: str) -> str:
    table: Any = plan.recipe.modality[modality]
    return table.tower.model


def _base(name: str, ref: ModelRef, original: str, model: nn.Module) -> dict[str, Any]:
    return {
        "name": name,
        "id": str(ref.folder.resolve()) if ref.folder is not None else ref.id,
        "library": ref.library,
        "revision": ref.revision,
        "fingerprint": original,
        "config": configuration(model),
    }


def dtype_of(tensor: Tensor) -> str:
    """Its number format as adapter.json writes it: "float32"."""
    return str(tensor.dtype).removeprefix("torch.")


def used_plugins(recipe: Recipe) -> list[Plugin]:
    """Where the kinds of the recipe come from that are not ours, and what else it names as plugins."""
    origins = {kind.origin for kind in kinds_in(recipe)} - {BUILT_IN}
    named = {Path(name).name if name.endswith(".py") else name for name in recipe.plugins}
    loaded = {plugin.name for plugin in loaded_plugins()}
    return [plugin_of(origin) for origin in sorted(origins | (named & loaded))]


def refuse_moved(model: AdaptedModel, before: Mapping[str, str], *, where: str) -> None:
    """Frozen means frozen: a backbone or tower of which nothing was to move is what it was, to the bit.

    Raises:
        RunError: it is not.
    """
    moving = {"": model.plan.unfrozen} | {name: tower.unfrozen for name, tower in model.plan.towers.items()}
    moved = [name for name, found in fingerprints(model).items() if found != before[name] and not moving[name]]
    if moved:
        what = " and ".join(f"the tower of {name}" if name else "the backbone" for name in moved)
        raise RunError(
            f"{what} is frozen and has other values than before the training; no artifact is written.",
            where=where,
            hint="A hook, a callback or an adapter writes into its tensors. The checkpoints are kept.",
        )
