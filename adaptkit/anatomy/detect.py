"""Study a backbone: its stacks, its named sites, its size. On the meta device as well as with weights."""

from __future__ import annotations

from torch import nn

from adaptkit.anatomy.block import Block, read_block
from adaptkit.anatomy.blocks import FoundStack, find_stacks
from adaptkit.anatomy.branches import Branch, find_branches
from adaptkit.anatomy.families import Family, family_of, row
from adaptkit.anatomy.layers import norm_width
from adaptkit.anatomy.modules import list_modules
from adaptkit.anatomy.places import Place, Places, find_places
from adaptkit.anatomy.probe import Call, Trace, from_tree, probe
from adaptkit.anatomy.site import Anatomy, Layout, Site, Stack


def study(model: nn.Module, *, name: str = "") -> Anatomy:
    """Everything surgery needs to know about a backbone.

    Args:
        model: of transformers, timm or neither; on any device. It is not changed.
        name: what to call it in messages; its class by default.
    """
    family = family_of(model)
    exceptions = row(family)
    found = find_stacks(model)
    trace = probe(model)
    notes = [] if trace.ran else [f"no forward without data ({trace.why}): sites follow the module tree."]
    stacks, sites = [], []
    for each in sorted(found, key=lambda stack: _first_start(trace, stack)):
        stack, its_sites, its_notes = _study_stack(model, trace, each, exceptions or Family())
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


def _first_start(trace: Trace, stack: FoundStack) -> int:
    """Stacks in order of execution; one that did not run comes last."""
    return min((call.start for call in trace.calls if call.path in stack.blocks), default=1 << 60)


def _study_stack(
    model: nn.Module, trace: Trace, found: FoundStack, exceptions: Family
) -> tuple[Stack, list[Site], list[str]]:
    calls = [call for call in trace.calls if call.path in found.blocks]
    notes = []
    if not calls:  # the forward went past this stack: read it off the tree
        trace = from_tree(model, "")
        calls = [call for call in trace.calls if call.path in found.blocks]
        notes.append(f"the {found.name} blocks do not run on plain inputs; their sites follow the module tree.")
    modules = dict(model.named_modules())
    blocks = [block for call in calls if (block := read_block(modules, trace, call))]
    if not blocks:
        return Stack(found.name, found.blocks, 0), [], [f"the {found.name} blocks hold no projection."]
    sites = [_stack_site("embed.out", found.name, blocks[0], Place(blocks[0].path, "before"))]
    for layer, block in enumerate(blocks):
        branches = find_branches(block, interleaved=exceptions.fused == "interleaved")
        places = find_places(block, branches, trace, exceptions.norm) if branches else ()
        sites += _block_sites(block, found.name, layer, branches, places)
        notes += _branch_notes(branches, places) + _unnamed(model, block, branches)
    sites.append(_stack_site("final.out", found.name, blocks[-1], _final(model, trace, blocks[-1])))
    shared = _shared(blocks)
    if shared:
        notes.append(f"{shared}: an adapter there acts in every one of these layers.")
    return Stack(found.name, tuple(block.path for block in blocks), blocks[-1].width), sites, notes


def _block_sites(
    block: Block, stack: str, layer: int, branches: tuple[Branch, ...], places: tuple[Places, ...]
) -> list[Site]:
    """All sites of one layer, in order of execution."""
    sites = [Site("block.in", stack, layer, block.path, "before", block.in_width, block.in_layout)]
    for branch, place in zip(branches, places, strict=True):
        inner: Layout = "bchw" if branch.last.convolution else block.layout
        entry_width = branch.firsts[0].in_width

        def at(word: str, where: Place, width: int, layout: Layout, branch: Branch = branch) -> Site:
            return Site(f"{branch.name}.{word}", stack, layer, where.path, where.when, width, layout, norm=where.norm)

        if place.stream is not None and branch.name != "conv":
            sites.append(at("stream", place.stream, entry_width, block.in_layout))
        sites.append(at("in", place.entry, entry_width, "bchw" if branch.firsts[0].convolution else block.in_layout))
        for role, (projection, columns) in branch.roles.items():
            width = columns[1] - columns[0] if columns else projection.out_width
            layout: Layout = "bchw" if projection.convolution else block.layout
            sites.append(
                Site(f"{branch.name}.{role}", stack, layer, projection.path, "after", width, layout,
                     columns=columns, in_width=projection.in_width)
            )  # fmt: skip
        sites.append(at("out", place.out, branch.last.out_width, inner))
        if place.sum is not None and branch.name != "conv":
            sites.append(at("sum", place.sum, block.width, block.layout))
    sites.append(Site("block.out", stack, layer, block.path, "after", block.width, block.layout))
    return sites


def _stack_site(name: str, stack: str, block: Block, place: Place) -> Site:
    before = place.when == "before"
    width, layout = (block.in_width, block.in_layout) if before else (block.width, block.layout)
    return Site(name, stack, None, place.path, place.when, width, layout)


def _final(model: nn.Module, trace: Trace, last: Block) -> Place:
    """After the norm that reads what the last block returned, else after that block."""
    modules = dict(model.named_modules())

    def is_final(call: Call) -> bool:
        return call.start > last.call.end and call.inputs[:1] == (last.call.output,)

    for call in trace.calls if trace.ran else ():
        if is_final(call) and norm_width(modules[call.path]) == last.width:
            return Place(call.path, "after")
    return Place(last.path, "after")


def _branch_notes(branches: tuple[Branch, ...], places: tuple[Places, ...]) -> list[str]:
    notes = []
    for branch, place in zip(branches, places, strict=True):
        if branch.name.startswith("conv"):
            notes.append("conv.out is what the block's last convolution returns, before its norm and the add.")
        elif place.stream is None:
            notes.append("stream and sum sites need a forward, so there are none here.")
        elif place.sum is None:
            notes.append(f"{branch.name}.sum does not exist here: no module is between the add and its readers.")
    return notes


def _unnamed(model: nn.Module, block: Block, branches: tuple[Branch, ...]) -> list[str]:
    """Matrices of a block that no branch has a word for: routers, experts, depthwise convolutions."""
    named = {p.path for branch in branches for p in (*branch.firsts, branch.last)}
    named |= {projection.path for branch in branches for projection, _ in branch.roles.values()}
    left = [
        path
        for path, module in model.get_submodule(block.path).named_modules()
        if any(p.dim() > 1 for p in module.parameters(recurse=False))
        and not isinstance(module, nn.Embedding)
        and f"{block.path}.{path}" not in named
    ]
    if not left or any(branch.name.startswith("conv") for branch in branches):
        return []
    return [f"in a block, by path only: {', '.join(left[:4])}{', ...' if len(left) > 4 else ''}."]


def _shared(blocks: list[Block]) -> str:
    paths = [block.path for block in blocks]
    for path in dict.fromkeys(paths):
        layers = [str(layer) for layer, other in enumerate(paths) if other == path]
        if len(layers) > 1:
            return f"layers {', '.join(layers)} share one module ({path})"
    return ""
