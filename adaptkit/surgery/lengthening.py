"""Trained tokens in the input sequence of a stack, and their removal from what it returns.

Two places. A stack that takes `inputs_embeds` gets the prompt before its word embeddings; masks and positions grow with
it. A vision transformer gets it behind the tokens of the image, between the first and the last block: attention does
not know an order, and the class token stays the first. Either way no length outside changes, and the masks and spans of
the running forward (`adaptkit.sides`) are right inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit import sides
from adaptkit.adapters.base import Adapter
from adaptkit.anatomy.detect.sequence_sites import arguments_of
from adaptkit.errors import SiteError
from adaptkit.surgery.applying import first_tensor, output_tensor
from adaptkit.surgery.counting import visible
from adaptkit.surgery.hooks import Inputs, adapters_of, bindings, drop, ranked, register

# B batch, T tokens, L tokens of all prompts of a host, D width

ARGUMENTS = "adapter_arguments"  # on a stack's root: the names of its positional arguments
CUT = "adapter_cut"  # on the last block: what to take off again
ROOM = "adapter_room"  # on a layer of a cache: how many tokens longer it was made

# Arguments (B, T) or (B, T, .) with an entry per token that a prompt can lengthen, and what it puts there.
PER_TOKEN = {"attention_mask": 1, "token_type_ids": 0, "mm_token_type_ids": 0, "bbox": 0}


class Cut(NamedTuple):
    """How many tokens at the end of the last block's output are no tokens of the image."""

    stack: str
    tokens: int


def attach(model: nn.Module, path: str, name: str) -> None:
    """Install the hooks for the adapter `name`, which the host carries already."""
    host = model.get_submodule(path)
    arguments = arguments_of(host)
    if "inputs_embeds" in arguments:
        setattr(host, ARGUMENTS, arguments)
        register(host, prepend, "before")
        register(host, cut_first, "after")
        return
    last = last_block(model, path)
    register(host, append, "before")
    register(last, cut_last, "after")
    setattr(last, CUT, Cut(bindings(host)[name].stack, prompt_length(host)))


def check_prompt(host: nn.Module, options: Mapping[str, Any]) -> None:
    """Raise SiteError where the prompt cannot stand for the first token, because it comes behind the last one."""
    if options.get("pooled") == "trained" and "inputs_embeds" not in arguments_of(host):
        raise SiteError(
            'pooled = "trained" needs a prompt before the first token, and here it stands behind the last one.',
            hint="Leave pooled out: the class token is read as ever.",
        )


def detach(model: nn.Module, path: str, name: str) -> None:
    """Take the hooks off again if the host carries no other prompt."""
    host = model.get_submodule(path)
    left = prompt_length(host, without=name)
    if hasattr(host, ARGUMENTS):
        if not left:
            drop(host, prepend)
            drop(host, cut_first)
            delattr(host, ARGUMENTS)
        return
    last = last_block(model, path)
    if left:
        setattr(last, CUT, getattr(last, CUT)._replace(tokens=left))
        return
    drop(host, append)
    drop(last, cut_last)
    delattr(last, CUT)


def last_block(model: nn.Module, first: str) -> nn.Module:
    """The last one in the list of blocks whose first one this is."""
    return list(model.get_submodule(first.rpartition(".")[0]).children())[-1]


def prompts_of(host: nn.Module) -> dict[str, Adapter]:
    return {name: adapter for name, adapter in adapters_of(host).items() if bindings(host)[name].when == "sequence"}


def prompt_length(host: nn.Module, without: str = "") -> int:
    """L, of all prompts but one; the same for every task: copies of one adapter are equally long."""
    inside = [adapter.modules() for name, adapter in prompts_of(host).items() if name != without]
    return sum(next(cast(int, module.length) for module in modules if hasattr(module, "length")) for modules in inside)


def pools_prompt(host: nn.Module) -> bool:
    """Whether the state of the first trained token is to stand for the first token's (`pooled = "trained"`)."""
    inside = [module for adapter in prompts_of(host).values() for module in adapter.modules()]
    return any(getattr(module, "pooled", "token") == "trained" for module in inside)


def prompt(host: nn.Module, stream: Tensor) -> tuple[Tensor, str]:
    """(B, L, D), the prompts of a host in the precision of its stream (B, T, D), and the name of its stack."""
    found: list[Tensor] = []
    stack = ""
    for name, adapter in prompts_of(host).items():
        stack = bindings(host)[name].stack
        empty = stream[:, :0].to(next(adapter.parameters()).dtype)
        found.append(adapter(empty, empty, sides.read((), stack)).to(stream.dtype))
    return torch.cat(found, dim=1), stack


@ranked(0)
def prepend(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
    """Forward pre-hook of a stack's root: the prompt, then the word embeddings.

    Raises:
        SiteError: an argument with an entry per token that a prompt cannot lengthen.
    """
    given = {**dict(zip(getattr(module, ARGUMENTS), args, strict=False)), **kwargs}
    embeds = given.get("inputs_embeds")
    if embeds is None:
        embeds = module.get_input_embeddings()(given["input_ids"])
    before, stack = prompt(module, embeds)
    count, cache = before.shape[1], given.get("past_key_values")
    held = 0 if cache is None else int(cache.get_seq_length())
    started = held > 0  # then the prompt is in the cache
    mask = given.get("attention_mask")
    if isinstance(mask, Tensor) and mask.dim() == 4 and given.get("use_cache") is not False and cache is not None:
        given["attention_mask"] = visible(mask)[:, : max(held - count, 0) + embeds.shape[1]].long()
    check_arguments(given, embeds)
    if not started:
        make_room(module, cache, count)
        sides.lengthen(stack, count, 0)
        embeds = torch.cat([before, embeds], dim=1)  # (B, L + T, D)
    given |= {"input_ids": None, "inputs_embeds": embeds}
    for name, value in PER_TOKEN.items():
        if given.get(name) is not None and (name == "attention_mask" or not started):
            rest = (0, 0) * (given[name].dim() - 2)
            given[name] = functional.pad(given[name], (*rest, count, 0), value=value)
    if given.get("attention_mask") is None and not started:
        given["attention_mask"] = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
    if given.get("position_ids") is not None:
        own = given["position_ids"] + count
        first = torch.arange(count, device=own.device).expand(*own.shape[:-1], count)
        given["position_ids"] = own if started else torch.cat([first, own], dim=-1)
    return (), given


def make_room(module: Any, cache: Any, count: int) -> None:
    """Let a cache of fixed length, which was made for the tokens alone, take the prompt besides.

    Raises:
        SiteError: its memory is laid out already.
    """
    for layer in getattr(getattr(cache, "self_attention_cache", cache), "layers", ()):
        missing = count - getattr(layer, ROOM, 0)
        if missing <= 0 or not hasattr(layer, "max_cache_len"):
            continue
        if layer.is_initialized:
            raise SiteError(
                f"the cache has a fixed length, and no room for a prompt of {count} tokens.",
                hint="Give generate() a new cache, or leave the cache to it.",
            )
        window = getattr(module.config, "sliding_window", None) if getattr(layer, "is_sliding", False) else None
        longer = layer.max_cache_len + missing
        layer.max_cache_len = longer if window is None else min(longer, window)
        setattr(layer, ROOM, count)


def check_arguments(given: dict[str, Any], embeds: Tensor) -> None:
    """Raise SiteError for what would no longer fit the longer sequence."""
    for name, value in given.items():
        if name in ("inputs_embeds", "input_ids", "position_ids") or name.startswith("encoder_"):
            continue
        fits = name in PER_TOKEN and isinstance(value, Tensor) and value.shape[1] >= embeds.shape[1]
        fits = fits and (value.dim() == 2 or name != "attention_mask")
        per_token = isinstance(value, Tensor) and value.dim() > 1 and value.shape[1] == embeds.shape[1]
        if not fits and (per_token or (name == "attention_mask" and value is not None)):
            raise SiteError(
                f"a prompt lengthens the input, and the argument {name} cannot grow with it.",
                hint="Masks are (batch, tokens); leave other arguments with an entry per token out.",
            )


@ranked(1)
def cut_first(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Forward hook of a stack's root: take off what it returned for the prompt."""
    total, mask = kwargs["inputs_embeds"].shape[1], kwargs.get("attention_mask")
    if mask is None or mask.shape[1] != total:  # a later step of a generation, whose cache holds the prompt
        return output
    if output_tensor(output).shape[1] != total:
        raise SiteError(
            f"a prompt cannot be told apart in what {type(module).__name__} returns: {total} tokens go in, "
            f"{output_tensor(output).shape[1]} come out.",
            hint="Give it text alone.",
        )
    count = prompt_length(module)
    sides.lengthen(next(bindings(module)[name].stack for name in prompts_of(module)), -count, 0)
    first = None
    if pools_prompt(module):  # of the tokens that count: padding may stand on the left
        first = functional.one_hot(mask[:, count:].argmax(1), total - count).bool()
    return with_pooled(module, shortened(output, total, count, first))


def shortened(value: Any, total: int, count: int, first: Tensor | None) -> Any:
    """A model's output in which every sequence (B, total, D), or several in a row (ProphetNet), lacks the prompt.

    Args:
        first: (B, T) bool, tokens in whose place the first state of the prompt is left; None: none.
    """
    if isinstance(value, Tensor):
        if value.dim() != 3 or value.shape[1] % total:
            return value
        states = torch.unflatten(value, 1, (-1, total))  # (B, S, L + T, D)
        kept = states[:, :, count:]
        return (kept if first is None else torch.where(first[:, None, :, None], states[:, :, :1], kept)).flatten(1, 2)
    if isinstance(value, dict):  # a ModelOutput of transformers
        fields = cast(dict[str, Any], value)
        return type(fields)(**{name: shortened(each, total, count, first) for name, each in fields.items()})
    whole = type(value) in (tuple, list)
    return type(value)(shortened(each, total, count, first) for each in value) if whole else value


def with_pooled(module: Any, output: Any) -> Any:
    """A pooler that read the first token read the prompt's: it reads the sequence's now.

    Not those that are a projection without the choice of a token (ALBERT, BigBird).
    """
    if not isinstance(getattr(module, "pooler", None), nn.Module) or isinstance(module.pooler, nn.Linear):
        return output
    if isinstance(output, dict):
        fields = cast(dict[str, Any], output)
        if fields.get("pooler_output") is None:
            return fields
        return type(fields)(**{**fields, "pooler_output": module.pooler(fields["last_hidden_state"])})
    if isinstance(output, tuple):
        states, *others = cast(tuple[Any, ...], output)
        if others and isinstance(others[0], Tensor) and others[0].dim() == 2:
            return (states, module.pooler(states), *others[1:])
    return cast(Any, output)


@ranked(0)
def append(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
    """Forward pre-hook of the first block of a vision transformer: its tokens, then the prompt.

    Raises:
        SiteError: the block gets a mask, which would have to grow.
    """
    h = first_tensor(args, kwargs)
    if any(isinstance(value, Tensor) for value in (*args[1:], kwargs.get("attention_mask"))):
        raise SiteError("a prompt cannot lengthen a stack whose blocks get a mask.", hint="Leave the mask out.")
    behind, stack = prompt(module, h)
    sides.lengthen(stack, 0, behind.shape[1])
    h = torch.cat([h, behind], dim=1)  # (B, T + L, D)
    if args:
        return (h, *args[1:]), kwargs
    key = next(key for key, value in kwargs.items() if isinstance(value, Tensor))
    return args, {**kwargs, key: h}


@ranked(1)
def cut_last(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Forward hook of the last block: the tokens of the image alone."""
    cut: Cut = getattr(module, CUT)
    sides.lengthen(cut.stack, 0, -cut.tokens)
    h = output_tensor(output)[:, : -cut.tokens]
    return h if isinstance(output, Tensor) else type(output)((h, *output[1:]))
