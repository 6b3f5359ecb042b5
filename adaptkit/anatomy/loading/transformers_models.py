"""Backbones of transformers: configuration, skeleton, weights, tokenizer. No remote code, no pickles."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AttentionInterface,
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
)
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from adaptkit.anatomy.loading.auto import auto_class
from adaptkit.anatomy.loading.quiet import quietly
from adaptkit.anatomy.loading.resolve import ModelRef, Precision
from adaptkit.anatomy.loading.weights import check_sha256, hub_answers, package_folder, unavailable
from adaptkit.anatomy.quantised import keep_codes
from adaptkit.errors import RecipeError, UnavailableError, nearest

Dropout = Literal["off", "keep"]

_DROPOUT_KEY = re.compile(r"drop")
# A checkpoint saved for masked language modelling has no pooler, and one without a head not the zeros that BART adds to
# its logits; anything else missing means the wrong file.
_MAY_BE_MISSING = re.compile(r"(^|\.)(pooler\.|position_ids$|final_logits_bias$|.*relative_position_index$)")


def config(ref: ModelRef) -> PretrainedConfig:
    """The configuration: of the recipe, bundled, from the local folder, the hub's cache, or the hub.

    Raises:
        RecipeError: a local config.json that cannot be read, or a model type transformers does not know.
        UnavailableError: a hub id that is not cached, without network.
    """
    if ref.settings is not None:
        return from_settings(ref.id, ref.settings)
    if ref.alias is not None and ref.revision is None:
        return _from_json(ref.alias.config)
    if ref.folder is not None:
        return _from_json(ref.folder / "config.json")
    return _from_hub(ref, "configuration", AutoConfig.from_pretrained)


def skeleton(ref: ModelRef) -> nn.Module:
    """The model on the meta device: every module and shape, no weights."""
    with torch.device("meta"):
        return built(ref, config(ref))


def load(ref: ModelRef, *, dropout: Dropout = "keep", precision: Precision = "shipped") -> nn.Module:
    """The model with its weights, in evaluation mode, on the CPU.

    Args:
        ref: from `resolve`.
        dropout: "off" sets every dropout of the configuration to 0: training mode stays deterministic.
        precision: dtype of the weights; "shipped" keeps the file's.

    Raises:
        UnavailableError: no weights on this machine and no network, or a file that lacks tensors.
    """
    settings = config(ref)
    if dropout == "off":
        switch_off_dropout(settings)
    if ref.settings is not None:
        return drawn(ref, settings, precision)
    dtype = "auto" if precision == "shipped" else getattr(torch, precision)
    options: dict[str, Any] = {
        "config": settings,
        "dtype": dtype,
        "use_safetensors": True,
        "output_loading_info": True,
        "trust_remote_code": False,
    }
    auto, folder = auto_class(ref, settings), _weights_folder(ref)
    # Weights the file lacks (a pooler) are drawn at random: from a fixed seed, so that two loads are equal.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if folder is not None:
            model, info = _from_folder(auto, folder, options)
        else:
            model, info = _from_hub(ref, "weights", auto.from_pretrained, **options)
    missing = sorted(key for key in info["missing_keys"] if not _MAY_BE_MISSING.search(key))
    if missing:
        raise UnavailableError(
            f"the weights of {ref.name} lack {len(missing)} tensors of a {type(model).__name__}, first {missing[0]!r}.",
            hint="The weights file belongs to another architecture or is incomplete.",
        )
    return keep_codes(model).eval()


def save(model: Any, ref: ModelRef, folder: Path) -> None:
    """config.json and safetensors, in the names of the published file where the library renames them on loading."""
    with quietly():
        model.save_pretrained(folder)


def drawn(ref: ModelRef, settings: PretrainedConfig, precision: Precision) -> nn.Module:
    """The model with random weights that are a function of its configuration alone.

    The seed is fixed, and not the recipe's: a frozen base has to be found again from the recipe when an artifact is
    loaded, and the seeds of a run are to share it as they share a checkpoint.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(0)
        model = built(ref, settings)
    return model.to(torch.float32 if precision == "shipped" else getattr(torch, precision)).eval()


def built(ref: ModelRef, settings: PretrainedConfig) -> nn.Module:
    """The model that a configuration describes, on the current default device.

    Raises:
        RecipeError: values that contradict each other, such as a width that the heads do not divide.
    """
    auto = auto_class(ref, settings)
    try:
        with quietly():
            return auto.from_config(settings, trust_remote_code=False)
    except Exception as error:  # every architecture refuses in its own way
        if ref.settings is None:
            raise
        raise RecipeError(
            f"{ref.name} cannot be built from its config: {_first_line(error)}",
            hint="The keys are those of the type's configuration in transformers, and what they leave out has its "
            "published default.",
        ) from error


def from_settings(model_type: str, settings: Mapping[str, Any]) -> PretrainedConfig:
    """The configuration of this type with these keys, everything else at its published default.

    Raises:
        RecipeError: no such type or key, or a value of the wrong type.
    """
    if model_type not in CONFIG_MAPPING:
        hint = nearest(model_type, CONFIG_MAPPING.keys())
        if not hint.startswith("Did"):  # there are hundreds
            hint = 'Write for example model = "bert", "gpt2", "vit", or "timm/resnet18".'
        raise RecipeError(f"transformers has no model type {model_type!r} to build from config.", hint=hint)
    refuse_unknown(model_type, CONFIG_MAPPING[model_type], settings)
    try:
        with quietly():
            return AutoConfig.for_model(model_type, **copy.deepcopy(dict(settings)))
    except Exception as error:  # the configurations check their values, each in its own way
        told = " ".join(line.strip() for line in str(error).splitlines())
        raise RecipeError(f"config of {model_type}: {told or type(error).__name__}") from error


def refuse_unknown(name: str, kind: Any, settings: Mapping[str, Any]) -> None:
    """transformers keeps an unknown key and ignores it; a mistyped width would go unnoticed."""
    if not is_dataclass(kind):  # the place of any configuration
        return
    known = {each.name for each in fields(kind)} | {*getattr(kind, "attribute_map", ())}
    for key, value in settings.items():
        if key not in known:
            raise RecipeError(f"config of {name}: unknown key {key!r}.", hint=nearest(key, known))
        inside = getattr(kind, "sub_configs", {}).get(key)
        if inside is not None and isinstance(value, Mapping):
            refuse_unknown(f"{name}.{key}", inside, value)


def tokenizer(ref: ModelRef) -> Any:
    """The tokenizer that belongs to the model."""
    folder = ref.folder or _package(ref)
    if folder is None:
        return _from_hub(ref, "tokenizer files", AutoTokenizer.from_pretrained)
    try:
        with quietly():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UnavailableError(
            f"the tokenizer of {ref.name} cannot be read from {folder}: {_first_line(error)}",
            hint="The folder needs tokenizer.json (or the vocabulary) and tokenizer_config.json.",
        ) from error


def switch_off_dropout(settings: PretrainedConfig) -> None:
    """Set every dropout-like number of a configuration, and of the configurations inside it, to 0."""
    for key, value in vars(settings).items():
        if isinstance(value, PretrainedConfig):
            switch_off_dropout(value)
        elif _DROPOUT_KEY.search(key) and isinstance(value, (int, float)) and not isinstance(value, bool):
            setattr(settings, key, 0.0)


def register_attention(name: str, function: Callable[..., Any]) -> None:
    """Let attentions whose configuration says `name` call this function."""
    AttentionInterface.register(name, function)


def register_experts(name: str, function: Callable[..., Any]) -> None:
    """Let fused experts whose configuration says `name` call this function."""
    ALL_EXPERTS_FUNCTIONS.register(name, function)


def experts_function(name: str | None, eager: Callable[..., Any]) -> Callable[..., Any]:
    """How fused experts run whose configuration says `name`; `eager` is their own forward."""
    return eager if name is None else ALL_EXPERTS_FUNCTIONS.get_interface(name, eager)


def _from_json(path: Path) -> PretrainedConfig:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        with quietly():
            return AutoConfig.for_model(values.pop("model_type"), **values)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise RecipeError(
            f"{path} is not the configuration of a transformers model: {_first_line(error)}",
            hint='It needs a "model_type" that the installed transformers knows.',
        ) from error


def _weights_folder(ref: ModelRef) -> Path | None:
    if ref.folder is not None:
        if not any(ref.folder.glob("*.safetensors")):
            raise UnavailableError(
                f"the folder {ref.folder} has no weights (model.safetensors).",
                hint="Save it there with `model.save_pretrained(folder)`; pickled weights are not read.",
            )
        return ref.folder
    folder = _package(ref)
    if folder is not None and ref.alias is not None:
        check_sha256(folder / "model.safetensors", ref.alias.sha256)
    return folder


def _package(ref: ModelRef) -> Path | None:
    """Folder of the installed package with this checkpoint; it has one revision, the published one."""
    return package_folder(ref.alias) if ref.alias is not None and ref.revision is None else None


def _from_folder(auto: Any, folder: Path, options: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    try:
        with quietly():
            return auto.from_pretrained(folder, local_files_only=True, **options)
    except ImportError as error:
        raise lacks_library(str(folder), error) from error
    except Exception as error:  # safetensors and transformers raise many kinds; all mean an unreadable file
        raise UnavailableError(
            f"the weights in {folder} cannot be read: {_first_line(error)}",
            hint="The file is truncated, or does not fit the folder's config.json.",
        ) from error


def _from_hub(ref: ModelRef, what: str, read: Any, **options: Any) -> Any:
    """The hub's cache first, then the hub, with one clear error."""
    options = {"revision": ref.revision, "trust_remote_code": False} | options
    try:
        with quietly():
            return read(ref.id, local_files_only=True, **options)
    except ImportError as error:
        raise lacks_library(ref.id, error) from error
    except (OSError, ValueError):
        if not hub_answers():
            raise unavailable(ref.id, what, ref.alias) from None
    try:
        with quietly():
            return read(ref.id, **options)
    except ImportError as error:
        raise lacks_library(ref.id, error) from error
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"the {what} of {ref.id} cannot be read from the hub: {_first_line(error)}",
            hint="Is the id right, and is the repository public?",
        ) from error


def lacks_library(name: str, error: ImportError) -> UnavailableError:
    """Weights that are kept as codes need the library that made them."""
    return UnavailableError(
        f"the weights of {name} need a library that is not installed: {_first_line(error)}",
        hint='bitsandbytes and torchao come with: pip install "adaptkit[quantised]"',
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
