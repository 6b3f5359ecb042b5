"""Where AdapterHub's `adapters` puts an adapter, and what it calls the place: in names of transformers 4, by family."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from adaptkit.anatomy import Anatomy, Site

# Branch -> the module, within its block, that has an adapter of the stream.
PLAIN = {"attn": "attention_adapters", "cross_attn": "cross_attention_adapters", "mlp": "output_adapters"}
BERT = {"attn": "attention.output", "cross_attn": "crossattention.output", "mlp": "output"}
VIT = {"attn": "attention_adapters", "mlp": "output.output_adapters"}
IN_ORDER = "layer.{}"  # T5: one module for each branch, in their order
STYLES: dict[str, Mapping[str, str] | str] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra", "deberta-v2", "bert-generation"), BERT),
    **dict.fromkeys(("t5", "mt5"), IN_ORDER),
    **dict.fromkeys(("bart", "mbart", "plbart", "whisper", "distilbert", "gpt2", "gptj", "llama", "mistral"), PLAIN),
    **dict.fromkeys(("beit", "clip_vision_model", "clip_text_model"), PLAIN),
    "vit": VIT,
}
BRANCHES = {path: branch for style in (PLAIN, BERT, VIT) for branch, path in style.items()}
BRANCH_FLAGS = {"attn": "mh_adapter", "cross_attn": "cross_adapter", "mlp": "output_adapter"}

PREFIX = "prefix_tuning"  # its word for prefixes
IN_STREAM, IN_WEIGHTS, PREFIXES, SHARED = "adapters", "loras", "prefix_tunings", "shared_parameters"  # in names

# What of a block its LoRA takes by which option. In Llama and Mistral `adapters` has the two of the MLP exchanged.
MLP_FLAGS = {"mlp.up": "intermediate_lora", "mlp.down": "output_lora"}
EXCHANGED = {"mlp.down": "intermediate_lora", "mlp.up": "output_lora"}
MLP_OF = {"llama": EXCHANGED, "mistral": EXCHANGED}

# Names that transformers 4 had: (today's, its own), the inverse of `current_path`.
_TRANSFORMERS_4 = [
    (r"^layers(?=\.)", "encoder.layer"),
    (r"attention\.q_proj(?=\.|$)", "attention.attention.query"),
    (r"attention\.k_proj(?=\.|$)", "attention.attention.key"),
    (r"attention\.v_proj(?=\.|$)", "attention.attention.value"),
    (r"(?<=\.)attention$", "attention.attention"),
    (r"attention\.o_proj(?=\.|$)", "attention.output.dense"),
    (r"mlp\.fc1(?=\.|$)", "intermediate.dense"),
    (r"mlp\.fc2(?=\.|$)", "output.dense"),
]
FORMER = {
    "vit": _TRANSFORMERS_4,
    "beit": _TRANSFORMERS_4,
    "clip_vision_model": [(r"^encoder(?=\.)", "vision_model.encoder")],
    "clip_text_model": [(r"^encoder(?=\.)", "text_model.encoder")],
}


# (family, what is placed) -> why it is another function there, as measured with adapters 1.3.0.
UNEQUAL = {
    ("beit", "out"): "BEiT scales what a branch returns, and `adapters` adapts what comes behind that",
    ("gptj", "stream"): "in GPT-J `adapters` gives the second branch what the first returned",
    ("t5", PREFIX): "in T5 `adapters` counts the prefix in the relative positions of all tokens",
    ("mt5", PREFIX): "in MT5 `adapters` counts the prefix in the relative positions of all tokens",
}


class Spot(NamedTuple):
    """A branch of a block."""

    stack: str
    layer: int
    branch: str


def former_path(family: str, path: str) -> str:
    """The name that a module had in transformers 4, where `adapters` lives."""
    for today, own in FORMER.get(family, []):
        path = re.sub(today, own, path)
    return path


def branches(anatomy: Anatomy, stack: str, layer: int) -> list[str]:
    """The branches of a block, in order of execution."""
    words = {site.name.partition(".")[0] for site in anatomy.sites if (site.stack, site.layer) == (stack, layer)}
    return [branch for branch in BRANCH_FLAGS if branch in words]


def spot_of(path: str, anatomy: Anatomy) -> Spot | None:
    """The branch that a module of `adapters` stands for, by its name in today's model; None for no branch of it."""
    for start in (path, path.partition(".")[2]):  # in a model with a head the backbone has a name of its own
        for stack in anatomy.stacks:
            for layer, block in enumerate(stack.blocks):
                if not start.startswith(f"{block}."):
                    continue
                rest = start.removeprefix(f"{block}.")
                known = branches(anatomy, stack.name, layer)
                in_order = re.fullmatch(r"layer\.(\d+)", rest)
                if in_order is not None and int(in_order[1]) < len(known):
                    return Spot(stack.name, layer, known[int(in_order[1])])
                branch = BRANCHES.get(rest, "")
                return Spot(stack.name, layer, branch) if branch in known else None
    return None


def path_at(spot: Spot, anatomy: Anatomy) -> str:
    """The inverse of `spot_of`, for a family that `adapters` has."""
    block = next(stack for stack in anatomy.stacks if stack.name == spot.stack).blocks[spot.layer]
    style = STYLES[anatomy.family]
    if isinstance(style, str):
        place = style.format(branches(anatomy, spot.stack, spot.layer).index(spot.branch))
    else:
        place = style[spot.branch]
    return f"{former_path(anatomy.family, block)}.{place}"


def layer_numbers(anatomy: Anatomy) -> dict[tuple[str, int], int]:
    """(stack, layer) -> the number that `leave_out` has for it: the blocks of all stacks, one after the other."""
    blocks = ((stack.name, layer) for stack in anatomy.stacks for layer in range(stack.depth))
    return {block: number for number, block in enumerate(blocks)}


def site_at(anatomy: Anatomy, spot: Spot, word: str) -> Site | None:
    """The site of a branch, "out" or "sum"; None where the model has none."""
    name = f"{spot.branch}.{word}"
    found = (site for site in anatomy.sites if (site.stack, site.layer, site.name) == (spot.stack, spot.layer, name))
    return next(found, None)


def prefix_sites(anatomy: Anatomy, location: str) -> list[Site]:
    """The keys and values that a pool of prefixes has one for each of, in order of layer.

    Args:
        location: its word: "encoder_prefix", "cross_prefix", and "self_prefix" or the like for all others.
    """
    stacks = [stack.name for stack in anatomy.stacks]
    name = "cross_attn.kv" if "cross" in location else "attn.kv"
    stack = stacks[0] if "encoder" in location else stacks[-1]
    return [site for site in anatomy.sites if (site.stack, site.name) == (stack, name)]


def prefix_locations(anatomy: Anatomy) -> Iterator[tuple[str, list[Site]]]:
    """Every location of prefixes that a model of `adapters` has, with its sites."""
    if len(anatomy.stacks) > 1:
        words = ["encoder_prefix", "cross_prefix", "self_prefix"]
    elif anatomy.family == "distilbert":
        words = ["self"]
    elif anatomy.family.startswith("clip_"):
        words = [f"{anatomy.family}_self_prefix"]
    else:
        words = ["self_prefix"]
    for word in words:
        sites = prefix_sites(anatomy, word)
        if sites:
            yield word, sites


def bottleneck_place(config: Mapping[str, Any], anatomy: Anatomy, spot: Spot) -> tuple[Site, str] | str:
    """Where a bottleneck sits that is configured like this, and what it reads; or why that is no place here.

    With h what the branch returned and x what it is added to: parallel ones add f(x) to h; sequential ones f(h), or,
    where the norm comes before (`original_ln_before`), f(LN(h + x)), to h before the sum.
    """
    if config.get("is_parallel"):
        site, read = site_at(anatomy, spot, "out"), "stream"
    elif not config.get("original_ln_before"):
        site, read = site_at(anatomy, spot, "out"), "site"
    else:
        site, read = site_at(anatomy, spot, "sum"), "site"
    reason = UNEQUAL.get((anatomy.family, read)) or UNEQUAL.get((anatomy.family, site.name[-3:] if site else ""))
    if reason is not None:
        return reason
    if site is None:
        return f"the sum behind {spot.branch} passes through no module of {anatomy.family}"
    after, before = config.get("original_ln_after", True), config.get("residual_before_ln", True)
    if after is True and (before is True or site.name.endswith(".out")):
        return site, read
    if after is False and before is False and site.name.endswith(".sum") and not site.norm:
        return site, read  # without a norm there, the stream's own sum is all that is left of both
    return f"original_ln_after = {after!r} with residual_before_ln = {before!r} is another placement"
