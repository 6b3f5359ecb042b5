"""A checkpoint of PEFT as an artifact of ours: every tensor finds its place, or the file is refused with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adaptkit.adapters.base import ADAPTERS
from adaptkit.adapters.peft import PeftForm
from adaptkit.anatomy import resolve, skeleton, study
from adaptkit.artifact.assembling import Converted, Found, assemble, place_of, refuse_options
from adaptkit.artifact.export import refuse_destination
from adaptkit.artifact.format import read_json
from adaptkit.artifact.peft_checkpoint import Checkpoint
from adaptkit.artifact.to_peft import CONFIG
from adaptkit.errors import ArtifactError

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
    _refuse_options(config, found.values(), source)
    note = f"Converted from a checkpoint of PEFT, {config.get('peft_type')}."
    return assemble(
        {place_of(path, anatomy): adapter for path, adapter in found.items()},
        destination,
        source=source,
        backbone=name,
        ref=ref,
        bare=bare,
        anatomy=anatomy,
        trained=checkpoint.trained,
        left=checkpoint.left,
        note=note,
        force=force,
    )


def read_adapter(form: PeftForm, path: str, source: Path) -> Found:
    """The kind of an adapter here, and what it is there.

    Raises:
        ArtifactError: no kind knows it.
    """
    for kind in ADAPTERS:
        read = ADAPTERS[kind].from_peft(form)
        if read is not None:
            return Found(kind, read)
    raise ArtifactError(
        f"no adapter of adaptkit is a {form.method} with the tensors {', '.join(sorted(form.tensors))}, as {path} has.",
        where=str(source),
    )


def _refuse_options(config: Mapping[str, Any], found: Iterable[Found], source: Path) -> None:
    """Every option that is switched on is known, or the converted adapter might be another function."""
    known = RECORDS | {key for adapter in found for key in adapter.translated.understood}
    known |= {key for key, value in config.items() if STARTS.fullmatch(key) and value in PLAIN_STARTS}
    refuse_options(config, known, str(source / CONFIG))
