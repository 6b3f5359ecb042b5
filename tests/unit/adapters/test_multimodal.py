"""Multimodal adapters by themselves: masks, absent modalities, identity, learning, members, what they refuse."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from adaptkit.adapters import GMU, MAG, Adapter, AdapterFusion, Bottleneck, CrossAttention, Parallel, Wander
from adaptkit.adapters.base import Shape
from adaptkit.errors import SiteError
from adaptkit.sides import Side, Sides

# B batch, T tokens of the stream, S tokens of a sequence, D width, E width of a side
B, T, S, D, E = 3, 5, 4, 12, 7

HOST = Shape(D, T)
ONE, TWO = {"a": Shape(E, S)}, {"a": Shape(E, S), "b": Shape(3, 1)}
MEMBERS = {"adapter_x": Shape(D), "adapter_y": Shape(D), "adapter_z": Shape(D)}

# Adapters that read modalities, each with sides that suit it.
READERS: dict[str, tuple[Callable[[dict[str, Shape]], Adapter], dict[str, Shape]]] = {
    "cross_attention": (lambda sides: CrossAttention(HOST, sides, heads=2, bottleneck=6), TWO),
    "cross_attention_tanh": (lambda sides: CrossAttention(HOST, sides, gate="tanh"), ONE),
    "cross_attention_plain": (lambda sides: CrossAttention(HOST, sides, heads=1, norm_sides=False), TWO),
    "gmu": (lambda sides: GMU(HOST, sides, bottleneck=4), ONE),
    "gmu_gates": (lambda sides: GMU(HOST, sides, bottleneck=4), TWO),
    "gmu_classic": (lambda sides: GMU(HOST, sides, bottleneck=4, form="classic"), TWO),
    "mag": (lambda sides: MAG(HOST, sides), {"a": Shape(E, 1), "b": Shape(3, T)}),
    "wander": (lambda sides: Wander(HOST, sides, rank=3, drank=2, trank=2), TWO),
}
FUSERS: dict[str, Callable[[], Adapter]] = {
    "attention": lambda: AdapterFusion(HOST, MEMBERS),
    "attention_dropout": lambda: AdapterFusion(HOST, MEMBERS, dropout=0.5),
    "gates": lambda: AdapterFusion(HOST, MEMBERS, form="gmu", bottleneck=4),
    "sum": lambda: Parallel(HOST, MEMBERS),
    "mean": lambda: Parallel(HOST, MEMBERS, combine="mean", weights="learned"),
}


def reader(name: str) -> tuple[Adapter, dict[str, Shape]]:
    build, shapes = READERS[name]
    return build(shapes), shapes


def inputs(shapes: dict[str, Shape], batch: int = B) -> Sides:
    return Sides({name: Side.of(torch.randn(batch, shape.tokens or 1, shape.width)) for name, shape in shapes.items()})


def stirred(module: Adapter) -> Adapter:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module.double().eval()


def double(sides: Sides) -> Sides:
    return Sides({name: Side(side.tensor.double(), side.mask, side.present) for name, side in sides.items()})


def members(changes: dict[str, Tensor]) -> Sides:
    return Sides({name: Side.of(change) for name, change in changes.items()})


@pytest.mark.parametrize("name", READERS)
def test_a_fresh_one_changes_nothing(name: str) -> None:
    module, shapes = reader(name)
    h = torch.randn(B, T, D)
    assert torch.equal(module(h, h, inputs(shapes)), h)


@pytest.mark.parametrize("name", READERS)
def test_every_parameter_learns_within_two_steps(name: str) -> None:
    torch.manual_seed(0)
    module, shapes = reader(name)
    sides, h, goal = inputs(shapes), torch.randn(B, T, D), torch.randn(B, T, D)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    moved: set[str] = set()
    for _ in range(2):
        optimizer.zero_grad()
        (module(h, h, sides) - goal).square().mean().backward()
        moved |= {n for n, p in module.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    assert moved == {name for name, _ in module.named_parameters()}


@pytest.mark.parametrize("name", READERS)
def test_what_the_mask_leaves_out_is_not_seen(name: str) -> None:
    """Noise in the padding of the first side changes nothing, NaN neither; for sequences, nor does cutting it off."""
    module, shapes = reader(name)
    module, sides = stirred(module), double(inputs(shapes))
    h = torch.randn(B, T, D).double()
    side = sides["a"]
    mask = side.mask.clone()
    mask[0, -1:], mask[1, 1:] = False, False
    results, gradients = [], []
    for noise in (1.0, 50.0, torch.nan):
        tensor = torch.where(mask.unsqueeze(-1), side.tensor, noise * torch.randn_like(side.tensor))
        results.append(module.delta(h, Sides(sides | {"a": Side(tensor, mask, mask.any(1))})))
        gradients.append(torch.autograd.grad(results[-1].square().sum(), [*module.parameters()]))
        torch.testing.assert_close(results[-1], results[0], rtol=0, atol=0)
        torch.testing.assert_close(gradients[-1], gradients[0], rtol=0, atol=0)
    if side.tensor.shape[1] > 1:
        short = Side.of(side.tensor[1:2, :1])
        alone = {name: Side.of(other.tensor[1:2]) for name, other in sides.items()}
        torch.testing.assert_close(module.delta(h[1:2], Sides(alone | {"a": short})), results[0][1:2])


@pytest.mark.parametrize("name", READERS)
def test_without_any_token_a_side_says_nothing(name: str) -> None:
    """The sample's result does not depend on the side, nor do other samples' results on that sample; no NaN."""
    module, shapes = reader(name)
    module, sides = stirred(module), double(inputs(shapes))
    h = torch.randn(B, T, D).double().requires_grad_()
    whole = module.delta(h, sides)
    side = sides["a"]
    mask = side.mask.clone()
    mask[2] = False
    results = []
    for factor in (1.0, -3.0):
        tensor = side.tensor * torch.tensor([1.0, 1.0, factor]).double().view(-1, 1, 1)
        results.append(module.delta(h, Sides(sides | {"a": Side(tensor, mask, mask.any(1))})))
    torch.testing.assert_close(*results, rtol=0, atol=0)
    torch.testing.assert_close(results[0][:2], whole[:2])
    results[0].square().sum().backward()
    for tensor in (h, *module.parameters()):
        assert tensor.grad is None or tensor.grad.isfinite().all()


@pytest.mark.parametrize("name", ["cross_attention", "cross_attention_tanh", "mag", "wander"])
def test_without_any_side_a_sample_stays_what_it_is(name: str) -> None:
    """The change is exactly 0, whatever the weights. (A GMU still has its stream to adapt.)"""
    module, shapes = reader(name)
    module, sides = stirred(module), double(inputs(shapes))
    for side in sides.values():
        side.mask[1] = False
    h = torch.randn(B, T, D).double()
    delta = module.delta(h, sides)
    assert torch.equal(delta[1], torch.zeros(T, D).double())
    assert delta[0].abs().max() > 0


@pytest.mark.parametrize("name", READERS)
def test_the_order_of_the_sides_is_that_of_construction(name: str) -> None:
    module, shapes = reader(name)
    module, sides = stirred(module), double(inputs(shapes))
    h = torch.randn(B, T, D).double()
    turned = Sides(reversed(sides.items()))
    torch.testing.assert_close(module.delta(h, sides), module.delta(h, turned), rtol=0, atol=0)


def test_cross_attention_equals_its_equation() -> None:
    module, shapes = reader("cross_attention")
    module, sides = stirred(module), double(inputs(shapes))
    h = torch.randn(B, T, D).double()
    y = {name: module.side_norms[name](side.tensor) for name, side in sides.items()}
    keys = torch.cat([module.keys[name](y[name]) for name in y], dim=1)
    values = torch.cat([module.values[name](y[name]) for name in y], dim=1)
    q = module.query(module.norm(h))
    heads = []
    for head in (slice(0, 3), slice(3, 6)):
        weights = torch.softmax(q[..., head] @ keys[..., head].mT / 3**0.5, dim=-1)
        heads.append(weights @ values[..., head])
    torch.testing.assert_close(module.delta(h, sides), module.out(torch.cat(heads, dim=-1)))


def test_cross_attention_does_not_know_the_order_of_a_sequence() -> None:
    module = stirred(CrossAttention(HOST, ONE))
    h, a = torch.randn(B, T, D).double(), torch.randn(B, S, E).double()
    turned = Sides({"a": Side.of(a[:, torch.randperm(S)])})
    torch.testing.assert_close(module.delta(h, Sides({"a": Side.of(a)})), module.delta(h, turned))


def test_width_of_the_cross_attention() -> None:
    assert CrossAttention(Shape(768), ONE).query.out_features == 192
    assert CrossAttention(Shape(10), ONE, heads=4).query.out_features == 4
    assert CrossAttention(Shape(768), ONE, heads=5).query.out_features == 190


def test_dropout_of_the_cross_attention_is_for_training() -> None:
    module = CrossAttention(HOST, ONE, dropout=0.9)
    torch.nn.init.normal_(module.out.weight)
    h, sides = torch.randn(B, T, D), inputs(ONE)
    assert not torch.equal(module.train().delta(h, sides), module.delta(h, sides))
    assert torch.equal(module.eval().delta(h, sides), module.delta(h, sides))


def test_mag_shifts_by_no_more_than_beta() -> None:
    for beta in (0.1, 1.0):
        module = stirred(MAG(HOST, TWO, beta=beta))
        h = torch.randn(B, T, D).double()
        sides = double(inputs({"a": Shape(E, T), "b": Shape(3, 1)}))
        shift = module.delta(h, sides).norm(dim=-1)
        assert (shift <= beta * h.norm(dim=-1) * (1 + 1e-9)).all()
        assert (shift > 0).all()


def test_mag_sums_its_sides_before_it_bounds_them() -> None:
    """Rahman et al. 2020, eq. 3 to 5, with two modalities, written out."""
    shapes = {"a": Shape(E, T), "b": Shape(3, 1)}
    module, sides = stirred(MAG(HOST, shapes, beta=0.5, norm_sides=False)), double(inputs(shapes))
    h = torch.randn(B, T, D).double()
    v = torch.zeros_like(h)
    for name, side in sides.items():
        s = side.tensor.expand(B, T, -1)
        v = v + torch.relu(module.gates[name](torch.cat([s, h], dim=-1))) * module.values[name](s)
    bound = 0.5 * h.norm(dim=-1, keepdim=True) / (v.norm(dim=-1, keepdim=True) + 1e-6)
    torch.testing.assert_close(module.delta(h, sides), torch.minimum(bound, torch.ones_like(bound)) * v)


def test_mag_has_no_nan_where_norms_are_zero() -> None:
    for init in ("identity", "published"):
        module = MAG(HOST, {"a": Shape(E, 1)}, init=init)
        h = torch.randn(B, T, D)
        h[0] = 0
        h.requires_grad_()
        module(h, h, inputs({"a": Shape(E, 1)})).square().sum().backward()
        for tensor in (h, *module.parameters()):
            assert tensor.grad is not None
            assert tensor.grad.isfinite().all()


def test_mag_as_published_is_not_the_identity() -> None:
    h, sides = torch.randn(B, T, D), inputs({"a": Shape(E, 1)})
    published = MAG(HOST, {"a": Shape(E, 1)}, init="published")
    assert 0 < published.delta(h, sides).abs().max() < 1
    normed = MAG(HOST, {"a": Shape(E, 1)}, norm_after=True)
    torch.testing.assert_close(normed(h, h, sides), torch.nn.functional.layer_norm(h, (D,)))
    torch.testing.assert_close(normed.delta(h, sides), torch.nn.functional.layer_norm(h, (D,)) - h)


def test_mag_refuses_a_sequence_that_is_not_aligned() -> None:
    module = MAG(HOST, ONE)
    h = torch.randn(B, T, D)
    with pytest.raises(SiteError, match="the side 'a' has 4 tokens, and the stream has 5"):
        module(h, h, inputs(ONE))


@pytest.mark.parametrize("name", FUSERS)
def test_members_that_change_nothing_are_combined_to_nothing(name: str) -> None:
    module = FUSERS[name]()
    h = torch.randn(B, T, D)
    assert torch.equal(module(h, h, members({name: torch.zeros(B, T, D) for name in MEMBERS})), h)


@pytest.mark.parametrize("name", FUSERS)
def test_fresh_members_and_their_combination_learn_together(name: str) -> None:
    """Every parameter that asks for a gradient gets one within two steps, of the members too."""
    torch.manual_seed(0)
    fuser = FUSERS[name]()
    bottlenecks = {name: Bottleneck(HOST, {}, bottleneck=3) for name in MEMBERS}
    modules = torch.nn.ModuleDict({"fuser": fuser, **bottlenecks})
    learning = {n: p for n, p in modules.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(learning.values(), lr=0.05)
    h, goal = torch.randn(B, T, D), torch.randn(B, T, D)
    moved: set[str] = set()
    for _ in range(2):
        optimizer.zero_grad()
        changes = members({name: member.delta(h, Sides()) for name, member in bottlenecks.items()})
        (fuser(h, h, changes) - goal).square().mean().backward()
        moved |= {n for n, p in learning.items() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    assert moved == set(learning)


def test_fusion_starts_as_the_mean_of_its_members() -> None:
    torch.manual_seed(0)
    changes = {name: torch.randn(B, T, D) for name in MEMBERS}
    module = AdapterFusion(HOST, MEMBERS)
    with torch.no_grad():
        module.combine.query.weight.zero_()
    mean = torch.stack([*changes.values()]).mean(0)
    torch.testing.assert_close(module.delta(torch.randn(B, T, D), members(changes)), mean, rtol=1e-3, atol=1e-4)
    value = module.combine.value.weight
    assert torch.equal(value.diagonal(), torch.ones(D))
    assert torch.equal(value[~torch.eye(D, dtype=torch.bool)], torch.full((D * D - D,), 1e-6))


def test_fusion_does_not_care_in_which_order_attended_members_stand() -> None:
    module = stirred(AdapterFusion(HOST, MEMBERS))
    x, y, z = torch.randn(3, B, T, D).double().unbind(0)
    h = torch.randn(B, T, D).double()
    one = module.delta(h, members({"adapter_x": x, "adapter_y": y, "adapter_z": z}))
    other = module.delta(h, members({"adapter_x": z, "adapter_y": x, "adapter_z": y}))
    torch.testing.assert_close(one, other)


def test_temperature_flattens_the_attention_over_members() -> None:
    h, changes = torch.randn(B, T, D), torch.randn(B, T, 3, D)
    module = AdapterFusion(HOST, MEMBERS)
    for projection in (module.combine.query, module.combine.key):
        torch.nn.init.normal_(projection.weight)
    sharp = module.combine.weights(h, changes)
    module.combine.temperature = 100.0
    flat = module.combine.weights(h, changes)
    torch.testing.assert_close(sharp.sum(-1), torch.ones(B, T))
    assert (flat - 1 / 3).abs().max() < (sharp - 1 / 3).abs().max()


def test_the_bias_of_the_keys_matters_to_dropped_scores_alone() -> None:
    assert not AdapterFusion(HOST, MEMBERS).combine.key.bias.requires_grad
    module = AdapterFusion(HOST, MEMBERS, dropout=0.5)
    assert module.combine.key.bias.requires_grad
    changes, h = torch.randn(B, T, 3, D), torch.randn(B, T, D)
    before = module.eval().combine.weights(h, changes)
    torch.nn.init.normal_(module.combine.key.bias)
    torch.testing.assert_close(module.combine.weights(h, changes), before)


def test_parallel_members_add_up() -> None:
    changes = {name: torch.randn(B, T, D) for name in MEMBERS}
    total = torch.stack([*changes.values()]).sum(0)
    h = torch.randn(B, T, D)
    torch.testing.assert_close(Parallel(HOST, MEMBERS)(h, h, members(changes)), h + total)
    torch.testing.assert_close(Parallel(HOST, MEMBERS, combine="mean")(h, h, members(changes)), h + total / 3)
    weighed = Parallel(HOST, MEMBERS, weights="learned")
    torch.testing.assert_close(weighed.delta(h, members(changes)), total)
    with torch.no_grad():
        weighed.weights.copy_(torch.tensor([1.0, 0.0, -1.0]))
    torch.testing.assert_close(weighed.delta(h, members(changes)), changes["adapter_x"] - changes["adapter_z"])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CrossAttention(HOST, ONE, heads=4, bottleneck=6), "4 heads cannot share a bottleneck of 6. Write"),
        (lambda: CrossAttention(HOST, ONE, heads=0), "heads = 0"),
        (lambda: CrossAttention(HOST, ONE, bottleneck=0), "bottleneck = 0"),
        (lambda: MAG(HOST, ONE, beta=0.0), "beta = 0.0 allows no shift"),
        (lambda: AdapterFusion(HOST, {"x": Shape(D), "y": Shape(D + 1)}), "'y' changes a stream of width 13"),
        (lambda: AdapterFusion(HOST, MEMBERS, temperature=0.0), "temperature = 0.0"),
        (lambda: AdapterFusion(HOST, MEMBERS, form="gmu", bottleneck=0), "bottleneck = 0"),
        (lambda: AdapterFusion(HOST, MEMBERS, form="gmu", activation="gleu"), 'Did you mean "gelu"'),
        (lambda: Parallel(HOST, {"x": Shape(D), "y": Shape(D + 1)}), "'y' changes a stream of width 13"),
    ],
)
def test_what_cannot_work_is_refused_when_built(build, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        build()


CASES = [*(f"reader:{name}" for name in READERS), *(f"fuser:{name}" for name in FUSERS)]


def case(name: str) -> tuple[Adapter, Sides]:
    family, _, which = name.partition(":")
    if family == "reader":
        module, shapes = reader(which)
        return stirred(module).float(), inputs(shapes)
    return stirred(FUSERS[which]()).float(), members({name: torch.randn(B, T, D) for name in MEMBERS})


@pytest.mark.parametrize("name", CASES)
def test_copies_are_independent(name: str) -> None:
    module, sides = case(name)
    h = torch.randn(B, T, D)
    expected = module(h, h, sides)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(other(h, h, sides), expected, rtol=0, atol=0)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(1)
    torch.testing.assert_close(module(h, h, sides), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_compiled_they_are_the_same(name: str) -> None:
    torch.compiler.reset()
    module, sides = case(name)
    h = torch.randn(B, T, D)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(h, h, sides), module(h, h, sides))


@pytest.mark.parametrize("name", CASES)
def test_exported_they_are_the_same(name: str) -> None:
    module, sides = case(name)

    class Plain(torch.nn.Module):
        """Tensors in, tensor out."""

        def __init__(self) -> None:
            super().__init__()
            self.adapter = module

        def forward(self, h: Tensor, tensors: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
            return self.adapter(h, h, Sides({n: Side(t, masks[n], masks[n].any(1)) for n, t in tensors.items()}))

    h = torch.randn(B, T, D)
    given = {n: side.tensor for n, side in sides.items()}, {n: side.mask for n, side in sides.items()}
    exported = torch.export.export(Plain(), (h, *given)).module()
    torch.testing.assert_close(exported(h, *given), module(h, h, sides))


def flops(adapter: Adapter, sides: Sides) -> int:
    with FlopCounterMode(display=False) as counter:
        adapter.delta(torch.randn(B, T, D), sides)
    return counter.get_total_flops()


def test_documented_costs_are_those_of_the_code() -> None:
    """The formulas of docs/adapters/{cross_attention,adapter_fusion,parallel,mag,gmu}.md."""
    p, m, widths = 4, 3, (E, 3)
    sides = inputs(TWO)
    mixed = GMU(HOST, TWO, bottleneck=p, form="classic")
    assert flops(mixed, sides) == B * (T * (4 * D * p + 2 * 3 * p * D) + sum(2 * e * p + 2 * 3 * p * e for e in widths))
    mag = MAG(HOST, TWO)
    aligned = inputs({"a": Shape(E, T), "b": Shape(3, 1)})
    assert flops(mag, aligned) == B * (T * 2 * 2 * D**2 + T * 4 * E * D + 4 * 3 * D)
    changes = members({name: torch.randn(B, T, D) for name in MEMBERS})
    assert flops(AdapterFusion(HOST, MEMBERS), changes) == B * T * 6 * D**2
    gates = AdapterFusion(HOST, MEMBERS, form="gmu", bottleneck=p)
    assert flops(gates, changes) == B * T * (2 * (m + 1) * D * p + 2 * m * m * p**2)
    assert flops(Parallel(HOST, MEMBERS, weights="learned"), changes) == 0
    attention = CrossAttention(HOST, TWO, heads=2, bottleneck=p)
    tokens = (S, 1)
    projections = T * 4 * D * p + sum(4 * s * e * p for s, e in zip(tokens, widths, strict=True))
    assert flops(attention, sides) == B * (projections + 4 * T * sum(tokens) * p)


def size(adapter: Adapter) -> int:
    return sum(parameter.numel() for parameter in adapter.parameters())


def test_formulas_count_the_parameters() -> None:
    p, m, widths = 4, 3, (E, 3)
    attention = 2 * D * p + 3 * D + p + sum(2 * e * p + 2 * e for e in widths)
    assert size(CrossAttention(HOST, TWO, bottleneck=p)) == attention
    assert size(CrossAttention(HOST, TWO, bottleneck=p, gate="tanh")) == attention + 1
    assert size(AdapterFusion(HOST, MEMBERS)) == 3 * D**2 + 2 * D
    for count, gates in ((2, 1), (3, 3)):
        some = dict([*MEMBERS.items()][:count])
        gated = D * p + D + count * (D * p + 2 * D + p) + gates * p**2 * count
        assert size(AdapterFusion(HOST, some, form="gmu", bottleneck=p)) == gated
    assert size(Parallel(HOST, MEMBERS)) == 0
    assert size(Parallel(HOST, MEMBERS, weights="learned")) == m
    assert size(MAG(HOST, TWO)) == sum(D**2 + 2 * e * D + 2 * D + 2 * e for e in widths)
    assert size(MAG(HOST, TWO, norm_after=True)) == size(MAG(HOST, TWO)) + 2 * D
    classic = 2 * D * p + D + sum(e * p for e in widths) + 3 * p * (D + sum(widths))
    assert size(GMU(HOST, TWO, bottleneck=p, form="classic")) == classic


def test_fusion_begins_as_published() -> None:
    """Pfeiffer et al. 2021, as `adapters` has it: small queries and keys, values near the identity."""
    torch.manual_seed(0)
    fusion: Any = AdapterFusion(Shape(128), {"a": Shape(128), "b": Shape(128)})
    for projection in (fusion.combine.query, fusion.combine.key):
        assert float(projection.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
        assert not projection.bias.any()
    value = fusion.combine.value.weight.detach()
    assert torch.equal(value.diagonal(), torch.ones(128))
    assert float((value - torch.eye(128)).max()) == pytest.approx(1e-6)
