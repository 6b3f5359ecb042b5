"""A checkpoint of PEFT as an artifact of ours: every tensor finds its place, or the file is refused with the reason."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptkit.adapters.base import ADAPTERS
from adaptkit.adapters.peft import FromPeft, PeftForm
from adaptkit.anatomy import Anatomy, fingerprint, input_spec, resolve, skeleton, study
from adaptkit.artifact.export import refuse_destination
from adaptkit.artifact.format import read_json
from adaptkit.artifact.peft_checkpoint import Checkpoint
from adaptkit.artifact.save import save_artifact
from adaptkit.artifact.to_peft import CONFIG
from adaptkit.errors import ArtifactError, Problem
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe
from adaptkit.surgery import adapters_of

# Keys of adapter_config.json that say where, with which versions or how the training began: the tensors show the rest.
RECORDS = {
    *(
        "peft_type",
        "task_type",
        "auto_mapping",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "peft_version",
    ),
    *("target_modules", "exclude_modules", "feedforward_modules", "modules_to_save", "layers_to_transform"),
    *("layers_pattern", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "bias", "ensure_weight_tying"),
    *("init_weights", "init_ia3_weights", "megatron_core", "qalora_group_size", "rank_dropout", "module_dropout"),
    *("corda_config", "eva_config", "loftq_config", "lora_ga_config"),
}
PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva", "lora_ga")  # those that leave the backbone as it is
STARTS = re.compile(r"init_\w*weights")


@dataclass(frozen=True, slots=True)
class Converted:
    """What was read.

    Attributes:
        folder: the artifact.
        adapters: name -> (kind, how many grafts).
        left: tensors that have no place without their task, such as a head's.
    """

    folder: Path
    adapters: dict[str, tuple[str, int]]
    left: tuple[str, ...]


def convert_peft(source: Path, destination: Path, *, backbone: str | None = None, force: bool = False) -> Converted:
    """Read a checkpoint of PEFT and write it as an artifact without tasks; complete or not at all.

    Args:
        source: a folder with adapter_config.json and adapter_model.safetensors, or .bin, which is read as data.
        destination: the artifact.
        backbone: the model to graft onto; by default the one that the configuration names.
        force: replace what is there.

    Raises:
        ArtifactError: a file is missing or damaged; tensors or options that are not understood, by name.
        RecipeError: there is no such backbone.
        RunError: the folder is there (without `force`) or cannot be written.
    """
    refuse_destination(destination, source, force)
    config = read_json(source / CONFIG)
    name = backbone or config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise ArtifactError("names no backbone.", where=str(source / CONFIG), hint="Say which: --backbone MODEL.")
    ref = resolve(name, base=Path(), where="--backbone" if backbone else str(source / CONFIG))
    bare = skeleton(ref)
    anatomy = study(bare)
    if config.get("target_parameters"):
        raise ArtifactError(
            f"target_parameters = {config['target_parameters']!r} cannot be read yet.",
            where=str(source / CONFIG),
            hint="Adapters of modules can. For fused experts, train lora at mlp.experts.gate_up and mlp.experts.down.",
        )
    checkpoint = Checkpoint.read(source, config, bare, anatomy.family)
    if not checkpoint.adapted:
        raise ArtifactError(
            f"changes no module of the backbone: it is PEFT's {config.get('peft_type')}, which cannot be read yet.",
            where=str(source),
            hint="Adapters of modules can: LoRA (also DoRA and rsLoRA), (IA)3, LoHa, LoKr, VeRA.",
        )
    found = {path: read_adapter(form, path, source) for path, form in checkpoint.forms(config, source).items()}
    _refuse_options(config, found, source)
    tables: dict[str, Any] = {
        "schema": 1,
        "name": re.sub(r"[^A-Za-z0-9_.-]", "_", source.resolve().name).lstrip("_.-") or "converted",
        "backbone": {"model": name, "train": sorted(checkpoint.trained)},
        "modality": {"input": {"kind": input_spec(bare, ref).kinds[0], "route": "backbone"}},
        "adapter": adapter_tables(found, anatomy),
        "data": {"format": "jsonl"},
        "task": {},
    }
    model = build_model(make_plan(parse_recipe(tables, needs_task=False)))
    original = fingerprint(model.backbone)
    _fill(model, found, checkpoint.trained, source)
    note = f"Converted from a checkpoint of PEFT, {config.get('peft_type')}."
    save_artifact(model, destination, base_fingerprint=original, note=note, force=force)
    grafts = Counter((graft.adapter, graft.kind) for graft in model.plan.grafts)
    return Converted(destination, {name: (kind, count) for (name, kind), count in grafts.items()}, checkpoint.left)


def read_adapter(form: PeftForm, path: str, source: Path) -> tuple[str, FromPeft]:
    """The kind of an adapter here, and what it is there.

    Raises:
        ArtifactError: no kind knows it.
    """
    for kind in ADAPTERS:
        read = ADAPTERS[kind].from_peft(form)
        if read is not None:
            return kind, read
    raise ArtifactError(
        f"no adapter of adaptkit is a {form.method} with the tensors {', '.join(sorted(form.tensors))}, as {path} has.",
        where=str(source),
    )


def _refuse_options(config: Mapping[str, Any], found: Mapping[str, tuple[str, FromPeft]], source: Path) -> None:
    """Every option that is switched on is known, or the converted adapter might be another function."""
    known = RECORDS | {key for _, read in found.values() for key in read.understood}
    problems = []
    for key, value in config.items():
        harmless = STARTS.fullmatch(key) and value in PLAIN_STARTS
        if value and key not in known and not harmless:
            problems.append(Problem(f"{key} = {value!r} is not understood.", str(source / CONFIG)))
    if problems:
        raise ArtifactError.all(problems)


def adapter_tables(found: Mapping[str, tuple[str, FromPeft]], anatomy: Anatomy) -> dict[str, dict[str, Any]]:
    """The adapters of a recipe: one for all modules with the same options, by site and layer where they have names."""
    whole_layers = (site for site in anatomy.sites if site.is_projection and not (site.columns or site.parameter))
    sites = {site.path: site for site in whole_layers}
    layers: dict[str, set[int | None]] = defaultdict(set)
    for site in sites.values():
        layers[site.local_name].add(site.layer)
    groups: dict[tuple[Any, ...], dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for path in [path for path in sites | dict.fromkeys(found) if path in found]:  # in the order of the model
        (kind, read), site = found[path], sites.get(path)
        name = f"path:{path}" if site is None else site.local_name
        groups[kind, tuple(sorted(read.options.items()))][name].append(None if site is None else site.layer)
    tables: dict[str, dict[str, Any]] = {}
    for (kind, options), of_sites in groups.items():
        together: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for name, at in of_sites.items():
            whole = set(at) == layers.get(name, {None})
            together[() if whole else tuple(sorted(at))].append(name)
        for at, names in together.items():
            name = kind if kind not in tables else f"{kind}_{len(tables) + 1}"
            tables[name] = {"kind": kind, "at": names, "layers": list(at) or "all", **dict(options)}
    return tables


def _fill(
    model: AdaptedModel, found: Mapping[str, tuple[str, FromPeft]], trained: Mapping[str, Tensor], source: Path
) -> None:
    """Put every tensor in its place.

    Raises:
        ArtifactError: one has another shape, or an adapter lacks one.
    """
    parameters = dict(model.backbone.named_parameters(remove_duplicate=False))
    values = dict(trained)
    for path, child in model.receipt.grafts:
        own = dict(adapters_of(model.backbone.get_submodule(path))[child].named_parameters(remove_duplicate=False))
        state = found[path][1].state
        if own.keys() != state.keys():
            differing = ", ".join(sorted(own.keys() ^ state.keys()))
            raise ArtifactError(f"{path} has other tensors than such an adapter: {differing}.", where=str(source))
        parameters |= {f"{path}:{name}": parameter for name, parameter in own.items()}
        values |= {f"{path}:{name}": value for name, value in state.items()}
    with torch.no_grad():
        for name, value in values.items():
            if parameters[name].shape != value.shape:
                shapes = f"{tuple(value.shape)}, and here it is {tuple(parameters[name].shape)}"
                raise ArtifactError(f"{name.replace(':', '.')} has the shape {shapes}.", where=str(source))
            parameters[name].copy_(value)
