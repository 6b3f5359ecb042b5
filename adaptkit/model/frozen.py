"""What is kept of the frozen models: what decides about it, what is computed once, and how a batch brings it along.

A model that does not have to run at all leaves its vectors (`whole`); of one whose upper blocks run, the outputs of
some blocks are kept, and the blocks below hand on what was kept (`replayed`) instead of computing.
"""

from __future__ import annotations

import hashlib
import inspect
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.anatomy import configuration, fingerprint
from adaptkit.anatomy.calling.forward import prepare, run
from adaptkit.anatomy.model_input import is_own
from adaptkit.cache.entry import Entry, Rows
from adaptkit.cache.folder import cache_folder
from adaptkit.modalities.encoder import settled
from adaptkit.model.adapted import AdaptedModel, pooled
from adaptkit.model.encoded import Inputs, native_inputs
from adaptkit.model.kept import Kept
from adaptkit.model.replaying import NotKeptError
from adaptkit.plan.frontier import Frontier
from adaptkit.recipe import Recipe
from adaptkit.sides import Side

# B batch, T tokens, E width, R rows of all samples

FORMAT = 1
ELSEWHERE = {"route", "column", "missing", "modality_dropout", "train", "projection", "tower"}  # decide nothing here


def described(model: AdaptedModel, frontier: Frontier, *, dtype: str) -> tuple[str, dict[str, Any]]:
    """What is kept of a model in words, and all that decides about it.

    Args:
        model: adapted, whatever of it was trained.
        frontier: of the model.
        dtype: in which it is kept.
    """
    plan = model.plan
    recipe = plan.recipe
    part = model.towers[frontier.model] if frontier.model else model.backbone
    ref = plan.towers[frontier.model].ref if frontier.model else plan.ref
    above = tuple(f"{block}." for block in frontier.blocks[frontier.first :])
    moving = plan.towers[frontier.model].unfrozen if frontier.model else plan.unfrozen
    by_name = ref.library == "timm"  # whose models say of their function only what they are called
    facts = {
        "format": FORMAT,
        "weights": fingerprint(part, leave=(*above, *moving)),
        "configuration": configuration(part),
        "model": [ref.library, ref.id if by_name else "", repr(ref.settings) if by_name or is_own(part) else ""],
        "code": source_of(part) if is_own(part) else "",
        "inputs": [input_of(model, name) for name in frontier.modalities],
        "whole": frontier.whole,
        "pool": plan.pool if frontier.pooled else getattr(recipe.modality.get(frontier.model), "pool", ""),
        "blocks": [frontier.first, *frontier.kept],
        "precision": recipe.train.precision,
        "device": next(part.parameters()).device.type,
        "dtype": dtype,
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", ref.library) if known(name)},
    }
    way = "whole" if frontier.whole else f"blocks 0 to {frontier.first - 1} of {len(frontier.blocks)}"
    return f"{ref.id}, {way}", facts


def use_kept(model: AdaptedModel) -> list[str]:
    """Let a model that is not to be trained have what is kept of its frozen parts; nothing is computed for it.

    Returns:
        What a user should know: what was damaged, and is computed.
    """
    told = list[str]()
    folder = folder_of(model.plan.recipe)
    frontiers = [frontier for frontier in model.plan.frontiers.values() if frontier.saves]
    if not frontiers or folder is None or not folder.is_dir():
        return told
    for frontier in frontiers:
        for dtype in ("computed", "bfloat16"):
            entry = Entry.of(folder, *described(model, frontier, dtype=dtype))
            told += [f"cache: {path} was damaged" for path in entry.damaged]
            if len(entry):
                model.kept[frontier.model] = Kept(frontier, entry)
                break
    return told


def folder_of(recipe: Recipe) -> Path | None:
    """Where what is kept lies; None where nothing is."""
    cache = recipe.cache
    return cache_folder(None if cache.folder is None else recipe.path(cache.folder)) if cache.enabled else None


def known(package: str) -> bool:
    return package != "python"


def input_of(model: AdaptedModel, name: str) -> dict[str, Any]:
    """What makes inputs of the raw values of a modality."""
    encoder: Any = model.encoders[name]
    table = model.plan.recipe.modality[name].model_dump(mode="json", exclude=ELSEWHERE)
    return {"keys": table, "preprocessing": encoder.preprocessing, "bounds": encoder.bounds}


def source_of(model: nn.Module) -> str:
    """The hash of the files that define a model of one's own."""
    files = {inspect.getsourcefile(type(module)) for module in model.modules()}
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file and Path(file).is_file()):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def whole_rows(model: AdaptedModel, frontier: Frontier, inputs: Inputs) -> Rows:
    """What a model that does not have to run at all gives for a batch.

    Raises:
        NotKeptError: its tokens do not begin at the first place.
    """
    vectors, mask = whole_states(model, frontier, inputs)
    counts = mask.sum(1)
    if not bool((mask == (torch.arange(mask.shape[1], device=mask.device) < counts[:, None])).all()):
        raise NotKeptError("its tokens stand behind padding")
    return Rows(vectors[mask].cpu(), counts.cpu())


def whole_states(model: AdaptedModel, frontier: Frontier, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """(B, T, E) and (B, T)."""
    if frontier.model:
        encoder: Any = model.encoders[frontier.model]
        return settled(encoder, inputs[frontier.model])
    plan = model.plan
    call = prepare(model.backbone, plan.spec, native_inputs(plan, inputs), None)
    with sides.use_sides({}, call.masks):
        states, mask = run(model.backbone, plan.spec, call, plan.width)
    if not frontier.pooled:
        return states, mask
    vector = pooled(plan.pool, model.backbone, Side(states, mask, mask.any(1)))  # (B, W)
    return vector[:, None], torch.ones(len(vector), 1, dtype=torch.bool, device=vector.device)
