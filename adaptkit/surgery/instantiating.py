"""Adapters before they go into a model: built, checked, tied, and given what they take from their host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from adaptkit.adapters.base import ADAPTERS, Adapter
from adaptkit.adapters.per_task import PerTask
from adaptkit.errors import SiteError
from adaptkit.surgery import positions
from adaptkit.surgery.graft import FUSION, SPAN, Graft
from adaptkit.surgery.hosts import check_weight_host, oriented
from adaptkit.surgery.lengthening import check_prompt

WORKS_ON = {
    "sequence": "the input sequence of a whole stack",
    "attention": "the keys and values of an attention",
    "stream": "a stream of vectors",
}
GOOD_SITES = {"sequence": '"embed.in"', "attention": '"attn.kv"', "stream": '"mlp.out", "block.out", "attn.q", ...'}


def build_all(grafts: Iterable[Graft]) -> list[Adapter]:
    """One adapter per graft, on the current default device; grafts that share one get the same object.

    Raises:
        SiteError: widths or lengths that cannot work, naming the adapter and the site.
    """
    built: dict[tuple[str, ...], tuple[Graft, Adapter]] = {}
    adapters: list[Adapter] = []
    for graft in grafts:
        known = built.get(graft.instance)
        if known is None:
            known = built[graft.instance] = graft, built_at(graft)
        elif (known[0].host, known[0].sides) != (graft.host, graft.sides):
            raise SiteError(
                f"adapter.{graft.adapter} at {graft.site.full_name}: its layers differ in shape "
                f"({known[0].host.width} and {graft.host.width}), so they cannot share one adapter.",
                hint='Write share = "none", or choose layers of one width.',
            )
        adapters.append(known[1])
    families: dict[str, list[Adapter]] = defaultdict(list)
    for graft, adapter in built.values():
        families[graft.adapter] += each(adapter)
    for family in families.values():
        type(family[0]).tie(family)
    for graft, adapter in built.values():
        if not graft.train:
            adapter.requires_grad_(False)
    return adapters


def built_at(graft: Graft) -> Adapter:
    try:
        check_causal(graft)
        check_experts(graft)
        adapter = graft.build()
        check_fits(graft, adapter)
        return adapter
    except SiteError as error:
        first = error.problems[0]
        message = f"adapter.{graft.adapter} at {graft.site.full_name}: {first.message}"
        raise SiteError(message, hint=first.hint) from error


def each(adapter: Adapter) -> list[Adapter]:
    """The adapter, or its copies where every task has one."""
    return list(adapter.named_copies().values()) if isinstance(adapter, PerTask) else [adapter]


def instantiate(model: nn.Module, grafts: Sequence[Graft], seed: int) -> list[Adapter]:
    """Every adapter of an insertion, each beside its host's weights. The model is not touched.

    Drawn on the CPU, so that a seed means the same values on every device.
    """
    fallback = next(model.parameters(), torch.empty(0)).device
    rng: Any = torch.random  # it has no types
    with rng.fork_rng(devices=[]), torch.device("meta" if fallback.type == "meta" else "cpu"):
        rng.manual_seed(seed)
        adapters = build_all(grafts)
    settled: set[int] = set()
    for graft, adapter in zip(grafts, adapters, strict=True):
        if id(adapter) in settled:
            continue
        settled.add(id(adapter))
        host = model.get_submodule(graft.site.path)
        adapter.to(next(host.parameters(), torch.empty(0, device=fallback)).device)
        for copy in each(adapter):
            if copy.adopts and type(copy).adopt is not Adapter.adopt:
                give_weight(copy, host, graft)
    return adapters


def give_weight(adapter: Adapter, host: nn.Module, graft: Graft) -> None:
    """Show the adapter its host's weight; that of a whole stack is its word embedding."""
    layer: Any = host
    if graft.site.when == "sequence":
        lookup: Any = getattr(host, "get_input_embeddings", None)
        layer = lookup() if lookup is not None else None
    if not isinstance(getattr(layer, "weight", None), torch.Tensor):
        raise SiteError(
            f"adapter.{graft.adapter}: {graft.site.path} has no weight that {graft.kind} could start from.",
            hint="Choose a projection such as attn.q or mlp.up, or other initial values.",
        )
    with torch.no_grad():
        adapter.adopt(*oriented(layer, graft.site.columns))


def check_hosts(model: nn.Module, grafts: Iterable[Graft]) -> None:
    """Raise SiteError where an adapter meets a host that it cannot change as its options say."""
    for graft in grafts:
        if ADAPTERS.named(graft.kind).reads_input and graft.site.name != FUSION:
            host = model.get_submodule(graft.site.path)
            check_weight_host(host, graft.site.path, graft.kind, graft.site.parameter)
        if graft.site.when == "sequence":
            check_prompt(model.get_submodule(graft.site.path), graft.options)
        if graft.site.when == "attention" and graft.options.get("positions") == "after":
            positions.check(model, graft.site, graft.adapter)


def check_causal(graft: Graft) -> None:
    """Raise SiteError where an adapter would let a token of a causal stream see what comes later."""
    if not graft.site.causal:
        return
    stack = f"the {graft.site.stack}" if graft.site.stack else "this model"
    if ADAPTERS.named(graft.kind).mixes_tokens == "freely":
        raise SiteError(
            f"{graft.kind} mixes the tokens of its stream, and in {stack} no token may see a later one.",
            hint='Choose another kind. If it is yours and keeps tokens apart, its class says mixes_tokens = "never".',
        )
    for side in graft.sides:
        if side.startswith(SPAN):
            raise SiteError(
                f"its side {side!r} is a part of the stream, and in {stack} no token may see a later one.",
                hint=f'Give {side.removeprefix(SPAN)!r} the route "side", and name it without "{SPAN}".',
            )


def check_fits(graft: Graft, adapter: Adapter) -> None:
    """Raise SiteError where an adapter cannot do at this site what the graft asks for."""
    if graft.reads and adapter.reads_input:
        raise SiteError("it reads its projection's input already.", hint='Write read = "site".')
    equal = adapter.reads_blocks or adapter.reads_any_width
    if not equal and any(place.width != graft.site.width for place in graft.reads):
        raise SiteError(
            f"it reads a stream of width {graft.reads[0].width} and writes one of width {graft.site.width}.",
            hint="An adapter of this kind that reads elsewhere needs equal widths.",
        )
    if not adapter.keeps_length and graft.site.name != FUSION:
        raise SiteError(
            "a new number of tokens can only be made after the backbone.",
            hint='Write out_tokens = "host", or at = "fusion".',
        )
    if adapter.changes_input and graft.site.columns is not None:
        raise SiteError("its projection is fused with others that read the same input.", hint='Write on = "output".')
    if graft.share and type(each(adapter)[0]).adopt is not Adapter.adopt:
        raise SiteError(
            f"every layer has its own weight for {graft.kind} to start from, so they cannot share one adapter.",
            hint='Write share = "none".',
        )
    there = graft.site.when if graft.site.when in WORKS_ON else "stream"
    if there != adapter.works_on:
        raise SiteError(
            f"{graft.kind} does not work on {WORKS_ON[there]}.", hint=f"Write at = {GOOD_SITES[adapter.works_on]}."
        )


def check_experts(graft: Graft) -> None:
    """Raise SiteError where an adapter has no form for the weights of fused experts."""
    if graft.site.when == "experts" and not ADAPTERS.named(graft.kind).changes_experts:
        can = ", ".join(f'"{name}"' for name, kind in ADAPTERS.kinds.items() if kind.facts.get("changes_experts"))
        raise SiteError(
            f"{graft.kind} does not work on the weights of fused experts.",
            hint=f'Write kind = {can}, or at = "mlp.out", what all experts return together.',
        )
