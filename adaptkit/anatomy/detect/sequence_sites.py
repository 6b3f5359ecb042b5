"""Sites that are no place on the residual stream: the input sequence of a stack, and the keys of an attention.

`embed.in` is where trained tokens join the input of a stack. For text its host is the module that takes
`inputs_embeds` (the model, or an encoder or decoder of its own); for images it is the first block, where all tokens of
an image are there. `attn.kv` is an attention that calls transformers' attention interface, through which further keys
and values can be given to it.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from adaptkit.anatomy.detect.branches import Branch
from adaptkit.anatomy.model_input import model_input
from adaptkit.anatomy.site import Site, Stack
from adaptkit.anatomy.trace.dummy import dummy_inputs
from adaptkit.anatomy.trace.fake_floats import FakeFloatMode
from adaptkit.anatomy.trace.forms import native_forms
from adaptkit.anatomy.trace.probe import runnable_on_meta

# What transformers' attentions call the width of a head, and their number of heads.
HEAD_WIDTH = ("head_dim", "attention_head_size", "key_value_proj_dim", "head_size")
HEADS = ("num_key_value_heads", "num_kv_heads", "num_attention_heads", "num_heads", "n_heads")


def sequence_site(model: nn.Module, stack: Stack, first: Site) -> Site | None:
    """`embed.in` of a stack, or None. What is said to work is tried: a forward without values gets a token more.

    Args:
        model: the backbone.
        stack: one of its stacks.
        first: `embed.out` of that stack.
    """
    root = tower(model, stack)
    arguments = arguments_of(model.get_submodule(root)) if root is not None else ()
    if "input_ids" not in arguments:  # of an image all tokens count; blocks of text and audio get a mask
        own = model_input(model)
        images = own.kind == "image" if own else "pixel_values" in arguments or not hasattr(model, "config")
        whole = images and first.layout == "btd" and blocks_take_more(model, stack)
        return Site("embed.in", stack.name, None, stack.blocks[0], "sequence", first.width) if whole else None
    if "inputs_embeds" not in arguments or root is None:
        return None
    width = embedding_width(model.get_submodule(root))
    if width is None or not root_takes_more(model, model.get_submodule(root)):
        return None
    return Site("embed.in", stack.name, None, root, "sequence", width)


def tower(model: nn.Module, stack: Stack) -> str | None:
    """The innermost module around the stack that takes token ids or pixels; None where none does."""
    parts = stack.blocks[0].split(".")
    for length in range(len(parts) - 1, -1, -1):
        path = ".".join(parts[:length])
        if {"input_ids", "pixel_values"} & set(arguments_of(model.get_submodule(path))):
            return path
    return None


def arguments_of(module: nn.Module) -> tuple[str, ...]:
    return tuple(inspect.signature(module.forward).parameters)


def embedding_width(root: Any) -> int | None:
    """Channels of a word embedding, which may be narrower than the stream (ALBERT, ELECTRA); None without one."""
    try:
        return int(root.get_input_embeddings().weight.shape[1])
    except (AttributeError, NotImplementedError):
        return None


def root_takes_more(model: nn.Module, root: Any) -> bool:
    """The module takes embeddings in place of token ids, and returns as many tokens as it gets."""
    names = arguments_of(root)

    def lengthen(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        embeds = given.get("inputs_embeds")
        if embeds is None:
            embeds = module.get_input_embeddings()(given["input_ids"])
        mask = given.get("attention_mask")
        longer = None if mask is None else torch.cat([mask[:, :1], mask], dim=1)
        embeds = torch.cat([embeds[:, :1], embeds], dim=1)
        return (), given | {"input_ids": None, "inputs_embeds": embeds, "attention_mask": longer}

    def taken(args: Any, kwargs: Any) -> Tensor:
        return kwargs["inputs_embeds"]

    return survives(model, root, lengthen, root, taken)


def blocks_take_more(model: nn.Module, stack: Stack) -> bool:
    """Between the first and the last block, one token more does no harm."""
    parents = {path.rpartition(".")[0] for path in stack.blocks}
    if len(parents) > 1 or len(set(stack.blocks)) < stack.depth:
        return False

    def lengthen(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return (torch.cat([args[0], args[0][:, :1]], dim=1), *args[1:]), kwargs

    def taken(args: Any, kwargs: Any) -> Tensor:
        return args[0]

    first, last = model.get_submodule(stack.blocks[0]), model.get_submodule(stack.blocks[-1])
    return survives(model, first, lengthen, last, taken)


def survives(model: nn.Module, first: nn.Module, lengthen: Any, last: nn.Module, taken: Callable[..., Tensor]) -> bool:
    """A forward without values works when `first` gets a token more and `last` returns it; it is cut off there.

    Args:
        model: the backbone.
        first: what is lengthened.
        lengthen: pre-hook of `first`.
        last: what returns the longer sequence.
        taken: what `first` is given, from its arguments.
    """
    entered: list[int] = []
    returned: list[int] = []

    def enter(module: Any, args: Any, kwargs: Any) -> tuple[tuple, dict[str, Any]]:
        longer = lengthen(module, args, kwargs)
        entered.append(taken(*longer).shape[1])
        return longer

    def leave(module: Any, args: Any, output: Any) -> Any:
        states: Tensor = output if isinstance(output, Tensor) else output[0]
        if states.dim() != 3 or states.shape[1] != entered[-1]:
            raise ValueError("the number of tokens changes on the way")
        returned.append(states.shape[1])
        if isinstance(output, dict):
            return type(output)(**{**output, next(iter(output)): states[:, :-1]})
        return states[:, :-1] if isinstance(output, Tensor) else type(output)((states[:, :-1], *output[1:]))

    hooks = [
        first.register_forward_pre_hook(enter, with_kwargs=True, prepend=True),  # around a prompt that is there already
        last.register_forward_hook(leave),
    ]
    try:
        return runs(model) and bool(returned)
    finally:
        for hook in hooks:
            hook.remove()


def runs(model: nn.Module) -> bool:
    """A forward without values works, whatever the hooks on the model do in it."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    for mode, inputs in attempts(model):
        try:
            with warnings.catch_warnings(), runnable_on_meta(model), torch.no_grad(), mode:
                warnings.simplefilter("ignore")
                functional_call(model, meta, kwargs=inputs, strict=False, tie_weights=False)
        except Exception:  # any architecture may refuse; the next guess may do
            continue
        return True
    return False


def attempts(model: nn.Module) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Ways to run the model, the fastest first: most models never ask for a value."""
    with contextlib.suppress(ValueError):
        yield contextlib.nullcontext(), dummy_inputs(model)
        yield FakeFloatMode(), dummy_inputs(model)
    if hasattr(model, "config"):
        for form in native_forms(model):
            yield FakeFloatMode(), form


def attention_sites(model: nn.Module, branches: tuple[Branch, ...], stack: str, layer: int) -> list[Site]:
    """`attn.kv` and `cross_attn.kv` of one layer, where its attentions have them."""
    return [site for branch in branches if (site := attention_site(model, branch, stack, layer))]


def attention_site(model: nn.Module, branch: Branch, stack: str, layer: int) -> Site | None:
    """`attn.kv` or `cross_attn.kv` of a branch, or None."""
    path = branch.firsts[0].path
    while path and not calls_interface(model.get_submodule(path)):
        path = path.rpartition(".")[0]
    if not path or "attn" not in branch.name:
        return None
    attention: Any = model.get_submodule(path)
    head = next((found for word in HEAD_WIDTH if isinstance(found := getattr(attention, word, None), int)), None)
    width = key_width(attention, branch, head)
    if head is None or not width or width % head:
        return None
    return Site(f"{branch.name}.kv", stack, layer, path, "attention", width, heads=width // head)


def calls_interface(module: nn.Module) -> bool:
    """It is an attention of transformers that looks its implementation up by name."""
    code = getattr(inspect.unwrap(type(module).forward), "__code__", None)
    named = code is not None and "ALL_ATTENTION_FUNCTIONS" in code.co_names
    return named and hasattr(getattr(module, "config", None), "_attn_implementation")


def key_width(attention: Any, branch: Branch, head: int | None) -> int | None:
    """Width of all heads' keys: what the key projection writes, else what the attention says of itself."""
    if "k" in branch.roles:
        projection, columns = branch.roles["k"]
        return columns[1] - columns[0] if columns else projection.out_width
    owners = (attention, attention.config)
    counts = [_number(owner, word) for owner in owners for word in HEADS]
    found = next((count for count in counts if count is not None), None)
    return found * head if found and head else None


def _number(owner: Any, word: str) -> int | None:
    """An attribute that is a whole number; None where layers differ and the configuration refuses to answer for all."""
    try:
        value = getattr(owner, word, None)
    except Exception:  # of transformers' own kind, no AttributeError
        return None
    return value if isinstance(value, int) else None
