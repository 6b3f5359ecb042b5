"""Study a backbone: its stacks, its named sites, its size. On the meta device as well as with weights."""

from __future__ import annotations

from torch import nn

from adaptkit.anatomy.bare import bare
from adaptkit.anatomy.block import Block, read_block
from adaptkit.anatomy.block_sites import block_sites, branch_notes, unnamed
from adaptkit.anatomy.blocks import FoundStack, find_stacks
from adaptkit.anatomy.branches import find_branches
from adaptkit.anatomy.families import Family, family_of, row
from adaptkit.anatomy.layers import norm_width
from adaptkit.anatomy.mixtures import refined
from adaptkit.anatomy.modules import list_modules
from adaptkit.anatomy.places import Place, find_places
from adaptkit.anatomy.probe import probe, probe_stack
from adaptkit.anatomy.sequence_sites import attention_sites, sequence_site
from adaptkit.anatomy.site import Anatomy, Site, Stack
from adaptkit.anatomy.trace import Trace, from_tree


def study(model: nn.Module, *, name: str = "") -> Anatomy:
    """Everything surgery needs to know about a backbone.

    Args:
        model: of transformers, timm or neither; on any device. It is not changed. Adapters in it are not seen.
        name: what to call it in messages; its class by default.
    """
    with bare(model):
        return _study(model, name)


def _study(model: nn.Module, name: str) -> Anatomy:
    family = family_of(model)
    exceptions = row(family)
    trace = probe(model)
    found = find_stacks(model, trace)
    notes, stacks, sites = [], [], []
    for each in sorted(found, key=lambda stack: _first_start(trace, stack)):
        last = each is max(found, key=lambda stack: _last_start(trace, stack))
        stack, its_sites, its_notes = _study_stack(model, trace, each, exceptions or Family(), last=last)
        stacks.append(stack)
        sites += its_sites
        notes += its_notes
    if not found:
        notes.append("no repeated blocks were found; reach modules with path:<glob>.")
    if exceptions is not None and exceptions.note:
        notes.append(exceptions.note)
    return Anatomy(
        model=name or type(model).__name__,
        family=family,
        found_by="table" if exceptions is not None else "detected",
        stacks=tuple(stacks),
        sites=tuple(sites),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        notes=tuple(dict.fromkeys(notes)),
        modules=list_modules(model, trace),
    )


def _entry_widths(model: nn.Module, paths: tuple[str, ...]) -> dict[str, int]:
    """Channels of what these blocks read, from the tree; 0 for one that holds no projection."""
    tree, modules = from_tree(model, ""), dict(model.named_modules(remove_duplicate=False))
    blocks = {call.path: read_block(modules, tree, call) for call in tree.calls if call.path in paths}
    return {path: block.in_width if block else 0 for path, block in blocks.items()}


def _first_start(trace: Trace, stack: FoundStack) -> int:
    """Stacks in order of execution; one that did not run comes last."""
    return min((call.start for call in trace.calls if call.path in stack.blocks), default=1 << 60)


def _last_start(trace: Trace, stack: FoundStack) -> int:
    return max((call.start for call in trace.calls if call.path in stack.blocks), default=-1)


def _study_stack(
    model: nn.Module, trace: Trace, found: FoundStack, exceptions: Family, *, last: bool
) -> tuple[Stack, list[Site], list[str]]:
    calls = [call for call in trace.calls if call.path in found.blocks]
    notes = []
    if not trace.ran or not calls:  # the forward went past this stack: run its part of the model alone
        trace = probe_stack(model, found.blocks, _entry_widths(model, found.blocks))
        calls = [call for call in trace.calls if call.path in found.blocks]
    if not trace.ran:
        of = f"the {found.name} blocks" if found.name else "the blocks"
        notes.append(f"no forward of {of} without data ({trace.why}): their sites follow the module tree.")
    modules = dict(model.named_modules(remove_duplicate=False))
    blocks = [block for call in calls if (block := read_block(modules, trace, call))]
    if not blocks:
        return Stack(found.name, found.blocks, 0), [], [f"the {found.name} blocks hold no projection."]
    enters = blocks[0].call.inputs or not trace.ran
    sites = [_stack_site("embed.out", found.name, blocks[0], Place(blocks[0].path, "before"))] if enters else []
    for layer, block in enumerate(blocks):
        branches = refined(block, find_branches(block, interleaved=exceptions.fused == "interleaved"))
        places = find_places(block, branches, trace, exceptions.norm) if branches else ()
        sites += block_sites(block, found.name, layer, branches, places)
        sites += attention_sites(model, branches, found.name, layer)
        notes += branch_notes(branches, places) + unnamed(model, block, branches)
    sites.append(_final(model, trace, blocks[-1], found.name, last=last))
    if sites[-1].layout == "btd" and sites[-1].width != blocks[-1].width:
        sites = [site for site in sites if site.name not in ("block.in", "block.out")]
        notes.append("the last norm reads another stream than the blocks return first: no block.in and block.out.")
    shared = _shared(blocks)
    if shared:
        notes.append(f"{shared}: an adapter there acts in every one of these layers.")
    stack = Stack(found.name, tuple(block.path for block in blocks), blocks[-1].width)
    beginning = sequence_site(model, stack, sites[0]) if enters else None
    return stack, [beginning, *sites] if beginning else sites, notes


def _stack_site(name: str, stack: str, block: Block, place: Place) -> Site:
    before = place.when == "before"
    width, layout = (block.in_width, block.in_layout) if before else (block.width, block.layout)
    return Site(name, stack, None, place.path, place.when, width, layout)


def _final(model: nn.Module, trace: Trace, block: Block, stack: str, *, last: bool) -> Site:
    """After the norm that reads what the last block returned, else after that block.

    Maps of the last stack pass whatever else has weights before the pooling (EfficientNet: 320 -> 1280 channels;
    DenseNet: a norm over all that its blocks returned); a last norm may read another stream than the first (TNT).
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    later = [call for call in trace.calls if call.start > block.call.end] if trace.ran else []
    readers = [call for call in later if call.inputs[:1] == (block.call.output,)]
    if last and block.layout in ("bchw", "bhwd"):
        for call in reversed(later):
            around = [c for c in later if c.start <= call.start and call.end <= c.end]
            own = any(True for _ in modules[call.path].parameters(recurse=False))
            if own and all(_is_map(c.in_shape) and _is_map(c.out_shape) for c in around):
                ahead = norm_width(modules[call.path]) != call.out_shape[-1] or block.layout == "bchw"
                width = call.out_shape[1 if ahead else -1]
                return Site("final.out", stack, None, call.path, "after", width, "bchw" if ahead else "bhwd")
    elif last and later and not readers:
        for call in reversed(later):
            width = norm_width(modules[call.path])
            if width and len(call.out_shape) == 3 and call.out_shape[-1] == width:
                return Site("final.out", stack, None, call.path, "after", width)
    for call in readers:
        once = len(trace.of(call.path)) == 1  # BLIP's last norm also norms the pooled vector
        if once and norm_width(modules[call.path]) == block.width:
            return _stack_site("final.out", stack, block, Place(call.path, "after"))
    return _stack_site("final.out", stack, block, Place(block.path, "after"))


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2:] != (1, 1)


def _shared(blocks: list[Block]) -> str:
    paths = [block.path for block in blocks]
    for path in dict.fromkeys(paths):
        layers = [str(layer) for layer, other in enumerate(paths) if other == path]
        if len(layers) > 1:
            return f"layers {', '.join(layers)} share one module ({path})"
    return ""
