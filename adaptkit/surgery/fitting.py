"""Whether an adapter fits the site it is meant for: asked before anything is touched, by the plan and by surgery."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from adaptkit.adapters.base import ADAPTERS, Adapter
from adaptkit.errors import SiteError
from adaptkit.surgery.graft import FUSION, Graft
from adaptkit.surgery.hosts import check_weight_host

WORKS_ON = {
    "sequence": "the input sequence of a whole stack",
    "attention": "the keys and values of an attention",
    "stream": "a stream of vectors",
}
GOOD_SITES = {"sequence": '"embed.in"', "attention": '"attn.kv"', "stream": '"mlp.out", "block.out", "attn.q", ...'}


def check_hosts(model: nn.Module, grafts: Iterable[Graft]) -> None:
    """Raise SiteError where an adapter in weight space meets a layer whose weight it cannot change."""
    for graft in grafts:
        if ADAPTERS.named(graft.kind).reads_input and graft.site.name != FUSION:
            check_weight_host(model.get_submodule(graft.site.path), graft.site.path, graft.kind)


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
    if graft.share and type(adapter).adopt is not Adapter.adopt:
        raise SiteError(
            f"every layer has its own weight for {graft.kind} to start from, so they cannot share one adapter.",
            hint='Write share = "none".',
        )
    there = graft.site.when if graft.site.when in WORKS_ON else "stream"
    if there != adapter.works_on:
        raise SiteError(
            f"{graft.kind} does not work on {WORKS_ON[there]}.", hint=f"Write at = {GOOD_SITES[adapter.works_on]}."
        )
