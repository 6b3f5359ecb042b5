"""Several artifacts of one recipe as one: averages, sums, and merges that settle what they disagree about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from adaptkit.adapters.base import Fits
from adaptkit.artifact.continuing import refuse_other_options
from adaptkit.artifact.export import refuse_destination
from adaptkit.artifact.identity import refuse_other_inputs, refuse_other_models
from adaptkit.artifact.load import rebuild
from adaptkit.artifact.reading import Artifact, artifact_folder, difference, forms, read_artifact
from adaptkit.artifact.save import as_told, save_artifact
from adaptkit.errors import ArtifactError, UsageError, nearest
from adaptkit.model import AdaptedModel, build_model

# N artifacts, P numbers of a tensor

DENSITY = 0.5  # share of the numbers that ties and dare keep


def linear(values: Tensor, weights: Tensor, density: float, chance: torch.Generator) -> Tensor:
    """(N, P), (N,) -> (P,), the sum of each times its weight. With weights 1 and -1, one is taken from the other."""
    return (values * weights[:, None]).sum(0)


def average(values: Tensor, weights: Tensor, density: float, chance: torch.Generator) -> Tensor:
    """(N, P), (N,) -> (P,), the sum of each times its share of the weights."""
    return linear(values, weights / weights.sum(), density, chance)


def ties(values: Tensor, weights: Tensor, density: float, chance: torch.Generator) -> Tensor:
    """(N, P), (N,) -> (P,): the largest of each artifact, of the sign that has more of them, averaged.

    Trim, elect sign, disjoint mean (Yadav et al. 2023, TIES-Merging, section 3), by weight.
    """
    count = max(1, round(density * values.shape[1]))
    least = values.abs().kthvalue(values.shape[1] - count + 1, dim=1, keepdim=True).values
    weighted = torch.where(values.abs() >= least, values, 0) * weights[:, None]
    agrees = (weighted.sign() == weighted.sum(0).sign()) & (weighted != 0)
    shares = torch.where(agrees, weights[:, None].abs(), 0).sum(0)
    return torch.where(agrees, weighted, 0).sum(0) / torch.where(shares == 0, 1, shares)


def dare(values: Tensor, weights: Tensor, density: float, chance: torch.Generator) -> Tensor:
    """(N, P), (N,) -> (P,): numbers dropped at random, the rest scaled up, then the average.

    Drop and rescale (Yu et al. 2024, DARE, section 3.2).
    """
    kept = torch.rand(values.shape, generator=chance) < density
    return average(torch.where(kept, values / density, 0), weights, density, chance)


METHODS: dict[str, Callable[[Tensor, Tensor, float, torch.Generator], Tensor]] = {
    "average": average,
    "linear": linear,
    "task-arithmetic": linear,
    "ties": ties,
    "dare": dare,
    "svd": average,
}
# What these methods combine are changes: what was trained of the backbone counts from its published value.
OF_CHANGES = ("task-arithmetic", "ties", "dare")
OF_PRODUCTS = "svd"  # the products of low-rank adapters, of which the factors are made anew
AVERAGING = ("average", "dare", "svd")


def combine(
    sources: Sequence[Path],
    destination: Path,
    *,
    method: str = "average",
    weights: Sequence[float] | None = None,
    density: float = DENSITY,
    seed: int = 0,
    force: bool = False,
) -> Path:
    """Write one artifact that is made of several, tensor by tensor; complete or not at all.

    All belong to the same backbone and are of the same function: kinds, options, sites, inputs, labels. Computed in
    float64, so that an average of an artifact with itself is that artifact, bit for bit.

    Args:
        sources: run or artifact folders, two or more; the recipe is that of the first.
        destination: the artifact.
        method: "average", "linear", "task-arithmetic", "ties", "dare" or "svd".
        weights: one for each source; 1 for all by default.
        density: share of the numbers that "ties" and "dare" keep.
        seed: of what "dare" drops.
        force: replace what is there.

    Raises:
        UsageError: fewer than two sources, an unknown method, other numbers of weights, a density that is none.
        ArtifactError: they do not fit together, by name.
        RunError: the folder is there (without `force`) or cannot be written.
    """
    weights = [1.0] * len(sources) if weights is None else list(weights)
    _check(sources, method, weights, density)
    first, *others = (read_artifact(artifact_folder(source)) for source in sources)
    for source in sources:
        refuse_destination(destination, artifact_folder(source), force)
    model = rebuild(first)
    published = _published(model, first)
    model.load_trainable_state({**first.tensors, **published})  # the backbone that all were trained on
    for other in others:
        _refuse_other(model, first, other)
    chance = torch.Generator().manual_seed(seed)
    products = _products(model, (first, *others), weights) if method == OF_PRODUCTS else {}
    state = dict(first.tensors)  # counts and codes are those of the first
    for name, like in first.tensors.items():
        if like.is_floating_point() and like.numel():
            start = (published if method in OF_CHANGES else {}).get(name, torch.zeros(())).double().flatten()
            values = torch.stack([each.tensors[name].double().flatten() for each in (first, *others)]) - start
            combined = METHODS[method](values, torch.tensor(weights, dtype=torch.float64), density, chance) + start
            state[name] = combined.view(like.shape).to(like.dtype)
    model.load_trainable_state(state)
    lost = max((left for adapter, change in products.items() if (left := adapter.fit(change)) is not None), default=0.0)
    shares = ", ".join(f"{weight:g} x {source}" for weight, source in zip(weights, sources, strict=True))
    cut = f" The rank leaves out up to {lost:.2g} of a change." if products else ""
    told = {"metrics": None, "seed": None, "note": f"Combined by {method}: {shares}.{cut}"}
    return save_artifact(model, destination, force=force, **as_told(first.description) | told)


def _published(model: AdaptedModel, artifact: Artifact) -> dict[str, Tensor]:
    """The values that trained parts of the backbone and of towers had before: name -> value."""
    names = [name for name in artifact.tensors if not model.is_own(name)]
    before = build_model(model.plan).state_dict() if names else {}
    return {name: before[name] for name in names}


def _products(model: AdaptedModel, artifacts: Sequence[Artifact], weights: Sequence[float]) -> dict[Fits, Tensor]:
    """The average change of every weight by an adapter that can become the nearest to another change.

    Raises:
        UsageError: there is no such adapter.
    """
    found: dict[Fits, Tensor] = {}
    for artifact, weight in zip(artifacts, weights, strict=True):
        model.load_trainable_state(artifact.tensors)
        for module in (module for module in model.modules() if isinstance(module, Fits)):
            if module.fit(change := _change(module)) is not None:
                found[module] = found.get(module, torch.zeros(())) + change * (weight / sum(weights))
    if not found:
        raise UsageError("there is no low-rank adapter whose product it could take.", where="--method svd")
    return found


@torch.no_grad()
def _change(adapter: Fits) -> Tensor:
    return adapter.delta_weight().double()


def _refuse_other(model: AdaptedModel, first: Artifact, other: Artifact) -> None:
    """Raise ArtifactError where the values of one mean something else in the other."""
    where, told = str(other.folder), other.description
    refuse_other_models(told, model, where=where)
    refuse_other_inputs(told, model, where=where)
    if told.labels != first.description.labels:
        raise ArtifactError(f"has the labels {told.labels}, not {first.description.labels}.", where=where)
    if (found := forms(other.tensors)) != (wanted := forms(first.tensors)):
        raise ArtifactError(
            f"has other tensors than {first.folder}: {difference(found, wanted)}.",
            where=where,
            hint="Only artifacts of one recipe can be combined.",
        )
    refuse_other_options(model.plan, other, first.tensors.keys(), where)


def _check(sources: Sequence[Path], method: str, weights: Sequence[float], density: float) -> None:
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}.", where="--method", hint=nearest(method, METHODS))
    if len(sources) < 2:
        raise UsageError("needs two artifacts or more.", where=f"--method {method}")
    if len(weights) != len(sources):
        raise UsageError(f"{len(weights)} weights for {len(sources)} artifacts.", where="--weights")
    if not all(map(torch.isfinite, torch.tensor(weights))) or (method in AVERAGING and sum(weights) == 0):
        raise UsageError(
            f"weights of {weights} give no average.", where="--weights", hint='"linear" takes any numbers.'
        )
    if not 0 < density <= 1:
        raise UsageError(f"a density of {density} is no share.", where="--density", hint="Write one in (0, 1].")
