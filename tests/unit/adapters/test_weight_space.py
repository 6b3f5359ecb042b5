"""Weight-space adapters by themselves: their papers' equations on every kind of host, counts and refusals."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from adaptkit.adapters import ADAPTERS, IA3, Adapter, DoRA, LoHa, LoKr, LoRA, VeRA
from adaptkit.adapters.base import Convolution, Shape
from adaptkit.adapters.lokr import divided
from adaptkit.adapters.projection import project
from adaptkit.errors import SiteError
from adaptkit.sides import Sides
from adaptkit.surgery.hosts import geometry, is_transposed, oriented

HOSTS = {
    "linear": lambda: nn.Linear(6, 5),
    "no_bias": lambda: nn.Linear(6, 5, bias=False),
    "conv": lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    "grouped": lambda: nn.Conv2d(4, 6, 3, padding="same", groups=2),
    "same": lambda: Conv2dSame(4, 6, (3, 4), stride=(2, 3), dilation=(1, 2)),  # pads unevenly, by the size of the map
    "series": lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, groups=4),
    "embedding": lambda: nn.Embedding(9, 5),
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {"rank": 3, "alpha": 7.0}),
    "rslora": ("lora", {"rank": 3, "alpha": 7.0, "scaling": "rank_stabilized"}),
    "dora": ("dora", {"rank": 3, "alpha": 7.0}),
    "ia3": ("ia3", {}),
    "ia3_input": ("ia3", {"on": "input"}),
    "vera": ("vera", {"rank": 8}),
    "loha": ("loha", {"rank": 3, "alpha": 7.0}),
    "lokr": ("lokr", {"rank": 1, "alpha": 3.0, "factor": 2}),
    "lokr_full": ("lokr", {"rank": 9, "alpha": 7.0}),
}
NOT_DEFINED = {
    *(("vera", host) for host in ("conv", "grouped", "same", "series", "depthwise", "embedding")),
    *((method, "embedding") for method in ("ia3_input", "loha", "lokr", "lokr_full")),
}
CELLS = [(method, host) for method in METHODS for host in HOSTS if (method, host) not in NOT_DEFINED]


def build_host(name: str) -> Any:
    torch.manual_seed(0)
    return HOSTS[name]().double().requires_grad_(False)


def shape_of(host: Any) -> Shape:
    if isinstance(host, nn.Embedding):
        return Shape(host.embedding_dim, None, host.num_embeddings, embedding=True)
    if isinstance(host, nn.Conv2d | nn.Conv1d):
        return Shape(host.out_channels, None, host.in_channels, geometry(host))
    return Shape(host.out_features, None, host.in_features)


def build(method: str, host: nn.Module, **more: Any) -> Any:
    """The adapter as surgery makes it: built, then shown its host's weight."""
    kind, options = METHODS[method]
    adapter = ADAPTERS[kind](shape_of(host), {}, **(options | more)).double()
    adapter.adopt(*oriented(host))
    return adapter


def stirred(adapter: Adapter) -> Any:
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return adapter


def read_by(host: nn.Module) -> Tensor:
    if isinstance(host, nn.Embedding):
        return torch.randint(host.num_embeddings, (2, 4))
    if isinstance(host, nn.Conv2d):
        return torch.randn(2, 4, 7, 6).double()
    if isinstance(host, nn.Conv1d):
        return torch.randn(2, 4, 7).double()
    return torch.randn(2, 3, 6).double()


def run(host: nn.Module, adapter: Adapter, x: Tensor) -> Tensor:
    """Host and adapter, as surgery's hooks run them."""
    sides = Sides()
    sides.weight, sides.bias = oriented(host)
    if adapter.changes_input:
        return host(adapter(x, x, sides))
    return adapter(host(x), x, sides)


def merged(host: nn.Module, adapter: Adapter) -> nn.Module:
    twin: Any = copy.deepcopy(host)
    weight, bias = adapter.merged(*oriented(host))
    with torch.no_grad():
        twin.weight.copy_(weight.T if is_transposed(host) else weight)
        if bias is not None:
            twin.bias.copy_(bias)
    return twin


@pytest.mark.parametrize(("method", "name"), CELLS)
def test_a_fresh_one_changes_nothing_and_learns_within_two_steps(method: str, name: str) -> None:
    host = build_host(name)
    adapter, x = build(method, host), read_by(host)
    expected = host(x)
    assert torch.equal(run(host, adapter, x), expected)
    trained = {key: p for key, p in adapter.named_parameters() if p.requires_grad}
    optimizer = torch.optim.Adam(trained.values(), lr=1e-2)
    moved: set[str] = set()
    target = torch.randn_like(expected)
    for _ in range(2):
        optimizer.zero_grad()
        (run(host, adapter, x) - target).square().sum().backward()
        moved |= {key for key, p in trained.items() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    assert moved == trained.keys()
    assert not torch.equal(run(host, adapter, x), expected)


@pytest.mark.parametrize(("method", "name"), CELLS)
def test_merged_equals_unmerged(method: str, name: str) -> None:
    """AdapterHub's merges are wrong for (IA)3 and DoRA where the layer has a bias, for DoRA where alpha != rank."""
    host = build_host(name)
    adapter, x = stirred(build(method, host)), read_by(host)
    expected = run(host, adapter, x)
    torch.testing.assert_close(merged(host, adapter)(x), expected, rtol=1e-10, atol=1e-10)
    assert (expected - host(x)).abs().max() > 1e-2


@pytest.mark.parametrize(("method", "name"), CELLS)
def test_copies_and_compiled_forms_agree(method: str, name: str) -> None:
    host = build_host(name)
    adapter, x = stirred(build(method, host)), read_by(host)
    sides = Sides()
    sides.weight, sides.bias = oriented(host)
    h = x if adapter.changes_input else host(x)
    expected = adapter(h, x, sides)
    for twin in (copy.deepcopy(adapter), pickle.loads(pickle.dumps(adapter))):
        assert torch.equal(twin(h, x, sides), expected)
    torch.compiler.reset()
    compiled = torch.compile(adapter, fullgraph=True, backend="eager")
    assert torch.equal(compiled(h, x, sides), expected)


def test_lora_of_a_convolution_is_two_convolutions() -> None:
    host = build_host("conv")
    adapter = stirred(build("lora", host))
    down = nn.Conv2d(4, 3, (3, 2), (2, 1), (1, 0), (1, 2), bias=False).double()
    up = nn.Conv2d(3, 6, 1, bias=False).double()
    with torch.no_grad():
        down.weight.copy_(adapter.A)
        up.weight.copy_(adapter.B)
    x = read_by(host)
    torch.testing.assert_close(run(host, adapter, x), host(x) + 7 / 3 * up(down(x)), rtol=1e-10, atol=1e-10)


def test_lora_of_an_embedding_looks_up_columns_of_a() -> None:
    host = build_host("embedding")
    adapter, ids = stirred(build("lora", host)), read_by(host)
    change = 7 / 3 * (adapter.B @ adapter.A)  # (D, V)
    torch.testing.assert_close(run(host, adapter, ids), host(ids) + change[:, ids].permute(1, 2, 0))


@pytest.mark.parametrize("kind", [LoRA, DoRA])
def test_scaling(kind: type[LoRA]) -> None:
    """alpha / r of the paper; alpha / sqrt(r) of rsLoRA, with which the update's size does not depend on r."""
    assert kind(Shape(9, None, 9), {}, rank=4, alpha=6.0).scaling == 1.5
    assert kind(Shape(9, None, 9), {}, rank=4, alpha=6.0, scaling="rank_stabilized").scaling == 3.0


def dora_weight(host: nn.Module, adapter: Any) -> Tensor:
    """Eq. 5 of Liu et al. 2024, with the norm as a constant."""
    weight, _ = oriented(host)
    direction = (weight + adapter.delta_weight()).flatten(1)
    norm = direction.detach().square().sum(1).sqrt()
    return (adapter.m / norm).unsqueeze(1) * direction


@pytest.mark.parametrize("name", HOSTS)
def test_dora_has_the_rows_of_w_with_the_trained_norms(name: str) -> None:
    host = build_host(name)
    adapter = build("dora", host)
    rows = oriented(host)[0].flatten(1)
    torch.testing.assert_close(adapter.m.detach(), rows.norm(dim=1))
    weight, bias = stirred(adapter).merged(*oriented(host))
    torch.testing.assert_close(weight.flatten(1).norm(dim=1), adapter.m.abs())
    assert bias is getattr(host, "bias", None)


def test_dora_has_the_gradient_of_the_paper() -> None:
    """Section 4.3: the norm is a constant; PEFT and the authors' code do the same."""
    host = build_host("linear")
    adapter, x = stirred(build("dora", host)), read_by(host)
    run(host, adapter, x).square().sum().backward()
    found = {key: p.grad for key, p in adapter.named_parameters()}
    adapter.zero_grad()
    functional.linear(x, dora_weight(host, adapter), host.bias).square().sum().backward()
    for key, parameter in adapter.named_parameters():
        torch.testing.assert_close(found[key], parameter.grad, rtol=1e-10, atol=1e-10)


def test_dora_drops_inputs_of_its_change_only() -> None:
    """h + (f - 1) W x' + f s B A x', where x' is x with dropped entries."""
    host = build_host("linear")
    adapter, x = stirred(build("dora", host, dropout=0.5)), read_by(host)
    torch.manual_seed(1)
    found = run(host, adapter, x)
    torch.manual_seed(1)
    dropped = functional.dropout(x, 0.5)
    change = dora_weight(host, adapter) - host.weight
    torch.testing.assert_close(found, host(x) + functional.linear(dropped, change), rtol=1e-10, atol=1e-10)
    adapter.eval()
    torch.testing.assert_close(run(host, adapter, x), merged(host, adapter)(x), rtol=1e-10, atol=1e-10)


def test_dora_of_a_row_of_zeros_is_finite_and_learns() -> None:
    """Layers that start at zero; m / ||W|| would be 0 / 0."""
    host = build_host("linear")
    nn.init.zeros_(host.weight)
    adapter, x = build("dora", host), read_by(host)
    assert torch.equal(run(host, adapter, x), host(x))
    optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        (run(host, adapter, x) - 1).square().sum().backward()
        optimizer.step()
    assert all(parameter.isfinite().all() for parameter in adapter.parameters())
    assert not torch.equal(run(host, adapter, x), host(x))
    torch.testing.assert_close(merged(host, adapter)(x), run(host, adapter, x), rtol=1e-10, atol=1e-10)


def test_loha_is_the_elementwise_product_of_two_low_rank_changes() -> None:
    host = build_host("linear")
    adapter, x = stirred(build("loha", host)), read_by(host)
    change = sum(
        torch.outer(adapter.A1[:, i] * adapter.A2[:, j], adapter.B1[i] * adapter.B2[j])
        for i in range(3)
        for j in range(3)
    )
    torch.testing.assert_close(run(host, adapter, x), host(x) + 7 / 3 * x @ change.T, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", ["lokr", "lokr_full"])
def test_lokr_has_one_block_at_every_place(method: str) -> None:
    """Entry (o, i) of K times the block, at rows o·P and columns i·J."""
    host = nn.Linear(8, 12).double()
    adapter, x = stirred(build(method, host)), torch.randn(3, 8).double()
    block = adapter.A if adapter.B is None else adapter.B @ adapter.A
    assert (adapter.B is None) == (method == "lokr_full")
    rows = [torch.cat([entry * block for entry in row], dim=1) for row in adapter.K]
    change = adapter.scaling * torch.cat(rows, dim=0)
    torch.testing.assert_close(run(host, adapter, x), host(x) + x @ change.T, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("width", "factor", "expected"),
    [(256, None, (16, 16)), (128, None, (8, 16)), (127, None, (1, 127)), (128, 4, (4, 32)), (128, 64, (64, 2)),
     (360, 7, (6, 60)), (12, 40, (3, 4))],
)  # fmt: skip
def test_widths_are_divided_as_in_peft(width: int, factor: int | None, expected: tuple[int, int]) -> None:
    assert divided(width, factor) == expected


def test_ia3_scales_the_bias_on_the_output_and_not_on_the_input() -> None:
    host, x = build_host("linear"), torch.randn(4, 6).double()
    on_output, on_input = stirred(build("ia3", host)), stirred(build("ia3_input", host))
    torch.testing.assert_close(run(host, on_output, x), on_output.l * (x @ host.weight.T + host.bias))
    torch.testing.assert_close(run(host, on_input, x), (on_input.l * x) @ host.weight.T + host.bias)
    assert on_output.l.shape == (5,)
    assert on_input.l.shape == (6,)
    assert torch.equal(on_input.merged(host.weight, host.bias)[1], host.bias)


def test_vera_trains_its_vectors_and_nothing_else() -> None:
    """AdapterHub trains full matrices; in the paper's table 1, each layer costs D + R."""
    widths = [(6, 6), (6, 24), (24, 6)]
    adapters = [VeRA(Shape(d, None, c), {}, rank=16) for c, d in widths]
    VeRA.tie(adapters)
    layers = nn.ModuleList(adapters)
    assert sum(p.numel() for p in layers.parameters() if p.requires_grad) == 3 * 16 + 6 + 24 + 6
    assert sum(p.numel() for p in layers.parameters() if not p.requires_grad) == 16 * 24 + 24 * 16
    assert {name for name, p in adapters[0].named_parameters() if p.requires_grad} == {"d", "b"}
    assert torch.equal(adapters[0].d, torch.full((16,), 0.1))
    assert not adapters[0].b.any()


def test_vera_uses_one_pair_of_which_narrow_layers_take_a_part() -> None:
    adapters = [VeRA(Shape(d, None, c), {}, rank=5) for c, d in [(6, 4), (3, 8)]]
    VeRA.tie(adapters)
    assert adapters[0].A is adapters[1].A
    assert adapters[0].B is adapters[1].B
    assert (adapters[0].A.shape, adapters[0].B.shape) == ((5, 6), (8, 5))
    narrow = stirred(adapters[1])
    x = torch.randn(2, 3)
    expected = narrow.b * ((narrow.d * (x @ narrow.A[:, :3].T)) @ narrow.B[:8].T)
    torch.testing.assert_close(narrow.delta(x, Sides()), expected)
    copies = copy.deepcopy(nn.ModuleList(adapters))
    assert copies[0].A is copies[1].A
    assert copies[0].A is not adapters[0].A


def test_vera_draws_its_pair_as_the_published_code_does() -> None:
    """Kaiming-uniform: the bound is sqrt(6 / what is read), at the size of the widest layer."""
    torch.manual_seed(0)
    adapter = VeRA(Shape(50, None, 150), {}, rank=24)
    for matrix in (adapter.A, adapter.B):
        bound = math.sqrt(6 / matrix.shape[1])
        assert 0.95 * bound < matrix.abs().max() <= bound


CONVOLUTION = Convolution((3, 3), (1, 1), (1, 1), (1, 1), 4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LoRA(Shape(8), {}), "LoRA changes the weight of a projection"),
        (lambda: DoRA(Shape(8), {}), "DoRA changes the weight of a projection"),
        (lambda: IA3(Shape(8), {}), r"\(IA\)3 changes the weight of a projection"),
        (lambda: VeRA(Shape(8), {}), "VeRA changes the weight of a projection"),
        (lambda: DoRA(Shape(8, None, 5), {}, rank=6), r"rank = 6 exceeds .* \(5 -> 8\).*rank <= 5"),
        (lambda: LoRA(Shape(4, None, 4, CONVOLUTION), {}, rank=5), r"rank = 5 exceeds .* \(9 -> 4\)"),
        (lambda: LoRA(Shape(8, None, 3, embedding=True), {}, rank=4), r"rank = 4 exceeds .* \(3 -> 8\)"),
        (lambda: DoRA(Shape(8, None, 8), {}, rank=0), "rank = 0"),
        (lambda: VeRA(Shape(8, None, 8), {}, rank=0), "rank = 0"),
        (lambda: VeRA(Shape(8, None, 8), {}, d_init=0.0), "d_init = 0"),
        (lambda: VeRA(Shape(4, None, 4, CONVOLUTION), {}), "VeRA is defined for linear layers"),
        (lambda: VeRA(Shape(8, None, 9, embedding=True), {}), "VeRA is defined for linear layers"),
        (lambda: LoHa(Shape(8), {}), "LoHa changes the weight of a projection"),
        (lambda: LoHa(Shape(8, None, 5), {}, rank=6), "rank = 6 exceeds"),
        (lambda: LoHa(Shape(8, None, 9, embedding=True), {}), "^LoHa is defined .* an embedding looks rows up"),
        (lambda: LoKr(Shape(8), {}), "LoKr changes the weight of a projection"),
        (lambda: LoKr(Shape(8, None, 9, embedding=True), {}), "^LoKr is defined .* an embedding looks rows up"),
        (lambda: LoKr(Shape(8, None, 8), {}, factor=0), "factor = 0"),
        (lambda: IA3(Shape(8, None, 9, embedding=True), {}, on="input"), "token ids, which cannot be scaled"),
        (lambda: LoRA(Shape(8, None, 9, embedding=True), {}, dropout=0.1), "dropout = 0.1 has no meaning"),
    ],
)
def test_what_cannot_work_is_refused_when_built(build, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        build()


def test_the_rank_of_vera_may_exceed_the_widths() -> None:
    """Its paper's base models have rank 1024 at width 768."""
    assert VeRA(Shape(8, None, 8), {}, rank=64).A.shape == (64, 8)


# B batch, T tokens, D width the projection writes, C width it reads, R rank
B, T, D, C, R = 2, 3, 10, 6, 4


def flops(adapter: Any, x: Tensor, weight: Tensor) -> int:
    sides = Sides()
    sides.weight = weight
    h = project(adapter.host, x, weight)
    with FlopCounterMode(display=False) as counter:
        adapter(h, x, sides)
    return counter.get_total_flops()


def test_documented_flops_are_those_of_the_code() -> None:
    """The formulas of docs/adapters/{lora,dora,ia3,vera,loha,lokr}.md."""
    shape, x, weight = Shape(D, None, C), torch.randn(B, T, C), torch.randn(D, C)
    assert flops(LoRA(shape, {}, rank=R), x, weight) == B * T * 2 * R * (C + D)
    assert flops(VeRA(shape, {}, rank=R), x, weight) == B * T * 2 * R * (C + D)
    assert flops(DoRA(shape, {}, rank=R), x, weight) == B * T * 2 * R * (C + D) + 2 * R * C * D
    dropping = DoRA(shape, {}, rank=R, dropout=0.5)
    assert flops(dropping, x, weight) == B * T * (2 * R * (C + D) + 2 * C * D) + 2 * R * C * D
    assert flops(IA3(shape, {}), x, weight) == 0  # D multiplications, none of them in a product of matrices
    assert flops(LoHa(shape, {}, rank=R), x, weight) == B * T * 2 * C * D + 4 * R * C * D
    # D = O·P = 2·5 and C = I·J = 2·3
    assert flops(LoKr(shape, {}, rank=1), x, weight) == B * T * (2 * 2 * 1 * (5 + 3) + 2 * 2 * 2 * 5)
    for groups in (1, 2):
        conv = nn.Conv2d(C, D, (3, 2), padding=1, groups=groups)
        maps = torch.randn(B, C, 5, 5)
        places = conv(maps)[0, 0].numel()
        assert flops(LoRA(shape_of(conv), {}, rank=R), maps, conv.weight) == B * places * 2 * R * (C * 3 * 2 + D)
