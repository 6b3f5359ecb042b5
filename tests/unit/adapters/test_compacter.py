"""Compacter and low-rank bottlenecks by themselves: the equation, what is shared, initial values, cost, refusals."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from adaptkit.adapters import Adapter, Bottleneck, Compacter, LowRank
from adaptkit.adapters.base import Placement, Shape
from adaptkit.adapters.compacter import PHMLinear, Rule
from adaptkit.adapters.per_task import PerTask
from adaptkit.errors import SiteError
from adaptkit.sides import Sides

HOST = Shape(12)


def moved_within_two_steps(module: Adapter, h: torch.Tensor) -> set[str]:
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    moved: set[str] = set()
    for _ in range(2):
        optimizer.zero_grad()
        (module(h, h, Sides()) * torch.linspace(-1, 1, h.shape[-1])).square().sum().backward()
        moved |= {n for n, p in module.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    return moved


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 4),
    reads=st.integers(1, 5),
    writes=st.integers(1, 5),
    rank=st.sampled_from([None, 1, 2]),
    factorized=st.booleans(),
)
def test_phm_is_a_sum_of_kronecker_products(
    n: int, reads: int, writes: int, rank: int | None, factorized: bool
) -> None:
    torch.manual_seed(0)
    layer = PHMLinear(n * reads, n * writes, Rule(n, factorized=factorized, std=1.0), rank).double()
    nn.init.normal_(layer.bias)
    weights = layer.weight if rank is None else layer.left @ layer.right
    h = sum(torch.kron(layer.rule()[i], weights[i]) for i in range(n))
    assert isinstance(h, torch.Tensor)
    x = torch.randn(2, 3, n * reads, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ h + layer.bias)
    if rank is not None:
        torch.testing.assert_close(layer.factor_by_factor(x), x @ layer.matrix())


def adapters(sharing: Any, count: int = 3, **options: Any) -> list[Compacter]:
    """Adapters of one recipe table, at one site of several layers, tied."""
    found = [Compacter(HOST, {}, phm_dim=2, bottleneck=4, rule=sharing, **options) for _ in range(count)]
    for layer, adapter in enumerate(found):
        adapter.placement = Placement("", "mlp.out", layer, count)
    Compacter.tie(found)
    return found


def rules(found: list[Compacter]) -> int:
    return len({id(module) for adapter in found for module in adapter.modules() if isinstance(module, Rule)})


def test_the_rule_is_shared_as_the_recipe_says() -> None:
    assert rules(adapters("shared")) == 1
    assert rules(adapters("own")) == rules(adapters("tasks")) == 6
    copies = {task: Compacter(HOST, {}, phm_dim=2, bottleneck=4, rule="tasks") for task in ("vqa", "gqa")}
    wrapper = PerTask(copies, "multiple")
    wrapper.placement = Placement("", "mlp.out", 0, 1, ("vqa", "gqa"))
    Compacter.tie(list(copies.values()))
    assert rules(list(copies.values())) == 2, "one for down, one for up, whatever the task"


@pytest.mark.parametrize("sharing", ["shared", "own"])
@pytest.mark.parametrize(("rank", "factorized"), [(1, False), (2, True), ("full", False), ("full", True)])
def test_parameters_are_those_of_the_formula(sharing: str, rank: Any, factorized: bool) -> None:
    found = adapters(sharing, rank=rank, factorized_rule=factorized)
    d, p, n, count = 12, 4, 2, 3
    weights = 2 * d * p // n if rank == "full" else 2 * rank * (d + p)
    rule = 2 * n**2 if factorized else n**3
    expected = count * (weights + d + p) + rule * (1 if sharing == "shared" else 2 * count)
    assert sum(x.numel() for x in nn.ModuleList(found).parameters()) == expected


OPTIONS = [
    {"rank": 1},
    {"rank": "full", "rule": "own"},
    {"rank": 2, "factorized_rule": True},
    {"rank": 1, "norm_before": True, "norm_after": True, "scale": "learned", "activation": "relu"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_fresh_compacter_changes_nothing_and_learns_at_once(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = Compacter(HOST, {}, phm_dim=2, bottleneck=4, **options)
    h = torch.randn(2, 5, 12)
    assert torch.equal(module(h, h, Sides()), h)
    assert moved_within_two_steps(module, h) == {name for name, _ in module.named_parameters()}


def test_a_fresh_low_rank_adapter_changes_nothing_and_learns_at_once() -> None:
    torch.manual_seed(0)
    module = LowRank(HOST, {}, rank=2, bottleneck=4)
    h = torch.randn(2, 5, 12)
    assert torch.equal(module(h, h, Sides()), h)
    assert moved_within_two_steps(module, h) == {name for name, _ in module.named_parameters()}
    assert sum(x.numel() for x in module.parameters()) == 2 * 2 * (12 + 4) + 4 + 12


@pytest.mark.parametrize("kind", [LowRank, Compacter])
def test_published_init_is_not_the_identity(kind: Any) -> None:
    torch.manual_seed(0)
    h = torch.randn(2, 5, 32)
    assert not torch.equal(kind(Shape(32), {}, reduction_factor=4, init="published")(h, h, Sides()), h)


def test_initial_scale_of_the_rule() -> None:
    """By default the down-projection has the scale of a Glorot matrix (gain sqrt 2); published rules mute it."""
    torch.manual_seed(0)
    ours, published = (Compacter(Shape(256), {}, rank="full", init=init) for init in ("identity", "published"))
    glorot = (4 / (256 + 16)) ** 0.5
    assert 0.8 * glorot < ours.down.matrix().std() < 1.2 * glorot
    assert published.down.matrix().std() < 0.05 * glorot
    assert Compacter(HOST, {}, phm_dim=2, bottleneck=4, rule_std=7.0).down.rule.weight.std() > 2


def test_a_frozen_rule_does_not_move() -> None:
    module = Compacter(HOST, {}, phm_dim=2, bottleneck=4, train_rule=False)
    assert [name for name, p in module.named_parameters() if not p.requires_grad] == ["down.rule.weight"]


def test_copies_and_pickles_keep_what_is_shared() -> None:
    found = nn.ModuleList(adapters("shared"))
    for twin in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert rules(list(twin)) == 1
        assert twin[0].down.rule is not found[0].down.rule


@pytest.mark.parametrize("kind", [LowRank, Compacter])
def test_compiled_equals_eager(kind: Any) -> None:
    torch._dynamo.reset()
    module = kind(Shape(32), {}, reduction_factor=4, init="published")
    h = torch.randn(2, 5, 32)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(h, h, Sides()), module(h, h, Sides()))


# B batch, T tokens, D width, P bottleneck, N phm_dim, R rank
B, T = 3, 7


def counted(module: Adapter, width: int) -> int:
    with FlopCounterMode(display=False) as counter:
        module.delta(torch.randn(B, T, width), Sides())
    return counter.get_total_flops()


@pytest.mark.parametrize(("d", "p", "n", "r"), [(64, 16, 2, 1), (64, 32, 4, 1), (96, 24, 2, 2)])
def test_documented_flops(d: int, p: int, n: int, r: int) -> None:
    """The formulas of docs/adapters/compacter.md and low_rank.md."""
    thin = counted(Compacter(Shape(d), {}, phm_dim=n, rank=r, bottleneck=p), d)
    assert thin == B * T * 4 * n * r * (d + p + n**2)
    full = counted(Compacter(Shape(d), {}, phm_dim=n, rank="full", bottleneck=p), d)
    assert full == B * T * 4 * d * p + 4 * n * d * p
    assert thin < full
    assert counted(LowRank(Shape(d), {}, rank=r, bottleneck=p), d) == B * T * 4 * r * (d + p)


def test_a_matrix_that_is_cheaper_formed_is_formed() -> None:
    d, p, n, r = 16, 12, 4, 3
    found = counted(Compacter(Shape(d), {}, phm_dim=n, rank=r, bottleneck=p), d)
    assert found == B * T * 4 * d * p + 4 * n * d * p + 4 * r * d * p // n


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Compacter(HOST, {}, phm_dim=5, bottleneck=5),
            "phm_dim = 5 does not divide 12; the widths are 12, 5, 12",
        ),
        (lambda: Compacter(HOST, {}, phm_dim=4, bottleneck=6), "phm_dim = 4 does not divide 6"),
        (lambda: Compacter(HOST, {}, phm_dim=0), "phm_dim = 0"),
        (lambda: Compacter(HOST, {}, phm_dim=2, rank=3, bottleneck=4), r"rank = 3 exceeds .* W_n \(2\)"),
        (lambda: Compacter(HOST, {}, phm_dim=2, bottleneck=4, rank=0), "rank = 0"),
        (lambda: Compacter(HOST, {}), "leaves no bottleneck"),
        (lambda: LowRank(HOST, {}, bottleneck=4, rank=5), "rank = 5 exceeds the bottleneck of 4"),
        (lambda: LowRank(HOST, {}, bottleneck=4, rank=0), "rank = 0"),
        (lambda: Bottleneck(Shape(64, read_width=8), {}), "a width of 8 with reduction_factor = 16"),
    ],
)
def test_what_cannot_work_is_refused_when_built(build: Any, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        build()


@pytest.mark.parametrize("kind", [LowRank, Compacter, Bottleneck])
def test_reading_another_width_than_the_hosts(kind: Any) -> None:
    module = kind(Shape(32, read_width=16), {}, bottleneck=4, init="published")
    assert module(torch.zeros(2, 3, 32), torch.randn(2, 3, 16), Sides()).shape == (2, 3, 32)
