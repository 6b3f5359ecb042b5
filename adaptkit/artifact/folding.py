"""Adapters folded into a copy of their backbone that needs no adaptkit, and taken out of it again, to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor, nn

from adaptkit.anatomy import Precision, fingerprint, load, resolve, save
from adaptkit.artifact.export import refuse_destination
from adaptkit.artifact.load import load_artifact, rebuild
from adaptkit.artifact.merging import merge
from adaptkit.artifact.models import Published, check_equal, tokenizer_of
from adaptkit.artifact.reading import artifact_folder, difference, forms, read_artifact
from adaptkit.artifact.save import Files
from adaptkit.atomic import new_folder, write_bytes
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.model.probe import outputs
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe
from adaptkit.recipe.write import carrying, model_table, resolved_tables

RECEIPT = "unmerge.safetensors"
TOKENIZER = (
    "tokenizer",
    "vocab",
    "merges",
    "special_tokens",
    "added_tokens",
    "spiece",
    "sentencepiece",
    "chat_template",
)
BACKBONE, TOWERS = ".", "./towers"
HEAD = "language model"  # of a model that was loaded with its own

# Of the largest output, by the weights' number format: each is rounded once, and sums are taken in another order.
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 8e-2}


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge wrote.

    Attributes:
        folder: the backbone as its library reads it, and the artifact of what is no part of it.
        changed: how many tensors are not the published ones.
        difference: the largest between outputs before and after; None where they were not compared.
    """

    folder: Path
    changed: int
    difference: float | None


def merge_run(
    source: Path,
    destination: Path,
    *,
    force: bool = False,
    check: bool = True,
    tolerance: float | None = None,
    run_code: bool | None = None,
) -> Merged:
    """Fold the adapters of a run into a copy of its backbone and towers; complete or not at all.

    transformers or timm load the folder without adaptkit. To adaptkit it is the artifact of what is left, encoders and
    heads. Beside every model lies a receipt with what the changed tensors were.

    Args:
        source: a run or artifact folder.
        destination: the folder.
        force: replace what is there.
        check: load what was written, and compare its outputs with those before.
        tolerance: how far they may differ, as a share of the largest; by default what the number format allows.
        run_code: see `load_artifact`.

    Raises:
        ArtifactError: an adapter that cannot be folded exactly, with the reason; outputs that differ by more.
        RunError: the folder is there (without `force`) or cannot be written.
    """
    artifact = read_artifact(artifact_folder(source))
    refuse_destination(destination, artifact.folder, force)
    told = artifact.description
    model = rebuild(artifact, run_code=run_code).eval()
    allowed = TOLERANCES[next(model.backbone.parameters()).dtype] if tolerance is None else tolerance
    before = outputs(model) if check else {}
    merge(model)

    places = {"": BACKBONE, **{name: f"{TOWERS}/{name}" for name in model.towers}}
    with new_folder(destination, replace=force) as folder:
        changed = sum(_write(model, name, folder / place) for name, place in places.items())
        rest = _rest(model, folder, places, told.labels)
        folded = f"Folded into {told.base.name}: {', '.join(model.plan.recipe.adapter)}."
        known = {"metrics": told.metrics, "seed": told.seed, "note": f"{told.note} {folded}".strip()}
        Files.of(rest, where=destination, places=places, **known).write(folder)
        difference = check_equal(before, load_artifact(folder), allowed, where=str(destination)) if check else None
    return Merged(destination, changed, difference)


def _write(model: AdaptedModel, name: str, folder: Path) -> int:
    """Write the backbone ("") or a tower, in its values of now, and the receipt; return how many tensors changed."""
    found, now = Published.of(model, name), model.models[name or "backbone"].state_dict()
    published = fingerprint(found.whole)
    own = found.part.state_dict()
    old = {key: tensor.clone() for key, tensor in own.items() if not _same(tensor, now[key])}
    found.part.load_state_dict(now)
    found.write(folder, tokenizer_of(model, name))
    if old:
        names = {id(parameter): key for key, parameter in found.whole.state_dict(keep_vars=True).items()}
        keys = found.part.state_dict(keep_vars=True)
        tensors = {names[id(keys[key])]: tensor.contiguous() for key, tensor in old.items()}
        precision = model_table(resolved_tables(model.plan.recipe), name)["precision"]
        told = {"published": published, "merged": fingerprint(found.whole), "precision": precision}
        told |= {"head": HEAD if found.ref.head else ""}
        write_bytes(folder / RECEIPT, serialised(tensors, metadata=told))
    return len(old)


def _same(one: Tensor, other: Tensor) -> bool:
    """To the bit: 0.0 and -0.0 are equal numbers."""
    return torch.equal(*(each.contiguous().view(-1).view(torch.uint8) for each in (one, other)))


def _rest(model: AdaptedModel, folder: Path, places: Mapping[str, str], labels: Mapping[str, Any]) -> AdaptedModel:
    """What is left of a merged model: encoders, fusion and heads around the models in the folder, which are frozen."""
    tables = carrying(
        resolved_tables(model.plan.recipe), {name: str((folder / at).resolve()) for name, at in places.items()}
    )
    for key in ("adapter", "init_from"):
        tables.pop(key, None)
    for name in places:
        model_table(tables, name)["train"] = []
    plan = make_plan(
        parse_recipe(tables, base=model.plan.recipe.base, needs_task=bool(labels)),
        labels={task: names for task, names in labels.items() if names},
    )
    rest, values = build_model(plan), model.state_dict()
    rest.load_trainable_state({name: values[name] for name in rest.trainable_state()})
    return rest


def unmerge(source: Path, destination: Path, *, force: bool = False) -> int:
    """Write the model that adapters were folded into as it was published, bit for bit.

    Args:
        source: a folder that `merge_run` wrote, or that of a tower in it.
        destination: where to.
        force: replace what is there.

    Returns:
        How many tensors were put back.

    Raises:
        ArtifactError: there is no receipt, it is damaged, or the model is not the one that it belongs to.
        RunError: the folder is there (without `force`) or cannot be written.
    """
    refuse_destination(destination, source, force, mark="config.json")
    old, told = _receipt(source / RECEIPT)
    ref = replace(resolve(str(source.resolve())), head=told["head"] == HEAD)
    model = load(ref, precision=told["precision"])
    _refuse_other(model, told["merged"], source, "the model is not the one that was merged")
    own = model.state_dict()
    if (found := forms(old)) != (wanted := forms({name: own[name] for name in old if name in own})):
        raise ArtifactError(f"does not fit the model: {difference(found, wanted)}.", where=str(source / RECEIPT))
    for name, tensor in old.items():
        own[name].copy_(tensor)
    _refuse_other(model, told["published"], source / RECEIPT, "it does not lead back to the published model")
    with new_folder(destination, replace=force) as folder:
        save(model, ref, folder)
        for file in source.iterdir():  # the tokenizer; a model of vision or sound has none
            if file.name.startswith(TOKENIZER) and file.is_file():
                shutil.copyfile(file, folder / file.name)
    return len(old)


def _receipt(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors that were changed, as they were, and what model they belong to."""
    if not path.is_file():
        raise ArtifactError(
            f"has no {RECEIPT}: nothing was folded into the model here.",
            where=str(path.parent),
            hint="Name a folder that `adaptkit merge` wrote, or one in its towers/.",
        )
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"cannot be read ({error}).", where=str(path)) from error
    if lacking := {"published", "merged", "precision", "head"} - told.keys():
        raise ArtifactError(f"does not say {sorted(lacking)[0]}.", where=str(path))
    if told["precision"] not in get_args(Precision):
        raise ArtifactError(f"precision = {told['precision']!r} is no number format.", where=str(path))
    return tensors, told


def _refuse_other(model: nn.Module, wanted: str, where: Path, message: str) -> None:
    if (found := fingerprint(model)) != wanted:
        raise ArtifactError(
            f"{message}: it has the fingerprint {found[:19]}..., not {wanted[:19]}....",
            where=str(where),
            hint="One of the two files was changed; merge the run again.",
        )
