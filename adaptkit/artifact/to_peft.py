"""Adapters as a checkpoint of PEFT: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

import importlib.util
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor, nn

from adaptkit.adapters.peft import PeftForm
from adaptkit.anatomy import dummy_inputs, load
from adaptkit.artifact.export import refuse_destination
from adaptkit.artifact.load import artifact_recipe, rebuild
from adaptkit.artifact.reading import artifact_folder, read_artifact
from adaptkit.atomic import new_folder, write_bytes, write_json
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel
from adaptkit.surgery import adapters_of
from adaptkit.surgery.hooks import bindings
from adaptkit.surgery.hosts import is_transposed

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # PeftModel, and the tuner in it
TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        folder: the checkpoint.
        left: parts of the run that a checkpoint of PEFT has no place for.
        difference: the largest between the backbone's outputs here and in PEFT; None where they were not compared.
    """

    folder: Path
    left: tuple[str, ...]
    difference: float | None


class Placed(NamedTuple):
    """An adapter at its host: the slice of the host's outputs that is its own (None for all), and its form in PEFT."""

    name: str
    columns: tuple[int, int] | None
    form: PeftForm


def export_peft(
    source: Path,
    destination: Path | None = None,
    *,
    force: bool = False,
    check: bool = True,
    run_code: bool | None = None,
) -> Exported:
    """Write the adapters of the backbone, and what else of it was trained, as PEFT does; complete or not at all.

    Args:
        source: a run or artifact folder.
        destination: the folder; `./<recipe>-peft` by default.
        force: replace what is there.
        check: where PEFT is installed, load the checkpoint with it and compare the backbone's outputs.
        run_code: see `load_artifact`.

    Raises:
        ArtifactError: PEFT has no such method, or not together with the others; the adapters are not in a model of
            transformers, or in a tower; outputs that differ.
        RunError: the folder is there (without `force`) or cannot be written.
    """
    artifact = read_artifact(artifact_folder(source))
    where = str(artifact.folder)
    destination = destination or Path(f"{artifact_recipe(artifact, run_code=run_code).name}-peft")
    refuse_destination(destination, artifact.folder, force, mark=CONFIG)
    model = rebuild(artifact, run_code=run_code).eval()
    refuse_elsewhere(model, where, "PEFT")
    placed = _placed(model, where)
    forms = {path: _joined(path, found, model.backbone.get_submodule(path), where) for path, found in placed.items()}
    trained = sorted({name.rpartition(".")[0] for name in model.plan.unfrozen})
    tensors = _tensors(forms) | {
        f"{PREFIX}{path}.{name}": value
        for path in trained
        for name, value in model.backbone.get_submodule(path).named_parameters(recurse=False)
    }
    config = _config(model, forms, trained, where)
    with new_folder(destination, replace=force) as folder:
        write_json(folder / CONFIG, config)
        content = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        write_bytes(folder / TENSORS, save(content, metadata={"format": "pt"}))
        difference = _compared(model, folder, destination) if check and importlib.util.find_spec("peft") else None
    return Exported(destination, left_out(model), difference)


def left_out(model: AdaptedModel) -> tuple[str, ...]:
    """Parts of a run that the adapters of its backbone are not."""
    encoders = [name for name, encoder in model.named_encoders() if not encoder.native]
    heads = (f"head of {', '.join(model.heads)}",) if len(model.heads) else ()
    return (*heads, *(f"encoder of {name}" for name in encoders))


def refuse_elsewhere(model: AdaptedModel, where: str, library: str) -> None:
    """Raise ArtifactError where adapters or trained parts are not in a backbone of transformers alone."""
    plan = model.plan
    if plan.ref.library != "transformers":
        raise ArtifactError(f"{library} is for transformers, and {plan.ref.name} is not of it.", where=where)
    others = sorted({graft.adapter for graft in plan.grafts if graft not in plan.inside})
    moving = [name for name, tower in plan.towers.items() if tower.unfrozen]
    if others or moving:
        what = f"the adapters {', '.join(others)}" if others else f"the tower of {moving[0]}"
        raise ArtifactError(
            f"{library}'s folders are of one model, and {what} would be left out.",
            where=where,
            hint="adaptkit export --format full takes all of it.",
        )


def _placed(model: AdaptedModel, where: str) -> dict[str, list[Placed]]:
    """Path of a host -> its adapters."""
    found: dict[str, list[Placed]] = defaultdict(list)
    refused: set[str] = set()
    for path, name in model.receipt.grafts:
        host = model.backbone.get_submodule(path)
        adapter = adapters_of(host)[name]
        if bindings(host)[name].parameter:
            raise ArtifactError(
                f"{name} is in the weights of fused experts, which are not written as PEFT's target_parameters.",
                where=where,
                hint="adaptkit export --adapter-only or --format full takes all.",
            )
        form = adapter.peft()
        if form is None:
            refused.add(f"{name} ({type(adapter).__name__})")
        else:
            found[path].append(Placed(name, bindings(host)[name].columns, form))
    if refused or not found:
        what = f"PEFT has no method for {', '.join(sorted(refused))}" if refused else "there is no adapter"
        raise ArtifactError(f"{what}.", where=where, hint="adaptkit export --adapter-only or --format full takes all.")
    return found


def _joined(path: str, found: Sequence[Placed], host: nn.Module, where: str) -> PeftForm:
    """What a host carries as one adapter of the whole of it: their ranks side by side, zeros in outputs of others."""
    first, *more = found
    if not more and first.columns is None:
        return first.form
    if any(not each.form.ranks or each.form.config.keys() != first.form.config.keys() for each in found):
        what = "several adapters" if more else f"{first.name}, which adapts a slice of it,"
        raise ArtifactError(f"{path} carries {what}, and PEFT has one for the whole.", where=where)
    weight: Any = host.weight
    outputs = weight.shape[1] if is_transposed(host) else len(weight)
    parts: dict[str, list[Tensor]] = defaultdict(list)
    for each in found:
        for name, value in each.form.tensors.items():
            if each.form.ranks[name] == 0:
                parts[name].append(value)
                continue
            start, stop = each.columns or (0, outputs)
            whole = value.new_zeros(outputs, *value.shape[1:])
            whole[start:stop] = value * (each.form.scaling / first.form.scaling)
            parts[name].append(whole)
    tensors = {name: torch.cat(values, dim=first.form.ranks[name]) for name, values in parts.items()}
    rank = next(len(tensors[name]) for name, dimension in first.form.ranks.items() if dimension == 0)
    rank_key, alpha_key = first.form.patterns.values()
    config = {**first.form.config, rank_key: rank, alpha_key: first.form.scaling * rank}
    return replace(first.form, config=config, tensors=tensors)


def _tensors(forms: Mapping[str, PeftForm]) -> dict[str, Tensor]:
    own = {f"{PREFIX}{path}.{name}": value for path, form in forms.items() for name, value in form.tensors.items()}
    return own | {f"base_model.{name}": value for form in forms.values() for name, value in form.shared.items()}


def _config(model: AdaptedModel, forms: Mapping[str, PeftForm], trained: Sequence[str], where: str) -> dict[str, Any]:
    """adapter_config.json. Modules have their full names, so that no other one ends as they do."""
    methods = sorted({form.method for form in forms.values()})
    if len(methods) > 1:
        raise ArtifactError(
            f"PEFT keeps one method in a checkpoint, and here are {' and '.join(methods)}.",
            where=where,
            hint="adaptkit export --format full takes all of them.",
        )
    shared, patterns = _agreed(forms, where)
    lists: dict[str, list[str]] = {}
    for path, form in forms.items():
        for key in form.lists:
            lists.setdefault(key, []).append(path)
    base = model.plan.ref
    hosts = {path: model.backbone.get_submodule(path) for path in forms}
    for path, form in forms.items():
        if is_transposed(hosts[path]) and not form.transposed:
            what = f"{path} keeps its weight transposed, which PEFT's {form.method} does not know"
            raise ArtifactError(f"{what}.", where=where, hint="adaptkit export --format full takes all of it.")
    return {
        "peft_type": methods[0],
        "task_type": _task(model),
        "base_model_name_or_path": str(base.folder.resolve()) if base.folder is not None else base.id,
        "revision": base.revision,
        "inference_mode": True,
        "target_modules": sorted(forms),
        "modules_to_save": list(trained) or None,
        **({"fan_in_fan_out": True} if all(map(is_transposed, hosts.values())) else {}),
        **shared,
        **patterns,
        **lists,
    }


def _task(model: AdaptedModel) -> str:
    """What PEFT loads the file into: a language model where a task generates, else the plain model."""
    if not model.plan.ref.head:
        return "FEATURE_EXTRACTION"
    return "SEQ_2_SEQ_LM" if getattr(model.backbone.config, "is_encoder_decoder", False) else "CAUSAL_LM"


def _agreed(forms: Mapping[str, PeftForm], where: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What all adapters have in common (the most frequent value where a pattern may differ), and the patterns."""
    first = next(iter(forms.values()))
    by_pattern = {key: pattern for pattern, key in first.patterns.items()}
    shared: dict[str, Any] = {}
    patterns: dict[str, dict[str, Any]] = {}
    for key in first.config:
        values = {path: form.config[key] for path, form in forms.items()}
        shared[key] = Counter(values.values()).most_common(1)[0][0]
        others = {path: value for path, value in values.items() if value != shared[key]}
        if others and key not in by_pattern:
            raise ArtifactError(f"PEFT has one {key}, and here it is {sorted(set(values.values()))}.", where=where)
        if others:
            patterns[by_pattern[key]] = others
    return shared, patterns


def _compared(model: AdaptedModel, folder: Path, destination: Path) -> float:
    """How far PEFT's outputs are from ours, as whoever loads the checkpoint computes them."""
    from peft import PeftModel  # pyright: ignore[reportMissingImports]

    plan = model.plan
    plain: Any = load(plan.ref, precision=plan.recipe.backbone.precision)
    try:
        theirs = PeftModel.from_pretrained(plain, folder).eval()
    except (RuntimeError, ValueError) as error:
        told = str(error).splitlines()
        raise ArtifactError(f"PEFT does not load it: {told[-1].strip()}", where=str(destination)) from error
    inputs = dummy_inputs(model.backbone, device="cpu")
    if "input_ids" in inputs:
        inputs["input_ids"] = torch.arange(inputs["input_ids"].numel()).view_as(inputs["input_ids"])
    with torch.no_grad():
        answers = (each(**inputs) for each in (model.backbone, theirs))
        ours, found = ((each.logits if plan.ref.head else each.last_hidden_state).float() for each in answers)
    difference, scale = float((ours - found).abs().max()), float(ours.abs().max())
    if not difference <= TOLERANCE * scale:
        raise ArtifactError(
            f"in PEFT the outputs differ by up to {difference:.2g}, of {scale:.2g} at most. Nothing is written.",
            where=str(destination),
            hint="--no-check writes it all the same.",
        )
    return difference
