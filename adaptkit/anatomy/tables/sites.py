"""The vocabulary of sites: every word that some model answers to. No torch; which of them one has, its plan says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from adaptkit.errors import nearest

# Words of a recipe -> what is there.
SITES = (
    ("block.in", "the stream before a whole block"),
    ("block.out", "the stream after a whole block"),
    ("embed.in", "the input sequence of a stack, for prompts"),
    ("embed.out", "the embedding sum that enters block 0"),
    ("final.out", "the last hidden states, after a final norm"),
    ("attn.stream", "the stream that enters the attention branch, before a pre-norm"),
    ("attn.in", "what the attention's first projection reads"),
    ("attn.out", "the attention's last projection, before the residual add"),
    ("attn.sum", "the stream after the residual add, before a post-norm"),
    ("attn.q, attn.k, attn.v, attn.o", "the attention's projections, for adapters in weight space"),
    ("attn.qkv", "one projection for all three, where they are no slices of its columns"),
    ("attn.kv", "the keys and values of an attention, for prefixes"),
    ("cross_attn.*", "the same places of a decoder's attention to its encoder"),
    ("mlp.stream", "the stream that enters the feed-forward branch, before a pre-norm"),
    ("mlp.in", "what the feed-forward's first projection reads, or a mixture of experts"),
    ("mlp.out", "the feed-forward's last projection, or a whole mixture, before the residual add"),
    ("mlp.sum", "the stream after the residual add, before a post-norm"),
    ("mlp.up, mlp.gate, mlp.down", "the feed-forward's projections, for adapters in weight space"),
    ("mlp.experts", "what fused experts return, tokens in the router's order"),
    ("mlp.experts.gate_up", "the first weight of fused experts, for LoRA"),
    ("mlp.experts.up, mlp.experts.down", "the same where there is no gate, and the second weight"),
    ("mlp.experts.*, mlp.shared.*", "projections of experts that are modules, and of a shared one: up, gate, down"),
    ("conv.in, conv.out", "what a block's first convolution reads and its last one returns"),
    ("conv.1, conv.2, ...", "a block's dense convolutions in order of execution, for adapters in weight space"),
    ("mixer.*", "the same places of what mixes tokens and is no attention: Mamba, FocalNet"),
    ("mixer.in_proj, mixer.out_proj", "a mixer's projections, for adapters in weight space"),
    ("attn2.*, mlp2.*, ...", "those of a block's second branch of a kind"),
    ("STACK.*", "any of these in one stack: encoder.attn.out, vision.mlp.out"),
    ("fusion", "after the backbone, before the head: sees every modality routed there"),
    ("path:GLOB", "any module path of the model"),
)

FUSION, PATH = "fusion", "path:"
_PLACES = ("stream", "in", "out", "sum")
_BRANCH = re.compile(r"^(attn|cross_attn|mlp|mixer|conv)\d+\.")  # a block's second branch of a kind


@cache
def known_sites() -> frozenset[str]:
    """Every name without the word of a stack; `conv.1` stands for all its kind."""
    spelled = {
        word for words, _ in SITES for word in words.split(", ") if "." in word and not word.endswith(("*", "."))
    }
    attention = {f"cross_{word}" for word in spelled if word.startswith("attn.")}
    mixers = {f"{branch}.{place}" for branch in ("mixer", "conv") for place in _PLACES}
    experts = {f"mlp.{part}.{leaf}" for part in ("experts", "shared") for leaf in ("up", "gate", "down")}
    return frozenset(spelled | attention | mixers | experts)


def is_site(word: str, towers: Iterable[str] = ()) -> bool:
    """Whether any model could have this site: known words, below a stack of any name, below that of a tower.

    Args:
        word: of the key `at`.
        towers: the modalities with a tower.
    """
    if word == FUSION or word.startswith(PATH):
        return True
    parts = word.split(".")
    return any(
        _plain(".".join(parts[ahead:])) in known_sites() and (ahead < 2 or parts[0] in towers) for ahead in range(3)
    )


def nearest_site(word: str, towers: Iterable[str] = ()) -> str:
    """What to write in place of a word that no model answers to."""
    below = {f"{tower}.{site}" for tower in towers for site in known_sites()}
    hint = nearest(word, {*known_sites(), *below, FUSION})
    return hint if hint.startswith("Did") else "`adaptkit list sites` shows every word."


def _plain(name: str) -> str:
    return re.sub(r"^conv\.\d+$", "conv.1", _BRANCH.sub(r"\1.", name))
