"""Hyperformer by itself: what is shared, in which order, initial values, tasks, cost and refusals."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from adaptkit.adapters import Hyperformer
from adaptkit.adapters.base import Placement, Shape
from adaptkit.errors import SiteError
from adaptkit.sides import Sides, read, use_sides

D, P, E, H, J = 12, 4, 6, 5, 3
TASKS = ("vqa", "gqa")
SMALL: dict[str, Any] = {
    "bottleneck": P,
    "task_embedding_dim": E,
    "task_hidden_dim": H,
    "projected_task_embedding_dim": J,
}


def of(task: str | None) -> Sides:
    sides = Sides()
    sides.task = task
    return sides


def stacks(tasks: tuple[str, ...] = TASKS, width: int = D, **options: Any) -> nn.ModuleList:
    """An encoder of two layers with two sites, a decoder of three with three."""
    torch.manual_seed(0)
    found = []
    for stack, depth, sites in (
        ("encoder", 2, ("attn.out", "mlp.out")),
        ("decoder", 3, ("attn.out", "cross_attn.out", "mlp.out")),
    ):
        for layer in range(depth):
            for site in sites:
                adapter = Hyperformer(Shape(width), {}, **(SMALL | options))
                adapter.placement = Placement(stack, site, layer, depth, tasks)
                found.append(adapter)
    Hyperformer.tie(found)
    return nn.ModuleList(found)


def loss(found: nn.ModuleList, h: torch.Tensor, tasks: tuple[str, ...]) -> torch.Tensor:
    weights = torch.linspace(-1, 1, h.shape[-1])
    return sum((adapter(h, h, of(t)) * weights).square().sum() for t in tasks for adapter in found)  # type: ignore[return-value]


@pytest.mark.parametrize("form", ["unique", "efficient"])
def test_parameters_are_those_of_the_formula(form: str) -> None:
    found = stacks(form=form)
    expected = len(TASKS) * E
    for depth, sites in ((2, 2), (3, 3)):
        efficient = form == "efficient"
        expected += depth * E + H * (2 * E + 1) + J * (H + 3) + (sites * E + H * E if efficient else 0)
        expected += (1 if efficient else sites) * (J + 1) * (2 * D * P + D + P)
    assert sum(p.numel() for p in found.parameters()) == expected


def test_there_is_an_embedding_for_every_layer_even_beyond_the_depth_it_was_told() -> None:
    adapter = Hyperformer(Shape(D), {}, **SMALL)
    adapter.placement = Placement("encoder", "mlp.out", 5, 2, TASKS)
    Hyperformer.tie([adapter])
    assert torch.isfinite(adapter(torch.randn(1, 2, D), torch.randn(1, 2, D), of(TASKS[0]))).all()


@pytest.mark.parametrize("key", ["task_embedding_dim", "task_hidden_dim", "projected_task_embedding_dim"])
def test_sizes_that_cannot_work_are_refused(key: str) -> None:
    with pytest.raises(SiteError, match=r"cannot work|at least"):
        Hyperformer(Shape(D), {}, **(SMALL | {key: 0}))


def test_parameters_of_the_published_run() -> None:
    """CLIP-BART with reduction 8 and a joint embedding of 8: 8,579,088 with visual embedding and layer norms."""
    found = []
    for stack, sites in (("encoder", ("attn.out", "mlp.out")), ("decoder", ("attn.out", "cross_attn.out", "mlp.out"))):
        for site in sites:
            with torch.device("meta"):
                adapter = Hyperformer(Shape(768), {}, reduction_factor=8, projected_task_embedding_dim=8)
            adapter.placement = Placement(stack, site, 5, 6, ("vqa", "gqa", "nlvr", "caption"))
            found.append(adapter)
    with torch.device("meta"):
        Hyperformer.tie(found)
    assert sum(p.numel() for p in nn.ModuleList(found).parameters()) == 8_579_088 - 1_582_848 - 49_152


def test_one_network_for_each_stack_and_one_set_of_tasks_for_all() -> None:
    found = stacks()
    networks = {id(adapter.hypernet): adapter.hypernet for adapter in found}
    assert len(networks) == 2
    assert len({id(network.tasks) for network in networks.values()}) == 1  # type: ignore[union-attr]
    for twin in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert len({id(adapter.hypernet) for adapter in twin}) == 2
        assert {id(p) for p in twin.parameters()}.isdisjoint({id(p) for p in found.parameters()})


def test_sites_are_numbered_as_in_the_published_code() -> None:
    encoder, decoder = stacks(form="efficient")[0].hypernet, stacks(form="efficient")[-1].hypernet
    assert list(encoder.sites) == ["mlp.out", "attn.out"]
    assert list(decoder.sites) == ["mlp.out", "attn.out", "cross_attn.out"]
    others = []
    for site in ("mlp.sum", "attn.out", "block.out", "mlp.out"):
        others.append(Hyperformer(Shape(D), {}, form="efficient", **SMALL))
        others[-1].placement = Placement("", site, 0, 1)
    Hyperformer.tie(others)
    assert others[0].hypernet is not None
    assert list(others[0].hypernet.sites) == ["mlp.out", "attn.out", "block.out", "mlp.sum"]


VARIANTS = [
    {"form": form, "norm_before": before, "norm_after": after, "activation": act}
    for form in ("unique", "efficient")
    for before, after, act in (
        (False, False, "relu"),
        (True, False, "gelu"),
        (False, True, "gelu"),
        (True, True, "relu"),
    )
]


@pytest.mark.parametrize("options", VARIANTS)
def test_fresh_adapters_change_nothing_and_learn_at_once(options: dict[str, Any]) -> None:
    found, h = stacks(**options), torch.randn(2, 5, D)
    assert all(torch.equal(adapter(h, h, of(task)), h) for adapter in found for task in TASKS)
    optimizer = torch.optim.Adam(found.parameters(), lr=1e-2)
    moved: set[str] = set()
    for _ in range(2):
        optimizer.zero_grad()
        loss(found, h, TASKS).backward()
        moved |= {n for n, p in found.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    assert moved == {name for name, _ in found.named_parameters()}


def test_initial_projections_have_the_usual_scale() -> None:
    found = stacks(width=256, bottleneck=32, projected_task_embedding_dim=16)
    hypernet = found[0].hypernet
    down = torch.stack([hypernet(task, adapter).down for task in (0, 1) for adapter in found[:4]])
    assert 0.5 * 256**-0.5 < down.std() < 2 * 256**-0.5


@pytest.mark.parametrize("norm_before", [False, True])
def test_published_init_is_not_the_identity(norm_before: bool) -> None:
    found, h = stacks(init="published", norm_before=norm_before), torch.randn(2, 5, D)
    assert 0 < (found[0](h, h, of("vqa")) - h).abs().max() < 0.1


@pytest.mark.parametrize("form", ["unique", "efficient"])
def test_weights_depend_on_task_layer_and_site(form: str) -> None:
    found = stacks(form=form, init="published")
    hypernet = found[0].hypernet
    attn, mlp, next_layer = found[0], found[1], found[2]
    reference = hypernet(0, attn).down
    for task, adapter in ((1, attn), (0, mlp), (0, next_layer)):
        assert not torch.allclose(hypernet(task, adapter).down, reference)


def test_generated_norms() -> None:
    """The gain is what is generated, not 1 + what is generated."""
    found, h = stacks(init="published", norm_before=True, norm_after=True), torch.randn(2, 5, D)
    made = found[0].hypernet(1, found[0])
    assert made.before is not None
    assert made.after is not None
    z = nn.functional.layer_norm(h, (D,)) * made.before[0] + made.before[1]
    change = nn.functional.gelu(z @ made.down.T + made.down_bias) @ made.up.T + made.up_bias
    expected = h + nn.functional.layer_norm(change, (D,)) * made.after[0] + made.after[1]
    torch.testing.assert_close(found[0](h, h, of("gqa")), expected)


def test_the_tasks_embeddings_may_stay_as_they_are() -> None:
    found = stacks(train_task_embeddings=False)
    frozen = {name for name, p in found.named_parameters() if not p.requires_grad}
    assert {name.rpartition("hypernet.")[2] for name in frozen} == {"tasks.0", "tasks.1"}


def test_layers_of_different_widths_have_generators_of_their_own() -> None:
    found = []
    for layer, width in enumerate((8, 8, 16)):
        found.append(Hyperformer(Shape(width), {}, form="efficient", **SMALL))
        found[-1].placement = Placement("", "block.out", layer, 3)
    Hyperformer.tie(found)
    assert found[0].hypernet is not None
    assert len(found[0].hypernet.generators) == 2
    for adapter, width in zip(found, (8, 8, 16), strict=True):
        assert adapter(torch.randn(1, 2, width), torch.randn(1, 2, width), of(None)).shape == (1, 2, width)


def test_a_single_task_need_not_be_named() -> None:
    h = torch.randn(1, 2, D)
    one = stacks(tasks=("vqa",), init="published")[0]
    assert torch.equal(one(h, h, of(None)), one(h, h, of("vqa")))
    nobody_said = stacks(tasks=(), init="published")[0]
    assert torch.equal(nobody_said(h, h, of(None)), nobody_said(h, h, of("anything")))


@pytest.mark.parametrize(
    ("task", "message"),
    [(None, "the task of this batch was not given.* one of vqa, gqa"), ("vqaa", 'Did you mean "vqa"')],
)
def test_a_batch_without_a_known_task_is_refused(task: str | None, message: str) -> None:
    h = torch.zeros(1, 2, D)
    with pytest.raises(SiteError, match=message):
        stacks()[0](h, h, of(task))


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(SiteError, match="projected_task_embedding_dim = 1 says nothing"):
        Hyperformer(Shape(D), {}, **(SMALL | {"projected_task_embedding_dim": 1}))
    with pytest.raises(SiteError, match="leaves no bottleneck"):
        Hyperformer(Shape(D), {})
    loose = Hyperformer(Shape(D), {}, **SMALL)
    loose.placement = Placement("", "final.out", None, 2)
    with pytest.raises(SiteError, match=r"final.out is in no layer.* Choose a site within the blocks"):
        Hyperformer.tie([loose])


class Reader(nn.Module):
    """Reads the task where hooks do: from the running forward."""

    def __init__(self, adapter: Hyperformer) -> None:
        super().__init__()
        self.adapter = adapter

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.adapter(h, h, read(()))


@pytest.mark.parametrize("form", ["unique", "efficient"])
def test_a_compiled_model_follows_the_task(form: str) -> None:
    torch._dynamo.reset()
    module, h = Reader(stacks(form=form, init="published")[0]), torch.randn(2, 5, D)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for task in TASKS:
        with use_sides(task=task):
            torch.testing.assert_close(compiled(h), module.adapter(h, h, of(task)))


@pytest.mark.parametrize("form", ["unique", "efficient"])
def test_documented_flops(form: str) -> None:
    """The formulas of docs/adapters/hyperformer.md."""
    h = torch.randn(3, 7, D)
    with FlopCounterMode(display=False) as counter:
        stacks(form=form)[0].delta(h, of("vqa"))
    rows = 3 if form == "efficient" else 2
    generating = 2 * (rows * E * H + H * J + J * (2 * D * P + D + P))
    assert counter.get_total_flops() == 3 * 7 * 4 * D * P + generating
