"""Folding weight-space adapters into the weights they change, so that nothing of them is left to compute."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from adaptkit.adapters.base import Adapter
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel
from adaptkit.surgery import Receipt, remove
from adaptkit.surgery.hooks import carried

# O outputs of a projection, I inputs


def merge(model: AdaptedModel | nn.Module, receipt: Receipt | None = None) -> None:
    """Fold every adapter into its host's weight and take it out of the model.

    W' = W + sum of deltas, computed in float32 (or the weight's own type if that is wider) and rounded once.
    All checks precede the first change, so after an error the model is what it was.

    Args:
        model: an adapted model, or whatever adapters were inserted into.
        receipt: what `insert` returned; an adapted model has its own.

    Raises:
        ArtifactError: an adapter cannot be merged, a weight is shared with another module, or a merged weight
            would not be finite.
    """
    if isinstance(model, AdaptedModel):
        after_backbone = nn.ModuleDict({"fusion": model.fusion})
        _refuse_unmergeable(list(_adapters(after_backbone, model.fusion_receipt)))
        merge(model.backbone, model.receipt)
        model.receipt = Receipt((), (), model.receipt.trainable)
        return
    assert receipt is not None, "a plain model needs the receipt of its insertion"
    adapters = list(_adapters(model, receipt))
    _refuse_unmergeable(adapters)
    if not adapters:
        raise ArtifactError("there is no adapter to merge.", hint="Was it merged already?")
    by_host: dict[str, list[tuple[str, Adapter]]] = defaultdict(list)
    for path, name, adapter in adapters:
        by_host[path].append((name, adapter))
    merged = {path: _merged_weight(model, path, found) for path, found in by_host.items()}
    with torch.no_grad():
        for path, weight in merged.items():
            model.get_submodule(path).get_parameter("weight").copy_(weight)
    remove(model, receipt)


def _adapters(model: nn.Module, receipt: Receipt) -> Iterator[tuple[str, str, Adapter]]:
    for path, name in receipt.grafts:
        found = carried(model.get_submodule(path))
        if name not in found:
            raise ArtifactError(f"{path} carries no adapter {name!r}.", hint="Was it merged or removed already?")
        adapter = found[name]
        assert isinstance(adapter, Adapter)
        yield path, name, adapter


def _refuse_unmergeable(adapters: list[tuple[str, str, Adapter]]) -> None:
    refused = sorted({f"{name} ({type(adapter).__name__})" for _, name, adapter in adapters if not adapter.mergeable})
    if refused:
        raise ArtifactError(
            f"cannot be merged into weights: {', '.join(refused)}.",
            hint="Only weight-space adapters such as LoRA can; export the adapters instead.",
        )


def _merged_weight(model: nn.Module, path: str, adapters: list[tuple[str, Adapter]]) -> Tensor:
    """The host's weight with its adapters' deltas, in the host's own layout and type."""
    host = model.get_submodule(path)
    weight = getattr(host, "weight", None)
    if not isinstance(weight, Tensor) or isinstance(weight, UninitializedParameter) or weight.dim() != 2:
        raise ArtifactError(f"{path} is a {type(host).__name__}; only linear layers can be merged into.")
    if not weight.is_floating_point():
        raise ArtifactError(f"the weight of {path} is {weight.dtype}; merging into quantised weights loses too much.")
    _refuse_shared(model, path, host)
    transposed = type(host).__name__ == "Conv1D"  # GPT-2's layer keeps (I, O)
    wide = torch.promote_types(weight.dtype, torch.float32)
    result = weight.detach().to(wide, copy=True)
    rows = result.T if transposed else result  # (O, I), a view
    for name, adapter in adapters:
        delta = adapter.delta_weight().detach().to(rows)
        start, stop = getattr(adapter.port, "columns", None) or (0, rows.shape[0])
        if delta.shape != rows[start:stop].shape:
            raise ArtifactError(
                f"{name} at {path} changes a weight of shape {tuple(delta.shape)}, "
                f"but there it is {tuple(rows[start:stop].shape)}."
            )
        rows[start:stop] += delta
    result = result.to(weight.dtype)
    if not bool(torch.isfinite(result).all()):
        names = ", ".join(name for name, _ in adapters)
        raise ArtifactError(f"merging {names} into {path} would give NaN or infinity; the model is unchanged.")
    return result


def _refuse_shared(model: nn.Module, path: str, host: nn.Module) -> None:
    weight = host.weight
    for other, module in model.named_modules(remove_duplicate=False):
        if other != path and any(parameter is weight for parameter in module.parameters(recurse=False)):
            raise ArtifactError(
                f"the weight of {path} is shared with {other}; merging would change that one too.",
                hint="Export the adapters instead.",
            )
