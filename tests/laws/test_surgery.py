"""The laws of surgery, for every adapter on every family (docs/surgery.md lists them)."""

from __future__ import annotations

import copy
import pickle
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from adaptkit import sides
from adaptkit.adapters import ADAPTERS
from adaptkit.artifact import merge
from adaptkit.errors import ArtifactError
from adaptkit.surgery import insert, remove
from adaptkit.surgery.hooks import Adapters
from tests.laws.cases import CASES, Case, side_inputs, total
from tests.laws.families import FAMILIES, Family, outputs

CELLS = [
    pytest.param(family, case, id=f"{family.name}-{case.name}")
    for family in FAMILIES.values()
    for case in CASES.values()
    if case.conv_at or not family.convolutional
]


@contextmanager
def laid_out():
    with sides.use_sides(side_inputs()):
        yield


def run(model: nn.Module, family: Family) -> tuple[torch.Tensor, ...]:
    with laid_out():
        return outputs(model, family.inputs())


def equal(left, right) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def stirred(model: nn.Module) -> nn.Module:
    """Adapters away from their initial values, so that they have an effect."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".adapters." in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def inserted(family: Family, case: Case) -> nn.Module:
    model = family.build()
    insert(model, case.grafts(family), seed=5)
    return model


@pytest.mark.parametrize(("family", "case"), CELLS)
def test_insertion_is_the_identity_and_can_be_undone(family: Family, case: Case) -> None:
    model = family.build()
    grafts = case.grafts(family)
    assert grafts, "every placement exists in every family of its kind"
    keys, before = list(model.state_dict()), run(model, family)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    receipt = insert(model, grafts, seed=5)

    after = run(model, family)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(before, after, strict=True)), "identity at init"
    assert [key for key in model.state_dict() if ".adapters." not in key] == keys, "base keys unchanged"
    assert sum(isinstance(module, Adapters) for module in model.modules()) > 0

    stirred(model)
    assert not equal(run(model, family), before), "the adapters act"
    remove(model, receipt)
    assert equal(run(model, family), before), "outputs restored bit for bit"
    assert list(model.state_dict()) == keys
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for module in model.modules():
        assert not any(hook.__module__.startswith("adaptkit") for hook in module._forward_hooks.values())
        assert not any(hook.__module__.startswith("adaptkit") for hook in module._forward_pre_hooks.values())
        assert not any(name.startswith("adapter") for name in vars(module))
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("family", "case"), CELLS)
def test_training_moves_every_adapter_parameter_and_nothing_else(family: Family, case: Case) -> None:
    model = inserted(family, case)
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    own = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert own
    assert all(".adapters." in name for name in own)
    optimizer = torch.optim.Adam(own.values(), lr=1e-2)
    moved: set[str] = set()
    for _ in range(2):
        optimizer.zero_grad()
        total(run(model, family)).backward()
        moved |= {name for name, p in own.items() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    assert own.keys() - moved == set(), "every trainable parameter gets a gradient within two steps"
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())
    assert all(now[name].grad is None for name in frozen)


@pytest.mark.parametrize(("family", "case"), CELLS)
def test_copies_and_pickles_are_independent(family: Family, case: Case) -> None:
    model = stirred(inserted(family, case))
    expected = run(model, family)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert equal(run(twin, family), expected)
        with torch.no_grad():
            for name, parameter in twin.named_parameters():
                if ".adapters." in name:
                    parameter.add_(1.0)
        assert not equal(run(twin, family), expected), "the copy runs its own adapters"
    assert equal(run(model, family), expected), "the original is untouched"


@pytest.mark.parametrize(("family", "case"), CELLS)
def test_saved_adapters_reproduce_the_outputs_bitwise(family: Family, case: Case) -> None:
    model = stirred(inserted(family, case))
    saved = {name: value.clone() for name, value in model.state_dict().items() if ".adapters." in name}
    other = family.build()
    insert(other, case.grafts(family), seed=99)
    missing, unexpected = other.load_state_dict(saved, strict=False)
    assert not unexpected
    assert all(".adapters." not in name for name in missing)
    assert equal(run(other, family), run(model, family))


@pytest.mark.parametrize(("family", "case"), CELLS)
def test_the_seed_alone_decides_the_initial_values(family: Family, case: Case) -> None:
    grafts = case.grafts(family)
    models = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        model = family.build()
        insert(model, grafts, seed=5)
        models.append({n: v for n, v in model.state_dict().items() if ".adapters." in n})
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())


@pytest.mark.parametrize(
    ("family", "case"), [cell for cell in CELLS if cell.values[1].name in ("lora", "parallel", "gmu_gates")]
)
def test_half_precision_backbone(family: Family, case: Case) -> None:
    """Adapters in float32 on a bfloat16 backbone: values close to float32, the stream's own dtype out."""
    exact = stirred(inserted(family, case))
    half = family.build().bfloat16()
    insert(half, case.grafts(family), seed=5)
    stirred(half)
    inputs = {k: v.bfloat16() if v.is_floating_point() else v for k, v in family.inputs().items()}
    with laid_out():
        rounded = outputs(half, inputs)
    for low, high in zip(rounded, run(exact, family), strict=True):
        assert low.dtype == torch.bfloat16
        error = (low.float() - high).norm() / high.norm()
        assert error < 0.1, f"relative error {error:.3f}"


MERGEABLE = [cell for cell in CELLS if ADAPTERS[cell.values[1].kind].mergeable]
UNMERGEABLE = [pytest.param(case, id=name) for name, case in CASES.items() if not ADAPTERS[case.kind].mergeable]


@pytest.mark.parametrize(("family", "case"), MERGEABLE)
def test_merged_equals_unmerged(family: Family, case: Case) -> None:
    """Also into slices of fused projections and into GPT-2's transposed layers; nothing of the adapter is left."""
    plain = family.build()
    keys = list(plain.state_dict())
    model = family.build()
    receipt = insert(model, case.grafts(family), seed=5)
    expected = run(stirred(model), family)
    merge(model, receipt)
    found = run(model, family)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))
    assert not equal(found, run(plain, family)), "the weights have changed"
    assert list(model.state_dict()) == keys
    hosts = {f"{graft.site.path}.weight" for graft in case.grafts(family)}
    for name, value in model.state_dict().items():
        assert torch.equal(value, plain.state_dict()[name]) == (name not in hosts), name


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if not ADAPTERS[case.kind].mergeable], ids=lambda case: case.name
)
def test_what_cannot_be_merged_is_refused_and_stays(case: Case) -> None:
    family = FAMILIES["bert"]
    model = family.build()
    receipt = insert(model, case.grafts(family), seed=5)
    before = run(stirred(model), family)
    with pytest.raises(ArtifactError, match="cannot be merged"):
        merge(model, receipt)
    assert equal(run(model, family), before)
