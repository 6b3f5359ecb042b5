"""Properties of the adapters by themselves: masks, absent modalities, orders of contraction, refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.adapters import (
    ADAPTERS,
    GMU,
    IA3,
    MAG,
    AdapterFusion,
    Bottleneck,
    Compacter,
    CrossAttention,
    DoRA,
    Hyperformer,
    LoHa,
    LoKr,
    LoRA,
    LowRank,
    Parallel,
    VeRA,
    Wander,
    wander,
)
from adaptkit.adapters.base import Placement, Shape
from adaptkit.adapters.ladder import Ladder
from adaptkit.adapters.loreft import LoReFT
from adaptkit.adapters.prefix import Prefix
from adaptkit.adapters.prompt import Prompt
from adaptkit.errors import SiteError
from adaptkit.sides import Side, Sides


def padded(x: torch.Tensor, to: int, noise: float) -> Side:
    """A side of `to` tokens, of which those after the sequence hold noise and do not count."""
    batch, length, width = x.shape
    tail = noise * torch.randn(batch, to - length, width)
    mask = (torch.arange(to) < length).expand(batch, to)
    return Side(torch.cat([x, tail], dim=1), mask, mask[:, 0])


def stirred(module: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module.double()


@pytest.mark.parametrize("combine", ["cp", "published"])
def test_wander_ignores_padding_of_sides_and_stream(combine: str) -> None:
    module = stirred(Wander(Shape(6, 9), {"a": Shape(4, 5)}, rank=3, drank=2, trank=2, combine=combine))
    h, a = torch.randn(2, 7, 6).double(), torch.randn(2, 3, 4).double()
    short = Sides({"a": Side.of(a)})
    expected = module.delta(h, short)
    long = Sides({"a": padded(a, 5, 100.0)})
    stream = padded(h, 9, 100.0)
    long.mask = stream.mask
    found = module.delta(stream.tensor, long)
    torch.testing.assert_close(found[:, :7], expected)


def test_gmu_ignores_padding_and_hears_nothing_of_an_absent_side() -> None:
    module = stirred(GMU(Shape(6), {"a": Shape(4)}, bottleneck=3))
    h, a = torch.randn(2, 5, 6).double(), torch.randn(2, 3, 4).double()
    expected = module.delta(h, Sides({"a": Side.of(a)}))
    torch.testing.assert_close(module.delta(h, Sides({"a": padded(a, 6, 50.0)})), expected)
    absent = torch.zeros(2, 3, dtype=torch.bool)
    silent = [Sides({"a": Side(value, absent, absent[:, 0])}) for value in (a, 5 * a)]
    torch.testing.assert_close(module.delta(h, silent[0]), module.delta(h, silent[1]))
    assert torch.equal(module.project_sides(silent[0]), torch.zeros(2, 1, 3).double())


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    out=st.integers(1, 6),
    rank=st.integers(1, 4),
    drank=st.integers(1, 3),
    trank=st.integers(1, 3),
    width=st.integers(1, 8),
    keep=st.sampled_from([0, 2**30]),
)
def test_wander_equals_the_equation_whatever_the_order(batch, lengths, out, rank, drank, trank, width, keep) -> None:
    """F = sum_j sum_k prod_m T_m[k]^T A_m D_m[j], in the cheapest order, kept or recomputed."""
    torch.manual_seed(0)
    a = [torch.randn(batch, t, rank, dtype=torch.float64, requires_grad=True) for t in lengths]
    tokens = [torch.randn(trank, t, out, dtype=torch.float64) for t in lengths]
    widths = [torch.randn(drank, rank, width, dtype=torch.float64) for _ in lengths]
    naive = torch.zeros(batch, out, width, dtype=torch.float64)
    for j in range(drank):
        for k in range(trank):
            term = torch.ones(batch, out, width, dtype=torch.float64)
            for m in range(len(lengths)):
                term = term * (tokens[m][k].T @ a[m] @ widths[m][j])
            naive = naive + term
    before, wander.KEEP_AT_MOST = wander.KEEP_AT_MOST, keep
    try:
        fused = wander.fuse(a, tokens, widths, "cp")
        torch.testing.assert_close(fused, naive, rtol=1e-10, atol=1e-10)
        gradients = torch.autograd.grad(fused.square().sum(), a)
        expected = torch.autograd.grad(naive.square().sum(), a)
        for found, wanted in zip(gradients, expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)
    finally:
        wander.KEEP_AT_MOST = before


def test_wander_with_more_than_two_modalities_learns_from_its_initial_values() -> None:
    """The published initial values give every parameter a gradient of exactly 0, for ever."""
    shapes = {name: Shape(4, 3) for name in "abcdef"}  # seven modalities
    module = Wander(Shape(6, 5), shapes, rank=3, drank=2, trank=2)
    sides = Sides({name: Side.of(torch.randn(2, 3, 4)) for name in shapes})
    h = torch.randn(2, 5, 6)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    moved: set[str] = set()
    for _ in range(2):
        optimizer.zero_grad()
        module(h, h, sides).square().sum().backward()
        moved |= {n for n, p in module.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    assert moved == {name for name, _ in module.named_parameters()}


def test_wander_at_fusion_makes_a_new_sequence() -> None:
    module = Wander(Shape(6, 5), {"a": Shape(6, 3)}, rank=2, drank=2, trank=2, out_tokens=7)
    h, a = torch.randn(2, 5, 6), torch.randn(2, 3, 6)
    out = module(h, h, Sides({"a": Side.of(a)}))
    assert torch.equal(out, torch.cat([h, a], dim=1)[:, :7]), "the residual: the first tokens of all"
    longer = Wander(Shape(6, 5), {"a": Shape(6, 3)}, rank=2, drank=2, trank=2, out_tokens=10)
    assert longer(h, h, Sides({"a": Side.of(a)})).shape == (2, 10, 6)


def test_wander_at_fusion_ignores_padding_in_its_residual_too() -> None:
    module = stirred(Wander(Shape(6, 9), {"a": Shape(6, 5)}, rank=2, drank=2, trank=2, out_tokens=8))
    h, a = torch.randn(2, 4, 6).double(), torch.randn(2, 3, 6).double()
    expected = module(h, h, Sides({"a": Side.of(a)}))  # 4 + 3 tokens, then one of zeros
    stream = padded(h, 9, 100.0)
    sides = Sides({"a": padded(a, 5, 100.0)})
    sides.mask = stream.mask
    torch.testing.assert_close(module(stream.tensor, stream.tensor, sides), expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Bottleneck(Shape(8), {}, reduction_factor=16), "leaves no bottleneck"),
        (lambda: Bottleneck(Shape(8), {}, bottleneck=0), "leaves no bottleneck|at least 1"),
        (lambda: Bottleneck(Shape(16), {}, activation="gleu"), 'Did you mean "gelu"'),
        (lambda: GMU(Shape(8), {"a": Shape(3)}, bottleneck=0), "bottleneck = 0"),
        (lambda: LoRA(Shape(8, None, 8), {}, rank=9), "rank = 9 exceeds"),
        (lambda: LoRA(Shape(8), {}), "changes the weight of a projection"),
        (lambda: Wander(Shape(8), {"a": Shape(3, 2)}, positions="own"), "how many tokens the stream has"),
        (lambda: Wander(Shape(8), {"a": Shape(3, 2)}, combine="cp"), "how many tokens the stream has"),
        (lambda: Wander(Shape(8, 4, causal=True), {"a": Shape(3, 2)}, positions="own"), "no token may see a later one"),
        (
            lambda: Wander(Shape(8, 4), {"a": Shape(3, 2)}, positions="shared", out_tokens=4),
            "out_tokens makes new ones",
        ),
        (lambda: Wander(Shape(8, 4), {"a": Shape(3)}), "how many tokens the side 'a' has"),
    ],
)
def test_shapes_that_cannot_work_are_refused_when_built(build, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        build()


def test_a_sequence_longer_than_the_bound_is_refused() -> None:
    module = Wander(Shape(6, 4), {"a": Shape(4, 2)}, rank=2, drank=1, trank=1, positions="own")
    with pytest.raises(SiteError, match="the stream has 5 tokens"):
        module(torch.randn(1, 5, 6), torch.randn(1, 5, 6), Sides({"a": Side.of(torch.randn(1, 2, 4))}))
    with pytest.raises(SiteError, match="the side 'a' has 3 tokens"):
        module(torch.randn(1, 4, 6), torch.randn(1, 4, 6), Sides({"a": Side.of(torch.randn(1, 3, 4))}))


def test_published_init_of_the_bottleneck_is_not_the_identity() -> None:
    torch.manual_seed(0)
    h = torch.randn(2, 3, 16)
    fresh = Bottleneck(Shape(16), {}, reduction_factor=4, init="published")
    moved = (fresh(h, h, Sides()) - h).abs().max()
    assert 0 < moved < 0.1
    assert torch.equal(Bottleneck(Shape(16), {}, reduction_factor=4)(h, h, Sides()), h)


def hyperformer(host: Shape, **options: int) -> Hyperformer:
    """The only adapter of a stack of one layer, tied."""
    module = Hyperformer(host, {}, **options)  # type: ignore[arg-type]
    module.placement = Placement("", "mlp.out", 0, 1)
    Hyperformer.tie([module])
    return module


@pytest.mark.parametrize("kind", ADAPTERS)
def test_the_formula_of_every_adapter_counts_its_parameters(kind: str) -> None:
    """`formula` is what `adaptkit list adapters` shows; here it is evaluated."""
    d, c, p, e, t, o, m = 12, 12, 4, (5, 7), (3, 2), 6, 2
    sides = {"a": Shape(5, 3), "b": Shape(7, 2)}
    host = Shape(d, o, c)
    built = {
        "bottleneck": lambda: (Bottleneck(host, {}, bottleneck=p), 2 * d * p + p + d),
        "gmu": lambda: (
            GMU(host, sides, bottleneck=p),
            2 * d * p + 3 * d + p + sum(x * p + 2 * x + p for x in e) + (m + 1) * p * p * (m + 1),
        ),
        "compacter": lambda: (Compacter(host, {}, bottleneck=p, phm_dim=2), 2 * (d + p) + p + d + 2**3),
        "hyperformer": lambda: (
            hyperformer(host, bottleneck=p, task_embedding_dim=6, task_hidden_dim=5, projected_task_embedding_dim=3),
            6 + 6 + 5 * (2 * 6 + 1) + 3 * (5 + 3) + (3 + 1) * (2 * d * p + d + p),
        ),
        "low_rank": lambda: (LowRank(host, {}, bottleneck=p, rank=2), 2 * 2 * (d + p) + p + d),
        "lora": lambda: (LoRA(host, {}, rank=p), p * (c + d)),
        "dora": lambda: (DoRA(host, {}, rank=p), p * (c + d) + d),
        "ia3": lambda: (IA3(host, {}), d),
        "loha": lambda: (LoHa(host, {}, rank=p), 2 * p * (c + d)),
        "lokr": lambda: (LoKr(host, {}, rank=1), 3 * 3 + 1 * (4 + 4)),
        "vera": lambda: (VeRA(host, {}, rank=p), p + d + p * (c + d)),
        "cross_attention": lambda: (
            CrossAttention(host, sides, bottleneck=p),
            2 * d * p + 3 * d + p + sum(2 * x * p + 2 * x for x in e),
        ),
        "adapter_fusion": lambda: (AdapterFusion(host, {"a": host, "b": host}), 3 * d * d + 2 * d),
        "parallel": lambda: (Parallel(host, {"a": host, "b": host}, weights="learned"), m),
        "mag": lambda: (MAG(host, sides), sum(d * d + 2 * x * d + 2 * d + 2 * x for x in e)),
        "ladder": lambda: (
            Ladder(Shape(d), {"block_0": Shape(d), "block_1": Shape(d)}, reduction_factor=3, heads=2),
            3 * d * 4 + 12 * 2 * 4**2 + (11 * 2 + 2) * 4 + d + 2 - 1,
        ),
        "loreft": lambda: (LoReFT(Shape(d), {}, rank=p), 2 * d * p + p),
        "prefix": lambda: (Prefix(Shape(d, heads=3), {}, length=o), 2 * o * d),
        "prompt": lambda: (Prompt(Shape(d), {}, length=o, reparametrize=p), o * d + 2 * d * p + p + d),
        "wander": lambda: (
            Wander(host, sides, rank=p, drank=2, trank=3, positions="own"),
            sum(x * p + p + 2 * p * d + 3 * y * o + 2 * x for x, y in zip((d, *e), (o, *t), strict=True)),
        ),
    }
    module, expected = built[kind]()
    assert sum(x.numel() for x in module.parameters()) == expected
    assert ADAPTERS[kind].formula
