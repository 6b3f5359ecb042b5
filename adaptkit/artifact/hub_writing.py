"""The adapters of a model as AdapterHub's `adapters` has them: one configuration, and tensors by its names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from adaptkit.adapters.adapterhub import HubForm
from adaptkit.anatomy import Anatomy
from adaptkit.artifact.hub_places import (
    BRANCH_FLAGS,
    IN_STREAM,
    IN_WEIGHTS,
    MLP_FLAGS,
    MLP_OF,
    PREFIX,
    PREFIXES,
    SHARED,
    UNEQUAL,
    Spot,
    bottleneck_place,
    former_path,
    layer_numbers,
    path_at,
    prefix_locations,
)
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel
from adaptkit.surgery import adapters_of
from adaptkit.surgery.graft import Graft

OTHERWISE = "adaptkit export --adapter-only or --format full takes all of it."

# Every configuration names all keys, since an absent one has another default in another version.
OF_STREAM: dict[str, Any] = {
    "mh_adapter": False,
    "output_adapter": False,
    "cross_adapter": False,
    "leave_out": [],
    "original_ln_before": False,
    "original_ln_after": True,
    "residual_before_ln": True,
    "is_parallel": False,
    "adapter_residual_before_ln": False,
    "init_weights": "bert",
    "init_weights_seed": None,
    "use_gating": False,
    "inv_adapter": None,
    "inv_adapter_reduction_factor": None,
    "dropout": 0.0,
    "stochastic_depth": 0.0,
    "phm_layer": False,
    "phm_dim": 4,
    "phm_rank": 1,
    "phm_bias": True,
    "phm_c_init": "normal",
    "phm_init_range": 0.0001,
    "factorized_phm_W": True,
    "factorized_phm_rule": False,
    "shared_W_phm": False,
    "shared_phm_rule": True,
    "learn_phm": True,
    "hypercomplex_nonlinearity": "glorot-uniform",
}
OF_WEIGHTS: dict[str, Any] = {
    "architecture": "lora",
    "selfattn_lora": False,
    "intermediate_lora": False,
    "output_lora": False,
    "attn_matrices": [],
    "leave_out": [],
    "init_weights_seed": None,
    "dtype": None,
    "vera_b": None,
    "vera_d": None,
}
OF_PREFIXES: dict[str, Any] = {
    "architecture": PREFIX,
    "encoder_prefix": True,
    "cross_prefix": True,
    "leave_out": [],
    "bottleneck_size": 512,
    "non_linearity": "tanh",
    "shared_gating": True,
    "init_weights_seed": None,
}


@dataclass(frozen=True, slots=True)
class Placed:
    """A graft with its form there."""

    graft: Graft
    form: HubForm


@dataclass(frozen=True, slots=True)
class Writing:
    """What makes a folder of a model's adapters."""

    name: str
    anatomy: Anatomy
    model: AdaptedModel
    where: str
    placed: list[Placed] = field(init=False)

    def __post_init__(self) -> None:
        found, refused = [], set()
        for graft in self.model.plan.inside:
            adapter = adapters_of(self.model.backbone.get_submodule(graft.site.path))[graft.child]
            form = adapter.adapterhub()
            if form is None:
                refused.add(f"{graft.adapter} ({type(adapter).__name__})")
            else:
                found.append(Placed(graft, form))
        if refused or not found:
            what = f"AdapterHub has no form of {', '.join(sorted(refused))}" if refused else "there is no adapter"
            raise ArtifactError(f"{what}.", where=self.where, hint=OTHERWISE)
        object.__setattr__(self, "placed", found)

    def _of(self, architecture: str | None) -> list[Placed]:
        return [each for each in self.placed if each.form.architecture == architecture]

    def config(self) -> dict[str, Any]:
        """One configuration, or the union of several."""
        parts = [*self.stream(), *self.weights(), *self.prefixes()]
        return parts[0] if len(parts) == 1 else {"architecture": "union", "configs": parts}

    def stream(self) -> list[dict[str, Any]]:
        """Of the adapters in the stream, for every set of branches that agree."""
        of_branch: dict[str, list[Placed]] = defaultdict(list)
        for each in self._of(None):
            of_branch[spot_at(each.graft).branch].append(each)
        parts: list[tuple[dict[str, Any], list[str]]] = []
        for branch, found in of_branch.items():
            config = self._agreed(
                OF_STREAM | self._placement(each) | dict(each.form.config) | self._factor(each) for each in found
            )
            config["leave_out"] = self._others(
                branch, {(each.graft.site.stack, each.graft.site.layer) for each in found}
            )
            same = next((names for known, names in parts if known == config), None)
            if same is None:
                parts.append((config, [branch]))
            else:
                same.append(branch)
        return [config | dict.fromkeys((BRANCH_FLAGS[name] for name in names), True) for config, names in parts]

    def _placement(self, placed: Placed) -> dict[str, Any]:
        """The options that put an adapter of the stream where this one is, as reading them back does."""
        graft = placed.graft
        word = graft.site.name.rpartition(".")[2]
        elsewhere = [site.name.rpartition(".")[2] for site in graft.reads]
        options = {"original_ln_before": word == "sum", "is_parallel": elsewhere == ["stream"]}
        known = bottleneck_place(OF_STREAM | options, self.anatomy, spot_at(graft))
        read = "stream" if elsewhere else "site"
        elsewhere_too = spot_at(graft).branch not in BRANCH_FLAGS or graft.share or graft.sides
        if isinstance(known, str) or known != (graft.site, read) or elsewhere_too:
            reason = known if isinstance(known, str) else f"{graft.site.full_name} is no place of its adapters"
            raise ArtifactError(f"{graft.adapter}: {reason}.", where=self.where, hint=OTHERWISE)
        return options

    def _factor(self, placed: Placed) -> dict[str, Any]:
        """The share of the stream's width that gives a bottleneck of this width, as `adapters` rounds it."""
        whole, width = placed.graft.host.width, placed.form.width
        assert width is not None
        exact = whole / width
        return {"reduction_factor": exact if int(whole // exact) == width else whole / (width + 0.5)}

    def weights(self) -> list[dict[str, Any]]:
        """Of the adapters of projections."""
        found = self._of("lora")
        if not found:
            return []
        config = OF_WEIGHTS | self._agreed(dict(each.form.config) for each in found)
        flags = MLP_OF.get(self.anatomy.family, MLP_FLAGS)
        names = {each.graft.site.name for each in found}
        attention = sorted({name.rpartition(".")[2] for name in names if name.startswith(("attn.", "cross_attn."))})
        config |= {"attn_matrices": attention, "selfattn_lora": bool(attention)}
        on = {flag for name, flag in flags.items() if name in names}
        config |= dict.fromkeys(on, True)
        at = layers_of(found)
        config["leave_out"] = self._others(None, at)
        wanted = {
            (site.path, site.columns)
            for site in self.anatomy.sites
            if (site.stack, site.layer) in at and site.is_projection
            if flags.get(site.name) in on or ("attn." in site.name and site.name.rpartition(".")[2] in attention)
        }
        differing = wanted ^ {(each.graft.site.path, each.graft.site.columns) for each in found}
        if differing:
            text = f"its LoRA is at the same matrices of all attentions and layers; here {min(differing)[0]} differs"
            raise ArtifactError(f"{text}.", where=self.where, hint=OTHERWISE)
        return [config]

    def prefixes(self) -> list[dict[str, Any]]:
        """Of the keys and values."""
        found = self._of(PREFIX)
        if not found:
            return []
        if (self.anatomy.family, PREFIX) in UNEQUAL:
            raise ArtifactError(f"{UNEQUAL[self.anatomy.family, PREFIX]}.", where=self.where, hint=OTHERWISE)
        config = OF_PREFIXES | self._agreed(dict(each.form.config) for each in found)
        at = layers_of(found)
        config["leave_out"] = self._others(None, at)
        if len(self.anatomy.stacks) > 1:
            used = {location for location, _ in self._pools()}
            config |= {word: word in used for word in ("encoder_prefix", "cross_prefix")}
        return [config]

    def _pools(self) -> list[tuple[str, list[Placed]]]:
        """Every location that has prefixes, with those of its layers."""
        by_path = {each.graft.site: each for each in self._of(PREFIX)}
        found, covered = [], 0
        for location, sites in prefix_locations(self.anatomy):
            here = [by_path[site] for site in sites if site in by_path]
            covered += len(here)
            if here:
                found.append((location, here))
        at = layers_of(by_path.values())
        for location, here in found:
            sites = dict(prefix_locations(self.anatomy))[location]
            if len(here) != sum((site.stack, site.layer) in at for site in sites) or covered != len(by_path):
                text = "its prefixes are at all attentions of a layer, and here only some have one"
                raise ArtifactError(f"{text}.", where=self.where, hint=OTHERWISE)
        return found

    def _others(self, branch: str | None, at: set[tuple[str, int | None]]) -> list[int]:
        """The numbers of the layers that are left out."""
        numbers = layer_numbers(self.anatomy)
        having = {
            (site.stack, site.layer) for site in self.anatomy.sites if branch in (None, site.name.partition(".")[0])
        }
        return sorted(number for layer, number in numbers.items() if layer in having - at)

    def _agreed(self, configs: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """The one configuration that all have."""
        first, *others = list(configs)
        for other in others:
            for key in first:
                if other.get(key) != first[key]:
                    told = f"{first[key]!r} and {other.get(key)!r}"
                    text = f"AdapterHub has one {key} for all layers of a branch, and here it is {told}"
                    raise ArtifactError(f"{text}.", where=self.where, hint=OTHERWISE)
        return first

    def tensors(self) -> dict[str, Tensor]:
        """Name -> value."""
        found: dict[str, Tensor] = {}
        parts: dict[str, dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
        for each in self._of(None):
            path = path_at(spot_at(each.graft), self.anatomy)
            found |= {f"{path}.{IN_STREAM}.{self.name}.{name}": value for name, value in each.form.tensors.items()}
            found |= {f"{SHARED}.{self.name}.{name}": value for name, value in each.form.shared.items()}
        for each in sorted(self._of("lora"), key=lambda placed: placed.graft.site.columns or (0, 0)):
            path = former_path(self.anatomy.family, each.graft.site.path)
            for name, value in each.form.tensors.items():
                parts[path][name].append(value)
        for path, own in parts.items():
            found |= {f"{path}.{IN_WEIGHTS}.{self.name}.{name}": torch.cat(values) for name, values in own.items()}
        pools = self._pools()
        attentions = [former_path(self.anatomy.family, site.path) for site in self.anatomy.sites if site.heads]
        places = ("prefix_tuning", *(f"{path}.prefix_tuning.pool" for path in attentions))  # each has it again
        for location, here in pools:
            value = torch.cat([each.form.tensors["control_trans"] for each in here], dim=1)  # (L, 2 layers, H, D / H)
            names = (f"{place}.{PREFIXES}.{self.name}.{location}.control_trans" for place in places)
            found |= dict.fromkeys(names, value.flatten())
        return found


def spot_at(graft: Graft) -> Spot:
    """The branch that a graft is in."""
    return Spot(graft.site.stack, graft.site.layer or 0, graft.site.name.partition(".")[0])


def layers_of(found: Iterable[Placed]) -> set[tuple[str, int | None]]:
    """The blocks that have one of these: (stack, layer)."""
    return {(each.graft.site.stack, each.graft.site.layer) for each in found}
