"""The laws of surgery, each a function that raises AssertionError where an adapter in a model breaks it.

`make test` runs them on representative models, `make conformance` on all.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.artifact import merge
from adaptkit.errors import ArtifactError
from adaptkit.sides import Side
from adaptkit.surgery import Graft, Receipt, insert, remove
from adaptkit.surgery.hooks import Adapters
from tests.laws.cases import SPANS, TASKS, Case, side_inputs, total
from tests.laws.families import Family, calm_outputs

Outputs = tuple[Tensor, ...]


class NotApplicableError(Exception):
    """The plain model cannot do what the law is about; the message says why."""


@dataclass(frozen=True)
class Cell:
    """One adapter in one model."""

    family: Family
    case: Case

    @cached_property
    def grafts(self) -> tuple[Graft, ...]:
        return self.case.grafts(self.family)

    def inserted(self, model: nn.Module | None = None, seed: int = 5) -> tuple[nn.Module, Receipt]:
        model = self.family.fresh() if model is None else model
        unfrozen = self.case.unfrozen(model)
        assert self.grafts or unfrozen, "the placement exists"
        return model, insert(model, self.grafts, unfrozen=unfrozen, seed=seed)

    def run(self, model: nn.Module, inputs: dict[str, Tensor] | None = None, row: int | None = None) -> Outputs:
        """The outputs, for every task where the case tells tasks apart; of one sample alone if `row` is given."""
        given = self.family.inputs() if inputs is None else inputs
        laid_out = side_inputs(samples(given))
        if row is not None:
            one = slice(row, row + 1)
            given = {name: value[one] for name, value in given.items()}
            laid_out = {n: Side(s.tensor[one], s.mask[one], s.present[one]) for n, s in laid_out.items()}
        found: Outputs = ()
        for task in TASKS if self.case.tasks else (None,):
            with sides.use_sides(laid_out, task=task, spans=SPANS):
                found += calm_outputs(model, given)
        return found

    def own(self, model: nn.Module) -> set[str]:
        """Names of the parameters that this case adds or moves."""
        return {name for name, _ in model.named_parameters() if ".adapters." in f".{name}"} | set(
            self.case.unfrozen(model)
        )


def samples(inputs: dict[str, Tensor]) -> int:
    """How many samples a batch has; vision-language models flatten their images, never their words."""
    key = next((key for key in ("input_ids", "decoder_input_ids") if key in inputs), next(iter(inputs)))
    return len(inputs[key])


def equal(left: Outputs, right: Outputs) -> bool:
    """Bit for bit; NaN equals NaN, as masked-out places of some models are."""
    return len(left) == len(right) and all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(left, right, strict=True)
    )


def close(left: Outputs, right: Outputs, tolerance: float = 1e-5) -> bool:
    """Within a tolerance relative to the largest value."""
    return len(left) == len(right) and all(
        (a.nan_to_num() - b.nan_to_num()).abs().amax() <= tolerance * (1 + b.nan_to_num().abs().amax())
        for a, b in zip(left, right, strict=True)
    )


def stirred(model: nn.Module, names: set[str]) -> nn.Module:
    """What can be trained away from its initial values, so that it has an effect."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in names and parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
    return model


def identity_and_undo(cell: Cell) -> None:
    """Identity at init (unless declared otherwise), base keys unchanged, and `remove` restores everything."""
    model = cell.family.fresh()
    keys, before = list(model.state_dict()), cell.run(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    attributes = {name: ours(module) for name, module in model.named_modules()}
    model, receipt = cell.inserted(model)
    if cell.case.identity:
        assert close(cell.run(model), before), "identity at init"
    assert [key for key in model.state_dict() if ".adapters." not in f".{key}"] == keys, "base keys unchanged"
    stirred(model, cell.own(model))
    assert not equal(cell.run(model), before), "the adapters act"
    remove(model, receipt)
    assert equal(cell.run(model), before), "outputs restored bit for bit"
    assert list(model.state_dict()) == keys, "keys restored"
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items()), "values restored"
    assert {name: ours(module) for name, module in model.named_modules()} == attributes, "no attribute is left"
    for module in model.modules():
        hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
        assert not any(hook.__module__.startswith("adaptkit") for hook in hooks), "no hook is left"
        assert not isinstance(module, Adapters), "no container is left"
    assert [name for name, p in model.named_parameters() if p.requires_grad] == trainable, "requires_grad restored"


def ours(module: nn.Module) -> set[str]:
    """Attributes of a module that could be ours."""
    return {name for name in vars(module) if "adapt" in name}


def training(cell: Cell) -> None:
    """Every trainable parameter gets a gradient within two steps, and no frozen bit changes."""
    model, _ = cell.inserted()
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert own, "something is trainable"
    assert own.keys() <= cell.own(model), "only what the case names is trainable"
    unused = unused_places(cell)
    optimizer = torch.optim.Adam(own.values(), lr=1e-3)
    moved: set[str] = set()
    for _ in range(2):
        optimizer.zero_grad()
        total(cell.run(model)).backward()
        moved |= {name for name, p in own.items() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    still = {name for name in own.keys() - moved if host_of(name) not in unused}
    assert not still, f"no gradient in two steps: {sorted(still)[:3]}"
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items()), "frozen bits"
    assert all(now[name].grad is None for name in frozen), "frozen parameters get no gradient"


def unused_places(cell: Cell) -> set[str]:
    """Modules and parameters that get no gradient in the plain model either: it makes no use of what they return."""
    model = cell.family.fresh()
    total(cell.run(model)).backward()
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    for name, module in model.named_modules():
        own = [f"{name}.{inner}".removeprefix(".") for inner, _ in module.named_parameters()]
        if own and still.issuperset(own):
            still = still | {name}
    return still


def host_of(name: str) -> str:
    return name.partition(".adapters.")[0]


def copies(cell: Cell) -> None:
    """Deep copies run adapters of their own."""
    model, _ = cell.inserted()
    runs_its_own(cell, stirred(model, cell.own(model)), copy.deepcopy(model))


def pickles(cell: Cell) -> None:
    """Pickles run adapters of their own."""
    try:
        pickle.dumps(cell.family.fresh())
    except Exception as error:
        raise NotApplicableError("the plain model cannot be pickled") from error
    model, _ = cell.inserted()
    runs_its_own(cell, stirred(model, cell.own(model)), pickle.loads(pickle.dumps(model)))


def runs_its_own(cell: Cell, model: nn.Module, twin: nn.Module) -> None:
    expected = cell.run(model)
    assert equal(cell.run(twin), expected), "the copy gives the same outputs"
    own = cell.own(twin)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if name in own and parameter.requires_grad:
                # Not one constant: a norm behind it would take that out again.
                parameter.add_(torch.linspace(0.25, 0.75, parameter.numel()).view_as(parameter))
    assert not equal(cell.run(twin), expected), "the copy runs its own adapters"
    assert equal(cell.run(model), expected), "the original is untouched"


def saving(cell: Cell) -> None:
    """Saved adapters put into another model reproduce the outputs bitwise; the seed alone decides initial values."""
    model, _ = cell.inserted()
    torch.manual_seed(17)
    other, _ = cell.inserted()
    first, second = model.state_dict(), other.state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items()), "the seed decides"
    own = cell.own(model)
    stirred(model, own)
    saved = {name: value.clone() for name, value in model.state_dict().items() if name in own or ".adapters." in name}
    different, _ = cell.inserted(seed=99)
    missing, unexpected = different.load_state_dict(saved, strict=False)
    assert not unexpected
    assert all(".adapters." not in name for name in missing), "every tensor was saved"
    assert equal(cell.run(different), cell.run(model)), "outputs reproduced bitwise"


def samples_apart(cell: Cell) -> None:
    """A sample gives the same alone as in a batch: every row of the stream reads the sides of its own sample."""
    inputs = cell.family.inputs()
    batch = samples(inputs)
    if any(len(value) != batch for value in inputs.values()):
        raise NotApplicableError("its inputs are not one row per sample")
    dtype, inputs = precise(cell.family)
    if not apart(cell, cell.family.fresh().to(dtype), inputs, batch):
        raise NotApplicableError("the samples of the plain model depend on each other")
    model, _ = cell.inserted()
    assert apart(cell, stirred(model, cell.own(model)).to(dtype), inputs, batch)


def apart(cell: Cell, model: nn.Module, inputs: dict[str, Tensor], batch: int) -> bool:
    """Whether every output with one row per sample is the same for one sample alone."""
    together = cell.run(model, inputs)
    rows = [index for index, value in enumerate(together) if value.dim() > 1 and len(value) == batch]
    if not rows:
        raise NotApplicableError("its outputs are not one row per sample")
    for row in range(batch):
        try:
            alone = cell.run(model, inputs, row)
        except (RuntimeError, ValueError) as error:
            raise NotApplicableError("the plain model does not take one sample") from error
        if not all(close((together[index][row : row + 1],), (alone[index],), 1e-4) for index in rows):
            return False
    return True


def precise(family: Family) -> tuple[torch.dtype, dict[str, Tensor]]:
    """float64 and inputs in it, where the plain model runs in it: fused experts do not.

    Deep stacks of batch norms amplify the rounding of float32 beyond any useful tolerance.
    """
    inputs = {name: value.double() if value.is_floating_point() else value for name, value in family.inputs().items()}
    try:
        calm_outputs(family.fresh().double(), inputs)
    except RuntimeError:
        return torch.float32, family.inputs()
    return torch.float64, inputs


def half_precision(cell: Cell) -> None:
    """On a bfloat16 backbone the values stay as close to float32 as those of the plain model do."""
    exact, _ = cell.inserted()
    expected = cell.run(stirred(exact, cell.own(exact)))
    inputs = {k: v.bfloat16() if v.is_floating_point() else v for k, v in cell.family.inputs().items()}
    try:
        plain = calm_outputs(cell.family.fresh().bfloat16(), inputs)
    except Exception as error:
        raise NotApplicableError("the plain model does not run in bfloat16") from error
    limit = max(0.15, 3 * max(map(distance, plain, calm_outputs(cell.family.fresh(), cell.family.inputs()))))
    half, _ = cell.inserted(cell.family.fresh().bfloat16())
    rounded = cell.run(stirred(half, cell.own(half)), inputs)
    for low, base in zip(rounded, plain * 2, strict=False):
        assert low.dtype == base.dtype, "the stream keeps its own dtype"
    errors = [distance(low, high) for low, high in zip(rounded, expected, strict=True)]
    if max(errors) > limit:  # an ill-conditioned model moves as far when its weights alone are rounded
        between, _ = cell.inserted(cell.family.fresh().bfloat16().float())
        found = cell.run(stirred(between, cell.own(between)))
        limit = max(limit, 4 * max(map(distance, found, expected)))
    assert max(errors) <= limit, f"relative error {max(errors):.3f}"


def distance(low: Tensor, high: Tensor) -> float:
    """Relative error, of the norm or of the median value: a router that rounds to another expert moves few far."""
    low, high = low.detach().double().nan_to_num(), high.detach().double().nan_to_num()
    of_norm = (low - high).norm() / high.norm().clamp(min=1e-6)
    median = high.abs().median()
    return float(torch.minimum(of_norm, (low - high).abs().median() / median) if median > 0 else of_norm)


def merging(cell: Cell) -> None:
    """Merged equals unmerged, nothing of the adapter is left, only its hosts have changed; or merging is refused."""
    plain = cell.family.fresh()
    keys = list(plain.state_dict())
    model, receipt = cell.inserted()
    dtype, inputs = precise(cell.family)
    model = stirred(model, cell.own(model)).to(dtype)
    expected = cell.run(model, inputs)
    try:
        merge(model, receipt)
    except ArtifactError:  # a shared weight, or a layer that does more than multiply by it: refused, and unchanged
        assert equal(cell.run(model, inputs), expected), "a refused merge changes nothing"
        return
    plain = plain.to(dtype)
    found = cell.run(model, inputs)
    assert close(found, expected, 1e-6 if dtype == torch.float64 else 2e-5), "merged equals unmerged"
    assert not equal(found, cell.run(plain, inputs)), "the weights have changed"
    assert list(model.state_dict()) == keys
    hosts = {graft.site.path for graft in cell.grafts}
    for name, value in model.state_dict().items():
        changed = not torch.equal(value, plain.state_dict()[name])
        assert not changed or name.rpartition(".")[0] in hosts, f"{name} is no host"


LAWS: dict[str, Callable[[Cell], None]] = {
    law.__name__: law
    for law in (identity_and_undo, training, copies, pickles, saving, samples_apart, half_precision, merging)
}


def applies(law: str, case: Case) -> bool:
    """Whether a law says anything about a case."""
    if law == "samples_apart":
        return bool(case.sides)
    return law != "merging" or case.mergeable
