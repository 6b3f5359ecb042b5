"""Every adapter, in the placements its paper and its users give it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.adapters.base import Shape
from adaptkit.anatomy import Anatomy
from adaptkit.errors import SiteError
from adaptkit.kinds import ADAPTERS
from adaptkit.plan.grafting import PlanContext, plan_adapter
from adaptkit.plan.parameters import unfrozen_parameters
from adaptkit.recipe.adapter import AdapterSpec
from adaptkit.sides import Side
from adaptkit.surgery import Graft
from tests.laws.families import Family

SIDES = {"poster": Shape(5, 1), "trailer": Shape(7, 3)}
SPANS = {"first": (0, 2), "rest": (2, None)}
TASKS = ("vqa", "gqa")
NAME = "law"
OTHER_TOWER = "@block.out"  # stands for the same block of whichever stack runs first
PROMPT = 3  # tokens that the prompt puts before a stream
UNBOUNDED = 1024  # tokens of a stack whose length a family does not tell


class NotHereError(Exception):
    """The placement does not exist in this model; the message says why."""


@dataclass(frozen=True)
class Case:
    """One adapter at one kind of place.

    Attributes:
        name: of the case.
        places: alternatives, the first that a model has is taken; of one alternative, whatever it has.
        table: the recipe's table without `at`.
        members: name -> table of adapters that this one combines.
        train: words of `backbone.train`.
        tasks: it tells tasks apart.
    """

    name: str
    places: tuple[tuple[str, ...], ...] = ()
    table: dict[str, Any] = field(default_factory=dict)
    members: dict[str, dict[str, Any]] = field(default_factory=dict)
    train: tuple[str, ...] = ()
    tasks: bool = False

    @property
    def kind(self) -> str:
        return self.table.get("kind", "")

    @property
    def mergeable(self) -> bool:
        return bool(self.kind) and ADAPTERS[self.kind].mergeable and not self.tasks

    @property
    def identity(self) -> bool:
        return not self.kind or ADAPTERS[self.kind].identity

    @property
    def sides(self) -> tuple[str, ...]:
        return tuple(self.table.get("sides", ()))

    def grafts(self, family: Family, anatomy: Anatomy | None = None, name: str = NAME) -> tuple[Graft, ...]:
        """The grafts for this family, as `adaptkit plan` makes them.

        Raises:
            NotHereError: none of its places exists there.
            SiteError: the adapter cannot work there.
        """
        if not self.kind:
            try:
                self.unfrozen(family.fresh())
            except SiteError as error:
                raise NotHereError(f"no {' or '.join(self.train)} parameter") from error
            return ()
        known = anatomy or family.anatomy()
        words = self.at(known)
        lengths = {stack.name: family.lengths.get(stack.name, UNBOUNDED) + 2 * PROMPT for stack in known.stacks}
        spans = {span: Shape(0, UNBOUNDED) for span in SPANS}
        context = PlanContext(family.fresh(), known, SIDES, spans, lengths, TASKS)
        table = {**self.table, "sides": [self.side(word, known) for word in self.sides], "at": words}
        found: list[Graft] = []
        for member, other in self.members.items():
            found += plan_adapter(f"{name}_{member}", AdapterSpec.of(**other, at=words), context)
        table["sides"] = [side.replace("adapter:", f"adapter:{name}_") for side in table["sides"]]
        return (*found, *plan_adapter(name, AdapterSpec.of(**table), context))

    def at(self, anatomy: Anatomy) -> list[str]:
        """The places of this case that a model has; those of its second stack where it reads the first.

        What mixes the tokens of its stream has none in a causal stack.
        """
        sites = [site for site in anatomy.sites if not self.reads_tower or site.stack == anatomy.stacks[-1].name]
        if self.mixes_tokens:
            sites = [site for site in sites if not site.causal]
        if self.reads_tower and len(anatomy.stacks) < 2:
            raise NotHereError("it has one stack of blocks, so there is no other tower")
        for words in self.places:
            found = [word for word in words if word.startswith("path:") or any(s.name == word for s in sites)]
            if found and self.reads_tower and anatomy.stacks[-1].name:
                return [f"{anatomy.stacks[-1].name}.{word}" for word in found]
            if found and self.mixes_tokens:
                return list(dict.fromkeys(site.local_name for site in sites if site.name in found))
            if found:
                return found
        raise NotHereError("no " + " or ".join(dict.fromkeys(word for words in self.places for word in words)))

    @property
    def mixes_tokens(self) -> bool:
        """It would let a token see later ones, and is refused where none may."""
        spans = any(side.startswith("span:") for side in self.sides)
        return spans or (bool(self.kind) and ADAPTERS.kinds[self.kind].facts["mixes_tokens"] == "freely")

    @property
    def reads_tower(self) -> bool:
        return OTHER_TOWER in self.sides

    def side(self, word: str, anatomy: Anatomy) -> str:
        return f"{anatomy.stacks[0].name}{OTHER_TOWER}" if word == OTHER_TOWER else word

    def unfrozen(self, model: nn.Module) -> tuple[str, ...]:
        return unfrozen_parameters(model, list(self.train), where="") if self.train else ()


ATTENTION = (("attn.q", "attn.v"), ("mixer.in_proj", "mixer.out_proj"), ("mlp.up", "mlp.down"), ("conv.1", "conv.2"))
MLP = (("mlp.out",), ("block.out",))
EXPERTS = (("mlp.experts.gate_up", "mlp.experts.up", "mlp.experts.down"),)
HOUSLBY = (("attn.out", "cross_attn.out", "mlp.out"), ("block.out",))
SMALL: dict[str, Any] = {"kind": "bottleneck", "bottleneck": 4}


def cases() -> Iterator[Case]:
    yield Case("houlsby", HOUSLBY, {"kind": "bottleneck", "reduction_factor": 4})
    yield Case("pfeiffer", (("mlp.sum",),), {"kind": "bottleneck", "bottleneck": 6, "activation": "leaky_relu"})
    yield Case(
        "parallel_stream",
        (("mlp.out",),),
        {**SMALL, "read": "stream", "scale": "learned", "norm_before": True, "norm_after": True},
    )
    yield Case("shared_layers", MLP, {**SMALL, "share": "layers"})
    yield Case("per_task", MLP, {**SMALL, "per_task": "half_shared_up"}, tasks=True)
    yield Case("low_rank", MLP, {"kind": "low_rank", "reduction_factor": 4})
    yield Case("compacter", MLP, {"kind": "compacter", "phm_dim": 2, "reduction_factor": 4})
    yield Case("hyperformer", HOUSLBY, {"kind": "hyperformer", "reduction_factor": 4}, tasks=True)
    yield Case("gmu_tied", MLP, {"kind": "gmu", "bottleneck": 6, "sides": ["poster"]})
    yield Case("gmu_gates", MLP, {"kind": "gmu", "bottleneck": 6, "sides": ["poster", "trailer"]})
    wander = {"kind": "wander", "rank": 4, "drank": 2, "trank": 3}
    yield Case("wander_cp", MLP, {**wander, "combine": "cp", "sides": ["poster", "trailer"]})
    yield Case("wander_published", (("block.out",),), {**wander, "combine": "published", "sides": ["trailer"]})
    yield Case("wander_spans", (("block.out",),), {**wander, "positions": "own", "sides": ["span:first", "span:rest"]})
    yield Case("wander", MLP, {**wander, "sides": ["poster", "trailer"]})
    yield Case("other_tower", (("block.out",),), {"kind": "gmu", "bottleneck": 4, "sides": [OTHER_TOWER]})
    yield Case("cross_attention", MLP, {"kind": "cross_attention", "heads": 2, "bottleneck": 8, "sides": ["trailer"]})
    yield Case("mag", MLP, {"kind": "mag", "sides": ["poster"]})
    members = {"plot": SMALL, "cover": {"kind": "gmu", "bottleneck": 4, "sides": ["poster"]}}
    both = ["adapter:plot", "adapter:cover"]
    yield Case("fusion_attention", MLP, {"kind": "adapter_fusion", "sides": both}, members)
    yield Case("fusion_gmu", MLP, {"kind": "adapter_fusion", "form": "gmu", "bottleneck": 6, "sides": both}, members)
    yield Case("sum_of_adapters", MLP, {"kind": "parallel", "sides": both}, members)
    yield Case("lora", ATTENTION, {"kind": "lora", "rank": 2, "alpha": 4.0})
    yield Case("lora_experts", EXPERTS, {"kind": "lora", "rank": 2, "alpha": 4.0})
    yield Case("rslora", ATTENTION, {"kind": "lora", "rank": 4, "scaling": "rank_stabilized"})
    yield Case("dora", ATTENTION, {"kind": "dora", "rank": 2})
    yield Case("ia3", (("attn.k", "attn.v"), *ATTENTION[1:]), {"kind": "ia3"})
    yield Case("ia3_input", (("mlp.down",), ("conv.2",)), {"kind": "ia3", "on": "input"})
    yield Case("vera", ATTENTION, {"kind": "vera", "rank": 4})
    yield Case("loha", ATTENTION, {"kind": "loha", "rank": 2})
    yield Case("lokr", ATTENTION, {"kind": "lokr", "rank": 2})
    yield Case("prompt", (("embed.in",),), {"kind": "prompt", "length": PROMPT})
    yield Case("prefix", (("attn.kv", "cross_attn.kv"),), {"kind": "prefix", "length": 3})
    yield Case("loreft", (("block.out",),), {"kind": "loreft", "rank": 2})
    yield Case("ladder", (("final.out",),), {"kind": "ladder", "reduction_factor": 4})
    yield Case("bitfit", train=("bias",))
    yield Case("norm_tuning", train=("norm",))


def by_default(covered: Iterable[str]) -> Iterator[Case]:
    """One case for every kind that no other case is about, so that a new adapter is tested by being there."""
    places = {"stream": MLP, "sequence": (("embed.in",),), "attention": (("attn.kv", "cross_attn.kv"),)}
    for kind, signature in ADAPTERS.kinds.items():
        if kind in covered:
            continue
        at = ATTENTION if signature.facts["reads_input"] else places[signature.facts["works_on"]]
        at = (("final.out",),) if signature.facts["reads_blocks"] else at
        sides = [*SIDES][: signature.facts["needs_sides"][0]]
        members = dict.fromkeys(sides, SMALL) if signature.facts["fuses"] else {}
        table = {"kind": kind, "sides": [f"adapter:{name}" for name in members] or sides}
        yield Case(kind, at, table, members)


CASES = {case.name: case for case in cases()}
CASES |= {case.name: case for case in by_default({case.kind for case in CASES.values()})}


def side_inputs(batch: int = 3) -> dict[str, Side]:
    """Sides with a hole: the second sample's trailer has one token, the third sample has no poster."""
    generator = torch.Generator().manual_seed(2)
    poster = torch.randn(batch, 1, 5, generator=generator)
    trailer = torch.randn(batch, 3, 7, generator=generator)
    has_poster = torch.tensor([[True], [True], [False]])[:batch]
    has_frame = torch.ones(batch, 3, dtype=torch.bool)
    has_frame[1:2, 1:] = False
    return {
        "poster": Side(poster * has_poster[..., None], has_poster, has_poster[:, 0]),
        "trailer": Side(trailer, has_frame, has_frame.any(1)),
    }


def total(outputs: tuple[Tensor, ...]) -> Tensor:
    """A loss that every output has a part in, and that no symmetry of a norm makes constant."""
    return sum(((value * torch.linspace(-1, 1, value.shape[-1])) ** 2).mean() for value in outputs)
