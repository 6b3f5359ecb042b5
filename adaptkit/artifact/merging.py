"""Folding weight-space adapters into the weights they change, so that nothing of them is left to compute."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from adaptkit.adapters.base import Adapter
from adaptkit.anatomy.quantised import is_quantised
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel
from adaptkit.surgery import Receipt
from adaptkit.surgery.freezing import thaw, would_undo
from adaptkit.surgery.hooks import adapters_of, bindings
from adaptkit.surgery.hosts import turned
from adaptkit.surgery.operation import take_out

# D outputs of a projection, C inputs (of an embedding: its rows)

# Layers that are their weight and bias and nothing else. A subclass with a forward of its own may scale or standardise
# its weight; those named here only write the same product in another way.
PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding)
EQUIVALENT = ("Conv1D", "FalconLinear")


@dataclass(frozen=True, slots=True)
class Merging:
    """One adapter on the way into its host.

    Attributes:
        name: among the host's adapters.
        columns: the host's outputs that are the adapter's.
        parameter: the host's parameter that is the adapter's, of fused experts; else "".
    """

    name: str
    adapter: Adapter
    columns: tuple[int, int] | None
    parameter: str

    def meets(self, other: Merging) -> bool:
        """Both change some of the same outputs."""
        if self.parameter != other.parameter:
            return False
        if self.columns is None or other.columns is None:
            return True
        return self.columns[0] < other.columns[1] and other.columns[0] < self.columns[1]


def merge(model: AdaptedModel | nn.Module, receipt: Receipt | None = None) -> None:
    """Fold every adapter into its host's weight and bias and take it out of the model.

    Computed in float32 (or the weight's own type if that is wider) and rounded once. All checks precede the first
    change, so after an error the model is what it was.

    Args:
        model: an adapted model, or whatever adapters were inserted into.
        receipt: what `insert` returned; an adapted model has its own.

    Raises:
        ArtifactError: an adapter cannot be merged, or not together with the others of its host; a weight is shared
            with another module; or a merged weight would not be finite.
    """
    if isinstance(model, AdaptedModel):
        _merge_all(model)
        return
    assert receipt is not None, "a plain model needs the receipt of its insertion"
    _fold(model, receipt, _folded(model, receipt))


def _merge_all(model: AdaptedModel) -> None:
    """The adapters in the backbone and in the towers."""
    _refuse_unmergeable(_by_host(nn.ModuleDict({"fusion": model.fusion}), model.fusion_receipt))
    models, receipts = {"": model.backbone, **model.towers}, {"": model.receipt, **model.tower_receipts}
    grafted = [name for name, receipt in receipts.items() if receipt.grafts] or [""]
    folded = {name: _folded(models[name], receipts[name]) for name in grafted}
    for name, values in folded.items():
        _fold(models[name], receipts[name], values)
        receipts[name] = Receipt(())
    model.receipt, model.tower_receipts = receipts.pop(""), receipts


def _folded(model: nn.Module, receipt: Receipt) -> list[tuple[nn.Parameter, Tensor]]:
    """The parameters that change, each with its new value."""
    by_host = _by_host(model, receipt)
    _refuse_unmergeable(by_host)
    if not by_host:
        raise ArtifactError("there is no adapter to merge.", hint="Was it merged already?")
    owners = _owners(model)
    changes: list[tuple[nn.Parameter, Tensor]] = []
    for path, found in by_host.items():
        host = model.get_submodule(path)
        _refuse_order(host, path, found)
        for parameter in dict.fromkeys(merging.parameter for merging in found):
            of_it = [merging for merging in found if merging.parameter == parameter]
            changes += _merged(host, path, parameter, of_it, owners)
    _refuse_undone(model, receipt, changes)
    return changes


def _fold(model: nn.Module, receipt: Receipt, values: list[tuple[nn.Parameter, Tensor]]) -> None:
    with torch.no_grad():
        for parameter, value in values:
            parameter.copy_(value)
    take_out(model, receipt)
    thaw(model, receipt.insertion, restore=False)  # the backbone's own trained parameters stay trained


def _by_host(model: nn.Module, receipt: Receipt) -> dict[str, list[Merging]]:
    """Path -> the adapters to merge there, in the order in which they run."""
    named: dict[str, set[str]] = defaultdict(set)
    for path, name in receipt.grafts:
        if name not in adapters_of(model.get_submodule(path)):
            raise ArtifactError(f"{path} carries no adapter {name!r}.", hint="Was it merged or removed already?")
        named[path].add(name)
    return {path: [m for m in _all_at(model.get_submodule(path)) if m.name in names] for path, names in named.items()}


def _all_at(host: nn.Module) -> list[Merging]:
    known = bindings(host)
    return [Merging(name, each, known[name].columns, known[name].parameter) for name, each in adapters_of(host).items()]


def _owners(model: nn.Module) -> dict[int, list[str]]:
    """id of a parameter -> every name it has in the model."""
    owners: dict[int, list[str]] = defaultdict(list)
    for path, module in model.named_modules(remove_duplicate=False):
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)].append(path)
    return owners


def _merged(
    host: nn.Module, path: str, parameter: str, found: list[Merging], owners: dict[int, list[str]]
) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """The host's parameters that change, each with its new value in its own layout and type."""
    weight, bias = (host.get_parameter(parameter), None) if parameter else _parameters(host, path)
    new_weight, new_bias = _composed(turned(host, weight), bias, path, found)
    new_weight = turned(host, new_weight)
    for own, value in ((weight, new_weight), (bias, new_bias)):
        if own is None or value is None:
            continue
        rounded = value.to(own.dtype)
        if torch.equal(rounded, own):
            continue
        names = ", ".join(merging.name for merging in found)
        if not bool(torch.isfinite(rounded).all()):
            raise ArtifactError(f"merging {names} into {path} would give NaN or infinity; the model is unchanged.")
        _refuse_shared(path, own, owners)
        yield own, rounded


def _composed(weight: Tensor, bias: Tensor | None, path: str, found: list[Merging]) -> tuple[Tensor, Tensor | None]:
    """Weight (D, C, ...) and bias (D,) with all adapters, in float32 or wider.

    What changes the host's input is applied last: f(W (l * x)) is first f on W, then l on its columns.
    """
    wide = torch.promote_types(weight.dtype, torch.float32)
    weight = weight.detach().to(wide, copy=True)
    bias = None if bias is None else bias.detach().to(wide, copy=True)
    with torch.no_grad():
        for merging in sorted(found, key=lambda each: each.adapter.changes_input):
            part = slice(*(merging.columns or (0, len(weight))))
            adapter = copy.deepcopy(merging.adapter).to(wide)
            old_bias = None if bias is None else bias[part]
            new_weight, new_bias = adapter.merged(weight[part], old_bias)
            if new_weight.shape != weight[part].shape:
                raise ArtifactError(
                    f"{merging.name} at {path} changes a weight of shape {tuple(new_weight.shape)}, "
                    f"but there it is {tuple(weight[part].shape)}."
                )
            weight[part] = new_weight
            if new_bias is not None:
                if bias is None:
                    raise ArtifactError(f"{merging.name} needs a bias, and {path} has none.")
                bias[part] = new_bias
    return weight, bias


def _parameters(host: nn.Module, path: str) -> tuple[nn.Parameter, nn.Parameter | None]:
    """Weight and bias of a host that is nothing but a product with its weight."""
    weight, kind = host._parameters.get("weight"), type(host)
    if weight is None or isinstance(weight, UninitializedParameter):
        raise ArtifactError(f"{path} is a {kind.__name__}; only layers with a weight of their own can be merged into.")
    if is_quantised(host):
        raise ArtifactError(
            f"{path} keeps its weight as codes ({kind.__name__}, {type(weight).__name__}); rounding a merged weight to "
            "codes again would lose much of the adapter.",
            hint="Load the backbone unquantised and merge there, or export the adapters instead.",
        )
    plain = any(isinstance(host, known) and kind.forward is known.forward for known in PLAIN)
    plain = plain and getattr(host, "padding_mode", "zeros") == "zeros"
    if not plain and kind.__name__ not in EQUIVALENT:
        raise ArtifactError(
            f"{path} is a {kind.__name__}, which does more than multiply by its weight, so a merged weight may not "
            "give what the adapter gives.",
            hint="Linear layers, convolutions and embeddings can be merged into; export the adapters instead.",
        )
    if getattr(host, "max_norm", None) is not None:
        raise ArtifactError(f"{path} rescales its rows to max_norm, which would change what was merged.")
    return weight, host._parameters.get("bias")


def _refuse_unmergeable(by_host: dict[str, list[Merging]]) -> None:
    named: dict[bool, set[str]] = {True: set(), False: set()}
    for found in by_host.values():
        for each in found:
            named[each.adapter.mergeable].add(f"{each.name} ({type(each.adapter).__name__})")
    if named[False]:
        can = f"; of these adapters {', '.join(sorted(named[True]))} could" if named[True] else ""
        raise ArtifactError(
            f"cannot be merged into weights: {', '.join(sorted(named[False]))}.",
            hint=f"Only weight-space adapters such as LoRA can{can}. Export the adapters instead.",
        )


def _refuse_order(host: nn.Module, path: str, found: list[Merging]) -> None:
    """Merging in order must give what running in order gives. The weights of experts change inside of all the rest."""
    if any(merging.parameter for merging in found):
        return
    for index, merging in enumerate(found):
        if merging.adapter.changes_input and merging.columns is not None:
            raise ArtifactError(
                f"{merging.name} scales what all of the fused projection {path} reads.",
                hint='Only the whole projection can have on = "input".',
            )
        before = [each for each in found[:index] if each.meets(merging) and not each.adapter.changes_input]
        if merging.adapter.reads_weight and before:
            raise ArtifactError(
                f"{merging.name} at {path} measures the frozen weight, but {before[0].name} changes what that weight "
                "gives before it; no merged weight does the same.",
                hint=f"Insert {merging.name} before {before[0].name}.",
            )
    names = [merging.name for merging in found]
    last = max(list(adapters_of(host)).index(name) for name in names)
    for index, (name, adapter) in enumerate(adapters_of(host).items()):
        if name not in names and not _may_stay(adapter, bindings(host)[name].when, index > last, found):
            raise ArtifactError(
                f"{path} also carries {name!r} of another insertion, which reads what the merged adapters change.",
                hint="Merge or remove that insertion first.",
            )


def _may_stay(adapter: Adapter, when: str, last: bool, found: list[Merging]) -> bool:
    """An adapter that is not merged still sees what it saw: it runs outside of those that are."""
    inputs_change = any(merging.adapter.changes_input for merging in found)
    if when == "before":
        return not inputs_change
    return last and not adapter.reads_weight and not (adapter.reads_input and inputs_change)


def _refuse_undone(model: nn.Module, receipt: Receipt, changes: list[tuple[nn.Parameter, Tensor]]) -> None:
    """An insertion that keeps a copy of a parameter puts it back when it is removed, and would undo the merge."""
    undone = would_undo(model, receipt.insertion, {id(parameter) for parameter, _ in changes})
    names = [name for name, parameter in model.named_parameters() if id(parameter) in undone]
    if names:
        raise ArtifactError(
            f"another insertion unfroze {names[0]} and kept its value; removing it would undo the merge.",
            hint="Merge or remove that insertion first.",
        )


def _refuse_shared(path: str, parameter: nn.Parameter, owners: dict[int, list[str]]) -> None:
    others = [owner for owner in owners[id(parameter)] if owner != path]
    if others:
        raise ArtifactError(
            f"a weight of {path} is shared with {others[0]}; merging would change that one too.",
            hint="Export the adapters instead.",
        )
