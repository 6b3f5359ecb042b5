"""A model whose adapters another library trained: the recipe that describes them, and every value in its place."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.adapters.translated import Translated
from adaptkit.anatomy import Anatomy, ModelRef, fingerprint, input_spec
from adaptkit.artifact.reading import read_tensors
from adaptkit.artifact.save import save_artifact
from adaptkit.errors import ArtifactError, Problem
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe
from adaptkit.surgery import adapters_of

FEW = 4  # keys that a message names


@dataclass(frozen=True, slots=True)
class Converted:
    """What was read.

    Attributes:
        folder: the artifact.
        adapters: name -> (kind, how many grafts).
        left: what has no place without its task, such as a head's tensors.
    """

    folder: Path
    adapters: dict[str, tuple[str, int]]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an adapter of another library sits here.

    Attributes:
        at: the site within its model, or "path:MODULE".
        layer: index of the block; None where it is in none.
        path: module that hosts it.
        columns: the part of a fused projection that it changes.
        read: what it reads, as a recipe says it.
    """

    at: str
    layer: int | None
    path: str
    columns: tuple[int, int] | None = None
    read: str = "site"


@dataclass(frozen=True, slots=True)
class Found:
    """An adapter of another library: its kind here, and what it is there."""

    kind: str
    translated: Translated


def assemble(
    found: Mapping[Place, Found],
    destination: Path,
    *,
    source: Path,
    backbone: str,
    ref: ModelRef,
    bare: nn.Module,
    anatomy: Anatomy,
    trained: Mapping[str, Tensor],
    left: Sequence[str],
    note: str,
    force: bool,
) -> Converted:
    """Write an artifact without tasks whose adapters are these.

    Args:
        found: place -> adapter.
        destination: the artifact.
        source: where they come from, for messages and for the name.
        backbone: the model as a recipe names it; `ref`, `bare` and `anatomy` are what it is.
        trained: parameter of the backbone -> its value.
        left: see `Converted`.
        note: where it comes from, in a sentence.
        force: replace what is there.

    Raises:
        ArtifactError: a tensor has another shape, or an adapter lacks one.
        RecipeError: the options are not those of such an adapter.
    """
    adapters = adapter_tables(found, anatomy)
    tables: dict[str, Any] = {
        "schema": 1,
        "name": re.sub(r"[^A-Za-z0-9_.-]", "_", source.resolve().name).lstrip("_.-") or "converted",
        "backbone": {"model": backbone, "train": sorted(trained)},
        "modality": {"input": {"kind": input_spec(bare, ref).kinds[0], "route": "backbone"}},
        "adapter": {name: table for name, (table, _) in adapters.items()},
        "data": {"format": "jsonl"},
        "task": {},
    }
    model = build_model(make_plan(parse_recipe(tables, needs_task=False)))
    original = fingerprint(model.backbone)
    places = {(name, place.path, place.columns): place for name, (_, mine) in adapters.items() for place in mine}
    _fill(model, {key: found[place] for key, place in places.items()}, trained, source)
    save_artifact(model, destination, base_fingerprint=original, note=note, force=force)
    grafts = Counter((graft.adapter, graft.kind) for graft in model.plan.grafts)
    return Converted(destination, {name: (kind, count) for (name, kind), count in grafts.items()}, tuple(left))


def place_of(path: str, anatomy: Anatomy) -> Place:
    """Where an adapter of a whole projection sits, by the name of its site where it has one."""
    for site in anatomy.sites:
        if site.path == path and site.is_projection and not (site.columns or site.parameter):
            return Place(site.local_name, site.layer, path)
    return Place(f"path:{path}", None, path)


def adapter_tables(
    found: Mapping[Place, Found], anatomy: Anatomy
) -> dict[str, tuple[dict[str, Any], tuple[Place, ...]]]:
    """The adapters of a recipe, each with its places: one for all with the same options, by site and layer."""
    layers: dict[str, set[int | None]] = defaultdict(set)
    order = {site.path: number for number, site in enumerate(anatomy.sites)}
    for site in anatomy.sites:
        layers[site.local_name].add(site.layer)
    groups: dict[tuple[Any, ...], dict[str, list[Place]]] = defaultdict(lambda: defaultdict(list))
    for place in sorted(found, key=lambda place: order.get(place.path, len(order))):  # in the order of the model
        adapter = found[place]
        options = tuple(sorted(adapter.translated.options.items()))
        groups[adapter.kind, place.read, options][place.at].append(place)
    tables: dict[str, tuple[dict[str, Any], tuple[Place, ...]]] = {}
    for (kind, read, options), of_sites in groups.items():
        together: dict[tuple[int, ...], list[Place]] = defaultdict(list)
        for name, places in of_sites.items():
            at = {place.layer for place in places}
            whole = at == layers.get(name, {None})
            together[() if whole else tuple(sorted(layer for layer in at if layer is not None))] += places
        for at, places in together.items():
            name = kind if kind not in tables else f"{kind}_{len(tables) + 1}"
            sites = list(dict.fromkeys(place.at for place in places))
            table = {"kind": kind, "at": sites, "layers": list(at) or "all", "read": read, **dict(options)}
            tables[name] = table, tuple(places)
    return tables


def _fill(
    model: AdaptedModel,
    found: Mapping[tuple[str, str, tuple[int, int] | None], Found],
    trained: Mapping[str, Tensor],
    source: Path,
) -> None:
    """Put every tensor in its place.

    Raises:
        ArtifactError: one has another shape, or an adapter lacks one.
    """
    parameters = dict(model.backbone.named_parameters(remove_duplicate=False))
    values = dict(trained)
    for graft in model.plan.inside:
        path = graft.site.path
        adapter = adapters_of(model.backbone.get_submodule(path))[graft.child]
        own = dict(adapter.named_parameters(remove_duplicate=False))
        state = found[graft.adapter, path, graft.site.columns].translated.state
        if own.keys() != state.keys():
            differing = ", ".join(sorted(own.keys() ^ state.keys()))
            raise ArtifactError(f"{path} has other tensors than such an adapter: {differing}.", where=str(source))
        parameters |= {f"{path}:{graft.child}:{name}": parameter for name, parameter in own.items()}
        values |= {f"{path}:{graft.child}:{name}": value for name, value in state.items()}
    with torch.no_grad():
        for name, value in values.items():
            if parameters[name].shape != value.shape:
                shapes = f"{tuple(value.shape)}, and here it is {tuple(parameters[name].shape)}"
                raise ArtifactError(f"{name.replace(':', '.')} has the shape {shapes}.", where=str(source))
            parameters[name].copy_(value)


def tensors_of(source: Path, safe: str, pickled: str) -> dict[str, Tensor]:
    """Name -> tensor of a folder's file; a .bin, where there is no .safetensors, is read as numbers, never executed.

    Raises:
        ArtifactError: missing, damaged, or not a file of tensors.
    """
    if (source / safe).exists() or not (source / pickled).is_file():
        return read_tensors(source / safe)[1]
    try:
        found = torch.load(source / pickled, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle raises anything; all mean that it is no file of tensors
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise ArtifactError(f"is not a file of tensors: {line}", where=str(source / pickled)) from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ArtifactError("is not a file of tensors by name.", where=str(source / pickled))
    return found


def refuse_unknown(keys: Sequence[str], what: str, source: Path, hint: str) -> None:
    """Raise ArtifactError with the names of tensors that found no place."""
    if keys:
        shown = ", ".join(keys[:FEW]) + (f" and {len(keys) - FEW} more" if len(keys) > FEW else "")
        raise ArtifactError(f"{len(keys)} tensors {what}: {shown}.", where=str(source), hint=hint)


def refuse_options(switched: Mapping[str, Any], known: set[str], where: str) -> None:
    """Raise ArtifactError with every option that is switched on and not understood: it might be another function."""
    problems = [
        Problem(f"{key} = {value!r} is not understood.", where)
        for key, value in switched.items()
        if value and key not in known
    ]
    if problems:
        raise ArtifactError.all(problems)
