"""Backbones of timm, without their classification head. The only file that imports timm."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_data_config
from timm.models import get_pretrained_cfg, save_for_hf
from torch import nn

from adaptkit.anatomy.loading.quiet import quietly
from adaptkit.anatomy.loading.resolve import ModelRef
from adaptkit.anatomy.loading.weights import hub_answers, unavailable
from adaptkit.errors import RecipeError, UnavailableError, nearest


@dataclass(frozen=True, slots=True)
class ImageInput:
    """Images a backbone was trained on: channels, (height, width) in pixels, mean and std of 0..1 values."""

    channels: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def skeleton(ref: ModelRef) -> nn.Module:
    """The model on the meta device: every module and shape, no weights."""
    if ref.folder is not None:
        return _from_folder(ref.folder, pretrained=False)
    name = _checked_name(ref)
    with torch.device("meta"):
        return built(name, ref.settings or {})


def load(ref: ModelRef) -> nn.Module:
    """The model with its pretrained weights, on the CPU.

    Raises:
        UnavailableError: the weights are not cached and the hub cannot be reached.
    """
    if ref.folder is not None:
        return _from_folder(ref.folder, pretrained=True)
    name = _checked_name(ref)
    if ref.settings is not None:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(0)  # as in transformers_models.drawn
            return built(name, ref.settings)
    return _cached(name) or _downloaded(ref, name)


def save(model: nn.Module, ref: ModelRef, folder: Path) -> None:
    """config.json and safetensors, as `timm.create_model("local-dir:FOLDER", pretrained=True)` reads them."""
    with quietly():
        save_for_hf(model, str(folder), model_args=dict(ref.settings or {}), safe_serialization=True)


def built(name: str, settings: Mapping[str, Any]) -> nn.Module:
    """The model with random weights, on the current default device.

    Raises:
        RecipeError: a keyword that the model does not take, or a value that it cannot work with.
    """
    try:
        with quietly():
            return timm.create_model(name, pretrained=False, num_classes=0, **settings)
    except Exception as error:  # every architecture refuses in its own way
        if not settings:
            raise
        line = (str(error) or type(error).__name__).splitlines()[0]
        wrong = re.search(r"unexpected keyword argument '(\w+)'", line)
        hint = nearest(wrong[1], keywords(name)) if wrong else "The keys are keyword arguments of the model in timm."
        raise RecipeError(f"timm/{name} cannot be built from its config: {line}", hint=hint) from error


def keywords(name: str) -> list[str]:
    """What the class of a model takes."""
    with quietly(), torch.device("meta"):
        return [*inspect.signature(type(timm.create_model(name))).parameters]


def image_input(model: nn.Module, settings: Mapping[str, Any]) -> ImageInput:
    """The image size and normalisation the model was trained with, or built for."""
    data = resolve_data_config({}, model=model)
    channels, height, width = data["input_size"]
    size = settings.get("img_size", (height, width))
    height, width = (size, size) if isinstance(size, int) else size
    return ImageInput(settings.get("in_chans", channels), (height, width), tuple(data["mean"]), tuple(data["std"]))


def _nearest(name: str, known: Iterable[str]) -> str:
    """As the recipe writes it, with the library before the name."""
    return nearest(f"timm/{name}", (f"timm/{other}" for other in known))


def _checked_name(ref: ModelRef) -> str:
    name = ref.id.removeprefix("timm/")
    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        raise RecipeError(f"timm has no model {architecture!r}.", hint=_nearest(architecture, timm.list_models()))
    if "." in name and ref.settings is not None:
        raise RecipeError(
            f"{name!r} names weights, and config makes a model with random ones.",
            hint=f'Write model = "timm/{architecture}", or leave out config.',
        )
    if "." in name and _published(name) is None:
        raise RecipeError(
            f"timm has no weights {name!r}.", hint=_nearest(name, timm.list_pretrained(architecture + "*"))
        )
    return name


def _published(name: str) -> Any:
    """timm's record of the weights of a name (of its default tag, where it has none), or None."""
    try:
        return get_pretrained_cfg(name)
    except RuntimeError:  # timm's answer to a tag that does not exist
        return None


def _from_folder(folder: Path, *, pretrained: bool) -> nn.Module:
    """The model of a local folder in the form of timm's repositories: with its weights, or on the meta device."""
    if pretrained and not (folder / "model.safetensors").is_file():
        raise UnavailableError(
            f"the folder {folder} has no weights (model.safetensors).",
            hint="Save it there with `timm.models.save_for_hf(model, folder, safe_serialization=True)`; pickled "
            "weights are not read.",
        )
    try:
        with quietly(), torch.device("cpu" if pretrained else "meta"):
            return timm.create_model(f"local-dir:{folder}", pretrained=pretrained, num_classes=0)
    except Exception as error:  # timm raises many kinds; all mean a file that cannot be read, or two that do not fit
        line = (str(error) or type(error).__name__).splitlines()[0]
        what = f"{folder} is not a folder of a timm model: {line}"
        hint = "It needs config.json with an architecture that the installed timm knows, and model.safetensors."
        raise UnavailableError(what, hint=hint) if pretrained else RecipeError(what, hint=hint) from error


def _cached(name: str) -> nn.Module | None:
    """The model from the hub's cache alone, or None where its weights are not there."""
    from huggingface_hub import try_to_load_from_cache

    pretrained = _published(name)
    repository = pretrained.hf_hub_id if pretrained else None
    if repository is None:
        return None
    repository = repository.split("@")[0]
    repository = repository + name if repository.endswith("/") else repository
    if not isinstance(try_to_load_from_cache(repository, "model.safetensors"), str):
        return None
    return _pretrained(name)


def _downloaded(ref: ModelRef, name: str) -> nn.Module:
    if _published(name) is None:
        raise UnavailableError(f"timm offers no pretrained weights for {name}.", hint="Choose another model.")
    if not hub_answers():
        raise unavailable(ref.id, "weights")
    try:
        return _pretrained(name)
    except (OSError, RuntimeError, ValueError) as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise UnavailableError(f"the weights of {ref.id} cannot be read from the hub: {line}") from error


def _pretrained(name: str) -> nn.Module:
    with quietly():
        return timm.create_model(name, pretrained=True, num_classes=0)
