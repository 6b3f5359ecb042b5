"""Study a backbone: its stacks, its named sites, its size. On the meta device as well as with weights."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from adaptkit.anatomy.bare import bare
from adaptkit.anatomy.detect.block import Block, read_block
from adaptkit.anatomy.detect.block_sites import block_sites, branch_notes, unnamed
from adaptkit.anatomy.detect.branches import find_branches
from adaptkit.anatomy.detect.causality import OF_ANOTHER_STACK, is_causal
from adaptkit.anatomy.detect.final import final_site
from adaptkit.anatomy.detect.hook_points import find_hook_points
from adaptkit.anatomy.detect.mixtures import expert_sites, refined
from adaptkit.anatomy.detect.module_tree import list_modules
from adaptkit.anatomy.detect.sequence_sites import attention_sites, sequence_site
from adaptkit.anatomy.detect.stacks import FoundStack, find_stacks
from adaptkit.anatomy.model_input import model_input
from adaptkit.anatomy.site import Anatomy, Site, Stack
from adaptkit.anatomy.tables.families import Family, family_of, row
from adaptkit.anatomy.trace.probe import probe, probe_stack
from adaptkit.anatomy.trace.recorder import Call, Trace, from_tree


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
    if (own := model_input(model)) is not None and own.sees_padding:
        notes.append("its forward takes no mask: padding counts like everything else.")
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


def _calls(trace: Trace, stack: FoundStack) -> list[Call]:
    return [call for call in trace.calls if call.path in stack.blocks]


def _first_start(trace: Trace, stack: FoundStack) -> int:
    """Stacks in order of execution; one that did not run comes last."""
    return min((call.start for call in _calls(trace, stack)), default=1 << 60)


def _last_start(trace: Trace, stack: FoundStack) -> int:
    return max((call.start for call in _calls(trace, stack)), default=-1)


def _study_stack(
    model: nn.Module, trace: Trace, found: FoundStack, exceptions: Family, *, last: bool
) -> tuple[Stack, list[Site], list[str]]:
    """One stack with its sites and what there is to say of them."""
    trace = _reaching(model, trace, found)
    modules = dict(model.named_modules(remove_duplicate=False))
    blocks = [block for call in _calls(trace, found) if (block := read_block(modules, trace, call))]
    if not blocks:
        return Stack(found.name, found.blocks, 0), [], [f"the {found.name} blocks hold no projection."]
    paths = tuple(block.path for block in blocks)
    causal = found.name in exceptions.causal or is_causal(model, paths)
    stack = Stack(found.name, paths, blocks[-1].width, causal)
    sites, notes = _entry_sites(model, trace, stack, blocks[0]), _on_the_trace(trace, found)
    for layer, block in enumerate(blocks):
        its_sites, its_notes = _study_block(model, trace, block, found.name, layer, exceptions)
        sites += its_sites
        notes += its_notes
    final = final_site(modules, trace, blocks[-1], found.name, last=last)
    if final.layout == "btd" and final.width != stack.width:
        sites = [site for site in sites if site.name not in ("block.in", "block.out")]
        notes.append("the last norm reads another stream than the blocks return first: no block.in and block.out.")
    its = [replace(site, causal=causal and site.name not in OF_ANOTHER_STACK) for site in (*sites, final)]
    return stack, its, notes + _on_sharing(stack)


def _reaching(model: nn.Module, trace: Trace, found: FoundStack) -> Trace:
    """The trace, or where the forward went past this stack, that of its part of the model alone."""
    if trace.ran and _calls(trace, found):
        return trace
    return probe_stack(model, found.blocks, _entry_widths(model, found.blocks))


def _entry_widths(model: nn.Module, paths: tuple[str, ...]) -> dict[str, int]:
    """Channels of what these blocks read, from the tree; 0 for one that holds no projection."""
    tree, modules = from_tree(model, ""), dict(model.named_modules(remove_duplicate=False))
    blocks = {call.path: read_block(modules, tree, call) for call in tree.calls if call.path in paths}
    return {path: block.in_width if block else 0 for path, block in blocks.items()}


def _entry_sites(model: nn.Module, trace: Trace, stack: Stack, first: Block) -> list[Site]:
    """`embed.in` and `embed.out`; neither where the first block is not given one tensor."""
    if trace.ran and not first.call.inputs:
        return []
    out = Site("embed.out", stack.name, None, first.path, "before", first.in_width, first.in_layout)
    beginning = sequence_site(model, stack, out)
    return [beginning, out] if beginning else [out]


def _study_block(
    model: nn.Module, trace: Trace, block: Block, stack: str, layer: int, exceptions: Family
) -> tuple[list[Site], list[str]]:
    branches = refined(block, find_branches(block, interleaved=exceptions.fused == "interleaved"))
    points = find_hook_points(block, branches, trace, exceptions.norm) if branches else ()
    sites = block_sites(block, stack, layer, branches, points) + attention_sites(model, branches, stack, layer)
    sites += expert_sites(model, branches, stack, layer)
    return sites, branch_notes(branches, points) + unnamed(model, block, branches)


def _on_the_trace(trace: Trace, found: FoundStack) -> list[str]:
    if trace.ran:
        return []
    of = f"the {found.name} blocks" if found.name else "the blocks"
    return [f"no forward of {of} without data ({trace.why}): their sites follow the module tree."]


def _on_sharing(stack: Stack) -> list[str]:
    for path in dict.fromkeys(stack.blocks):
        layers = [str(layer) for layer, other in enumerate(stack.blocks) if other == path]
        if len(layers) > 1:
            shared = f"layers {', '.join(layers)} share one module ({path})"
            return [f"{shared}: an adapter there acts in every one of these layers."]
    return []
