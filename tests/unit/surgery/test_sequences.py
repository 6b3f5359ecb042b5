"""Insertions, removals and merges in any order: what is there is what the insertions that are left imply."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.adapters.base import Shape
from adaptkit.anatomy.site import Site
from adaptkit.artifact import merge
from adaptkit.errors import ArtifactError, SiteError
from adaptkit.plan.grafting import PlanContext, plan_adapter
from adaptkit.recipe import AdapterSpec
from adaptkit.surgery import Graft, Receipt, insert, remove
from adaptkit.surgery.freezing import base_parameters
from tests.laws.families import FAMILIES, calm_outputs

X = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
WIDTHS = {"0": (8, 4), "2": (4, 8)}


def net() -> nn.Module:
    """Two layers; one bias does not move even without adapters."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
    model[0].bias.requires_grad_(False)
    return model


def graft(adapter: str, path: str, kind: str, **options: Any) -> Graft:
    width, reads = WIDTHS[path]
    site = Site("mlp.out", "", int(path), path, "after", width, in_width=reads)
    return Graft(adapter, kind, site, Shape(width, None, reads), options=options)


# Grafts and what is unfrozen. Parameters are unfrozen once, twice, or where another insertion merges.
INSERTIONS: dict[str, tuple[list[Graft], list[str]]] = {
    "a": ([graft("a", "0", "lora", rank=2)], ["2.bias", "0.bias"]),
    "b": ([graft("b", "2", "bottleneck", bottleneck=2)], ["2.bias", "2.weight"]),
    "c": ([graft("c", "0", "ia3"), graft("c", "2", "lora", rank=2)], []),
}
WAYS_OUT = {"remove": remove, "merge": merge}


def sequences() -> Iterator[tuple[str, ...]]:
    """Every order in which three insertions come and go: "ab" + "Ba.." with a capital for the one that leaves."""
    for order in itertools.permutations("abcABC"):
        if all(order.index(name) < order.index(name.upper()) for name in "abc"):
            yield order


class Expected:
    """The model's own values if every insertion that is left were removed, kept beside the model by hand."""

    def __init__(self, model: nn.Module) -> None:
        self.base = values(model)
        self.found: dict[str, dict[str, Tensor]] = {}  # insertion -> what it found of the parameters it unfroze

    def came(self, name: str, model: nn.Module) -> None:
        self.found[name] = {p: values(model)[p] for p in INSERTIONS[name][1]}

    def left(self, name: str, before: dict[str, Tensor], model: nn.Module, *, merged: bool) -> None:
        later = [*self.found][[*self.found].index(name) + 1 :]
        now = values(model)
        for p, found in self.found.pop(name).items():
            above = next((other for other in later if p in self.found[other]), None)
            if merged:
                self.base[p] = now[p] if above is None else self.found[above][p]
            elif above is not None:
                self.found[above][p] = found
        if merged:
            moving = {p for found in self.found.values() for p in found}
            self.base |= {p: v for p, v in now.items() if not torch.equal(v, before[p]) and p not in moving}

    def holds(self, model: nn.Module) -> None:
        moving = {p for found in self.found.values() for p in found}
        for p, value in values(model).items():
            assert p in moving or torch.equal(value, self.base[p]), p


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in base_parameters(model).items()}


def hooks(model: nn.Module) -> dict[str, list[str]]:
    """Path -> our hooks, in the order in which they run."""
    found = {
        name: [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
        for name, module in model.named_modules()
    }
    return {name: [hook.__name__ for hook in each] for name, each in found.items() if each}


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def trained(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in sorted(trainable(model)):
            parameter = model.get_parameter(name)
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("ways", [*itertools.product(WAYS_OUT, repeat=3)], ids="-".join)
def test_any_sequence_of_insertions_removals_and_merges(ways: tuple[str, ...]) -> None:
    way_out, merged = dict(zip("ABC", ways, strict=True)), 0
    for sequence in sequences():
        model = net()
        expected, receipts = Expected(model), {}
        for step, event in enumerate(sequence):
            name, before = event.lower(), values(model)
            if event in INSERTIONS:
                grafts, unfrozen = INSERTIONS[name]
                expected.came(name, model)
                receipts[name] = insert(model, grafts, unfrozen=unfrozen, seed=step)
                trained(model, step)
            else:
                merges = way_out[event] == "merge" and did_merge(model, receipts[name])
                merged += merges
                if not merges:
                    remove(model, receipts[name])
                expected.left(name, before, model, merged=merges)
                with pytest.raises(SiteError):
                    remove(model, receipts.pop(name))
            expected.holds(model)
            like_a_fresh_one(model, [*receipts])
        assert not [name for module in model.modules() for name in vars(module) if "adapt" in name]
    assert merged or "merge" not in (ways[0], ways[2]), "a bottleneck cannot be merged, the others can"


def did_merge(model: nn.Module, receipt: Receipt) -> bool:
    """Merged, and the outputs stay; or refused, and nothing has changed."""
    before, twin = model(X), copy.deepcopy(model)
    try:
        merge(model, receipt)
    except ArtifactError:
        assert trainable(model) == trainable(twin)
        assert hooks(model) == hooks(twin)
        assert all(torch.equal(value, twin.state_dict()[name]) for name, value in model.state_dict().items())
        return False
    torch.testing.assert_close(model(X), before, rtol=1e-4, atol=1e-5)
    return True


def like_a_fresh_one(model: nn.Module, left: list[str]) -> None:
    """Keys, hooks, what moves and, with equal values, the outputs: as if only these insertions had ever been made."""
    fresh = net()
    for name in left:
        insert(fresh, INSERTIONS[name][0], unfrozen=INSERTIONS[name][1])
    assert [*model.state_dict()] == [*fresh.state_dict()]
    assert hooks(model) == hooks(fresh)
    assert trainable(model) == trainable(fresh)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(model(X), fresh(X))


# Everything that puts a hook somewhere: prompts, readers of other places, prefixes. Several share a hook at one module.
TABLES: list[dict[str, Any]] = [
    {"kind": "prompt", "at": ["embed.in"], "length": 2},
    {"kind": "bottleneck", "at": ["mlp.out"], "bottleneck": 2, "read": "stream"},
    {"kind": "bottleneck", "at": ["mlp.stream", "attn.stream", "embed.out"], "bottleneck": 2},
    {"kind": "prefix", "at": ["attn.kv"], "length": 2},
    {"kind": "loreft", "at": ["final.out", "mlp.out"], "rank": 2, "first": 1, "last": 1},
    {"kind": "bottleneck", "at": ["mlp.stream", "embed.out"], "bottleneck": 2},
    {"kind": "loreft", "at": ["block.out"], "rank": 2, "first": 1, "last": 1},
]


@pytest.mark.parametrize("family", ["bert", "vit"])
@pytest.mark.parametrize("first", range(len(TABLES)))
def test_first_in_first_out_leaves_no_trace(family: str, first: int) -> None:
    """Our hooks have one order at every module, also where the adapter that brought one of them is gone."""
    known = FAMILIES[family]
    context = PlanContext(known.fresh(), known.anatomy())
    parts = {i: plan_adapter(f"a{i}", AdapterSpec.of(**table), context) for i, table in enumerate(TABLES)}
    model, order = known.fresh(), [*range(first, len(parts)), *range(first)]
    receipts = {index: insert(model, parts[index], seed=index) for index in order}
    trained(model, first)
    for index in order:
        remove(model, receipts.pop(index))
        alone = known.fresh()
        for other in receipts:
            insert(alone, parts[other])
        assert hooks(model) == hooks(alone)
        assert trainable(model) == trainable(alone)
        alone.load_state_dict(model.state_dict())
        with torch.no_grad(), sides.use_sides():
            found, expected = calm_outputs(model, known.inputs()), calm_outputs(alone, known.inputs())
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    plain = known.fresh().state_dict()
    assert all(torch.equal(value, plain[name]) for name, value in model.state_dict().items())
