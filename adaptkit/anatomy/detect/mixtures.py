"""Branches that are neither a plain attention nor a plain MLP: mixtures of experts, and state-space mixers.

The MLP of a mixture is the module around its experts: `mlp.in` is what that module reads, `mlp.out` what it returns,
all experts and the shared one included. `mlp.experts` is what fused experts return, tokens (N, D) in the router's
order, and `mlp.experts.gate_up`, `mlp.experts.down` their weights, one matrix for each expert in one parameter; experts
that are modules of their own have their projections as `mlp.experts.up`, `mlp.experts.down`. A shared expert has
`mlp.shared.up`, ... A mixer is one projection in, something recurrent, one projection out.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from torch import nn

from adaptkit.anatomy.detect.block import Block, Projection
from adaptkit.anatomy.detect.branch import Branch, Roles, numbered
from adaptkit.anatomy.detect.branches import mlp_roles
from adaptkit.anatomy.site import Site
from adaptkit.anatomy.tables.families import words
from adaptkit.anatomy.trace.recorder import Call

# The weights of fused experts by the names of their parameters, and what they are called.
EXPERT_WEIGHTS = {"gate_up_proj": "gate_up", "up_proj": "up", "down_proj": "down"}


def refined(block: Block, branches: tuple[Branch, ...]) -> tuple[Branch, ...]:
    """The branches of a block with mixtures and mixers for what they are, in order of execution."""
    found = [_as_mixer(block, replace(branch, name=re.sub(r"\d+$", "", branch.name))) for branch in branches]
    for path in _expert_lists(block):
        host = _host(block, path)
        if host is None:
            continue
        inside = [branch for branch in found if _is_in(branch.last, host)]
        found = [branch for branch in found if branch not in inside]
        if re.search("attn|attention", host.path[len(block.path) :]):
            found.append(_attention_of_experts(block, host))
        else:
            found.append(_mixture(block, path, host, inside))
    return numbered(sorted(found, key=lambda branch: branch.start))


def _as_mixer(block: Block, branch: Branch) -> Branch:
    first = branch.firsts[0]
    parts = first.parent[len(block.path) + 1 :].split(".")
    if not first.word.startswith("in_proj") or parts[-1] not in words("state_space"):
        return branch
    roles: Roles = {"in_proj": (first, None), "out_proj": (branch.last, None)}
    return Branch("mixer", (first,), branch.last, roles)


def _expert_lists(block: Block) -> list[str]:
    """Paths of the modules that hold all experts of a mixture, outermost only."""
    lists = {}
    for call in block.inner:
        parts = call.path[len(block.path) + 1 :].split(".")
        cut = next((i for i, part in enumerate(parts) if part in words("experts")), None)
        if cut is not None:
            lists[".".join([block.path, *parts[: cut + 1]])] = True
    return list(lists)


def _host(block: Block, experts: str) -> Call | None:
    """The call of the mixture: of the module around the experts, or of the experts where that is the block."""
    around = experts.rpartition(".")[0]
    path = experts if around == block.path else around
    return next((call for call in block.inner if call.path == path), None)


def _is_in(projection: Projection, host: Call) -> bool:
    return projection.path.startswith(f"{host.path}.")


def _mixture(block: Block, experts: str, host: Call, inside: list[Branch]) -> Branch:
    whole = Projection(host.path, block.in_width, block.width, host)
    below = [p for p in block.projections if _is_in(p, host)]
    own = [p for p in below if p.path.startswith(f"{experts}.")]
    shared = [p for p in below if p not in own]
    return Branch(
        "mlp",
        (whole,),
        whole,
        _fused(block, experts, host) | _single(block, experts, own) | _shared(block, inside, shared),
    )


def _fused(block: Block, experts: str, host: Call) -> Roles:
    """What all experts return, where they are one module that holds their weights."""
    call = next((call for call in block.inner if call.path == experts), None)
    if call is None or call.path == host.path or call.path not in block.weighted:
        return {}
    return {"experts": (Projection(call.path, 0, block.width, call), None)}


def _single(block: Block, experts: str, own: list[Projection]) -> Roles:
    """The projections of experts that are modules of their own: `experts.up#0`, `experts.up#1`, ..."""
    roles: Roles = {}
    for number, group in enumerate(_groups(own, len(experts))):
        roles |= {f"experts.{role}#{number}": found for role, found in _up_and_down(block, group).items()}
    return roles


def _shared(block: Block, inside: list[Branch], others: list[Projection]) -> Roles:
    """The projections of an expert that every token passes."""
    roles: Roles = {}
    for branch in inside:
        if branch.name == "mlp":
            mates = [p for p in others if p.parent == branch.firsts[0].parent]
            roles |= {f"shared.{role}": found for role, found in _up_and_down(block, mates).items()}
    return roles


def _attention_of_experts(block: Block, host: Call) -> Branch:
    """Experts project queries and outputs, keys and values are for all (JetMoE): `attn.k` and `attn.v` have words."""
    whole = Projection(host.path, block.in_width, block.width, host)
    roles: Roles = {}
    for p in block.projections:
        half = p.out_width // 2
        if _is_in(p, host) and p.word in words("fused_kv") and p.splits_into([(0, half), (half, p.out_width)]):
            roles |= {"k": (p, (0, half)), "v": (p, (half, p.out_width))}
    return Branch("attn", (whole,), whole, roles)


def _groups(projections: list[Projection], prefix: int) -> list[list[Projection]]:
    """The projections of every expert that is a module of its own: `experts.0`, `experts.1`, ..."""
    groups: dict[str, list[Projection]] = {}
    for projection in projections:
        groups.setdefault(projection.path[prefix + 1 :].partition(".")[0], []).append(projection)
    return list(groups.values())


def _up_and_down(block: Block, group: list[Projection]) -> Roles:
    """Roles of up (perhaps gate) and down; empty for anything else."""
    down = next((p for p in reversed(group) if p.out_width == block.width), None)
    others = tuple(p for p in group if p is not down)
    return mlp_roles(block, others, down) if down is not None and 1 <= len(others) <= 2 else {}


def expert_sites(model: nn.Module, branches: tuple[Branch, ...], stack: str, layer: int) -> list[Site]:
    """The weights of the fused experts of one layer: (E, D, C), or (E, C, D) where the module says `is_transposed`."""
    sites: list[Site] = []
    for branch in (branch for branch in branches if "experts" in branch.roles):
        path = branch.roles["experts"][0].path
        experts: Any = model.get_submodule(path)
        if not calls_experts_interface(experts):
            continue
        for name, word in EXPERT_WEIGHTS.items():
            weight = experts._parameters.get(name)
            if weight is None or weight.dim() != 3:
                continue
            _, outputs, inputs = weight.mT.shape if experts.is_transposed else weight.shape
            named = f"{branch.name}.experts.{word}"
            sites.append(Site(named, stack, layer, path, "experts", outputs, in_width=inputs, parameter=name))
    return sites


def calls_experts_interface(module: nn.Module) -> bool:
    """It is a module of transformers that holds all experts and looks up by name how to run them."""
    code = getattr(type(module).forward, "__code__", None)
    named = code is not None and "experts_interface" in code.co_freevars
    return named and hasattr(getattr(module, "config", None), "_experts_implementation")
