"""An adapter of AdapterHub's `adapters` as an artifact of ours: every tensor finds its place, or it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptkit.adapters.adapterhub import HubForm, activation_here
from adaptkit.adapters.base import ADAPTERS
from adaptkit.anatomy import Anatomy, current_path, resolve, skeleton, study
from adaptkit.artifact.assembling import (
    Converted,
    Found,
    Place,
    assemble,
    place_of,
    refuse_options,
    refuse_unknown,
)
from adaptkit.artifact.export import refuse_destination
from adaptkit.artifact.format import read_json
from adaptkit.artifact.hub_folder import CONFIG, Tensors, configurations
from adaptkit.artifact.hub_places import (
    BRANCH_FLAGS,
    IN_STREAM,
    IN_WEIGHTS,
    PREFIX,
    SHARED,
    UNEQUAL,
    bottleneck_place,
    layer_numbers,
    prefix_sites,
    spot_of,
)
from adaptkit.artifact.reading import json_or_empty
from adaptkit.errors import ArtifactError

HEAD = "head_config.json"
# Keys of the configuration that the tensors or their names show, that say how training began, or that act in it alone.
RECORDS = {
    *("architecture", "mh_adapter", "output_adapter", "cross_adapter", "leave_out", "reduction_factor"),
    *("init_weights", "init_weights_seed", "dropout", "stochastic_depth", "dtype", "flat"),
    *("original_ln_before", "original_ln_after", "residual_before_ln", "is_parallel"),
    *("hypercomplex_nonlinearity", "phm_c_init", "phm_init_range", "inv_adapter_reduction_factor"),
    *("attn_matrices", "selfattn_lora", "intermediate_lora", "output_lora"),
    *("encoder_prefix", "cross_prefix", "shared_gating"),
}
ONLY_WITH = {"phm_layer": ("factorized_phm_W", "learn_phm", "phm_bias", "phm_dim", "phm_rank", "shared_phm_rule")}


def convert_adapterhub(
    source: Path, destination: Path, *, backbone: str | None = None, force: bool = False
) -> Converted:
    """Read an adapter that `adapters` saved and write it as an artifact without tasks; complete or not at all.

    Args:
        source: a folder with adapter_config.json and adapter.safetensors, or pytorch_adapter.bin, read as data.
        destination: the artifact.
        backbone: the model to graft onto; by default the one that the configuration names.
        force: replace what is there.

    Raises:
        ArtifactError: a file is missing or damaged; tensors or options that are not understood, by name.
        RecipeError: there is no such backbone.
        RunError: the folder is there (without `force`) or cannot be written.
    """
    refuse_destination(destination, source, force)
    described = read_json(source / CONFIG)
    adapter, name = described.get("name"), backbone or described.get("model_name")
    if not isinstance(adapter, str) or not adapter:
        raise ArtifactError("does not say the adapter's name.", where=str(source / CONFIG))
    if not isinstance(name, str) or not name:
        raise ArtifactError("names no backbone.", where=str(source / CONFIG), hint="Say which: --backbone MODEL.")
    ref = resolve(name, base=Path(), where="--backbone" if backbone else str(source / CONFIG))
    bare = skeleton(ref)
    anatomy = study(bare)
    configs = configurations(described, str(source / CONFIG))
    read = Reading(source, anatomy, configs, Tensors.of(source, adapter, type(bare).__name__))
    return assemble(
        read.stream() | read.weights() | read.prefixes(),
        destination,
        source=source,
        backbone=name,
        ref=ref,
        bare=bare,
        anatomy=anatomy,
        trained={},
        left=_heads(source),
        note=f"Converted from an adapter of AdapterHub, {described.get('version') or 'of an early version'}.",
        force=force,
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """What makes adapters of the tensors."""

    source: Path
    anatomy: Anatomy
    configs: list[dict[str, Any]]
    tensors: Tensors

    def stream(self) -> dict[Place, Found]:
        """The bottlenecks. Of several configurations each has its branches."""
        found: dict[Place, Found] = {}
        unknown: list[str] = []
        for path, tensors in self.tensors.at[IN_STREAM].items():
            spot = spot_of(current_path(self.anatomy.family, path), self.anatomy)
            if spot is None:
                unknown += [f"{path}.{IN_STREAM}.*.{name}" for name in tensors]
                continue
            config = self.config_of(None, BRANCH_FLAGS[spot.branch])
            placed = bottleneck_place(config, self.anatomy, spot)
            if isinstance(placed, str):
                raise ArtifactError(f"{path}: {placed}.", where=str(self.source / CONFIG))
            site, read = placed
            place = Place(site.local_name, site.layer, site.path, site.columns, read)
            found[place] = self.translated(HubForm(None, config, tensors, shared=self.tensors.shared), path)
        hint = "Is it the backbone that the adapter was trained on? Say another: --backbone MODEL."
        refuse_unknown(unknown, f"belong nowhere in {self.anatomy.family}", self.source, hint)
        return found

    def weights(self) -> dict[Place, Found]:
        """What changes projections; of a fused one, its parts one after the other."""
        found: dict[Place, Found] = {}
        modules = {module.path for module in self.anatomy.modules}
        unknown: list[str] = []
        for path, tensors in self.tensors.at[IN_WEIGHTS].items():
            today = current_path(self.anatomy.family, path)
            host = next((each for each in (today, today.partition(".")[2]) if each in modules), None)
            config = self.config_of("lora")
            if host is None:
                unknown += [f"{path}.{IN_WEIGHTS}.*.{name}" for name in tensors]
                continue
            slices = [site for site in self.anatomy.sites if site.path == host and site.columns is not None]
            named = [site for site in slices if site.name.rpartition(".")[2] in config.get("attn_matrices", ())]
            if not named:
                found[place_of(host, self.anatomy)] = self.translated(HubForm("lora", config, tensors), path)
                continue
            for number, site in enumerate(named):
                own = {name: value.chunk(len(named))[number] for name, value in tensors.items()}
                place = Place(site.local_name, site.layer, site.path, site.columns)
                found[place] = self.translated(HubForm("lora", config, own), path)
        hint = "Is it the backbone that the adapter was trained on? Say another: --backbone MODEL."
        refuse_unknown(unknown, f"belong nowhere in {self.anatomy.family}", self.source, hint)
        return found

    def prefixes(self) -> dict[Place, Found]:
        """Keys and values, of all layers in one tensor."""
        found: dict[Place, Found] = {}
        unequal = UNEQUAL.get((self.anatomy.family, PREFIX))
        if self.tensors.pools and unequal:
            raise ArtifactError(f"{unequal}.", where=str(self.source))
        for location, tensors in self.tensors.pools.items():
            config = self.config_of(PREFIX)
            numbers = layer_numbers(self.anatomy)
            sites = [
                site
                for site in prefix_sites(self.anatomy, location)
                if site.layer is None or numbers[site.stack, site.layer] not in config.get("leave_out", ())
            ]
            flat = self.flat(tensors, config, location)
            heads = [(site.heads or 1, site.width // (site.heads or 1)) for site in sites]
            length = config.get("prefix_length")
            wanted = [length, 2 * len(sites), *heads[0]] if sites and isinstance(length, int) else []
            if not wanted or torch.Size(wanted).numel() != flat.numel():
                text = f"prefixes of {location}: {flat.numel()} numbers are not those of {len(sites)} attentions"
                raise ArtifactError(f"{text}, of length {length!r}.", where=str(self.source))
            for number, site in enumerate(sites):
                value = flat.view(wanted)[:, 2 * number : 2 * number + 2]  # (L, 2, H, D / H)
                form = HubForm(PREFIX, config, {"control_trans": value})
                place = Place(site.local_name, site.layer, site.path, site.columns)
                found[place] = self.translated(form, location)
        return found

    def flat(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], location: str) -> Tensor:
        """The numbers of a pool, as they are or computed from what re-parametrises them."""
        names = ("wte.weight", *(f"control_trans.{n}.{kind}" for n in (0, 2) for kind in ("weight", "bias")))
        if set(tensors) == {"control_trans"}:
            return tensors["control_trans"]
        if set(tensors) != set(names) or activation_here(config.get("non_linearity")) != "tanh":
            where = str(self.source)
            raise ArtifactError(
                f"prefixes of {location}: {', '.join(sorted(tensors))} are not understood.", where=where
            )
        embedding, down, down_bias, up, up_bias = (tensors[name] for name in names)
        return torch.tanh(embedding @ down.T + down_bias) @ up.T + up_bias

    def config_of(self, architecture: str | None, flag: str | None = None) -> dict[str, Any]:
        """The configuration of this architecture, in a union the one whose flag is set."""
        for config in self.configs:
            if config.get("architecture") == architecture and (flag is None or config.get(flag)):
                return config
        raise ArtifactError(
            f"says nothing of the {architecture or 'adapters in the stream'} whose tensors are there.",
            where=str(self.source / CONFIG),
        )

    def translated(self, form: HubForm, path: str) -> Found:
        """The kind of an adapter here, and what it is there.

        Raises:
            ArtifactError: no kind knows it; an option is switched on that the kind does not understand.
        """
        config = form.config
        if config.get("phm_layer") and config.get("shared_phm_rule", True) and not form.shared:
            raise ArtifactError(
                f"the rule that all its adapters share, {SHARED}.NAME.phm_rule, was not saved.",
                where=str(self.source),
                hint="`adapters` leaves it out of bare models. Save it from one with a head, or add the tensor.",
            )
        for kind in ADAPTERS:
            read = ADAPTERS[kind].from_adapterhub(form)
            if read is None:
                continue
            idle = {key for switch, keys in ONLY_WITH.items() if not config.get(switch) for key in keys}
            refuse_options(config, RECORDS | set(read.understood) | idle, str(self.source / CONFIG))
            return Found(kind, read)
        told = {key: config.get(key) for key in ("architecture", "non_linearity", "scaling", "composition_mode")}
        said = ", ".join(f"{key} = {value!r}" for key, value in told.items() if value is not None)
        raise ArtifactError(
            f"no adapter of adaptkit has the tensors {', '.join(sorted(form.tensors))}, as {path} has, with {said}.",
            where=str(self.source),
        )


def _heads(source: Path) -> tuple[str, ...]:
    """The head that was saved beside the adapter, if any: it has no place without its task."""
    if not (source / HEAD).exists():
        return ()
    described = json_or_empty(source / HEAD)
    return (f"head {described.get('name') or '(unnamed)'}",)
