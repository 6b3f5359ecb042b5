"""Ladder side-tuning: the recurrence of the paper, and that no gradient runs through the backbone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adaptkit.adapters import Ladder
from adaptkit.adapters.base import Shape
from adaptkit.errors import SiteError
from adaptkit.sides import Sides

# B batch, T tokens, D width, N blocks, W width of the side network
B, T, D, N = 2, 6, 16, 3
FORMS = ({}, {"attention": "causal"}, {"block": "mlp"})


def ladder(**options: Any) -> Any:
    torch.manual_seed(0)
    return Ladder(Shape(D), {f"block_{i}": Shape(D) for i in range(N)}, **{"reduction_factor": 2, **options}).double()


def stirred(module: Any) -> Any:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def inputs(mask: list[list[int]] | None = None) -> tuple[torch.Tensor, Sides]:
    generator = torch.Generator().manual_seed(1)
    sides = Sides()
    sides.blocks = tuple(torch.randn(B, T, D, dtype=torch.float64, generator=generator) for _ in range(N))
    sides.mask = None if mask is None else torch.tensor(mask).bool()
    return torch.randn(B, T, D, dtype=torch.float64, generator=generator), sides


def test_the_recurrence_of_the_paper() -> None:
    module = stirred(ladder())
    h, sides = inputs()
    s = module.blocks[0](module.downs[0](sides.blocks[0]), None)
    for i in (1, 2):
        g = torch.sigmoid(module.gates[i - 1] / 0.1)
        s = module.blocks[i](g * s + (1 - g) * module.downs[i](sides.blocks[i]), None)
    torch.testing.assert_close(module(h, h, sides), h + module.up(module.norm(s)), rtol=0, atol=1e-12)


def test_gates_start_at_one_half() -> None:
    assert torch.equal(torch.sigmoid(ladder().gates), torch.full((N - 1,), 0.5, dtype=torch.float64))


def test_a_side_block_is_a_pre_norm_transformer_block_of_torch() -> None:
    module = stirred(ladder(heads=2))
    block = module.blocks[0]
    width = block.norm.normalized_shape[0]
    theirs = torch.nn.TransformerEncoderLayer(
        width, 2, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    ).train()  # its fast path for inference needs other layouts
    names = {"linear1": block.wide, "linear2": block.narrow, "norm1": block.attention_norm, "norm2": block.norm}
    state = {f"{theirs}.{k}": v for theirs, ours in names.items() for k, v in ours.state_dict().items()}
    state |= {f"self_attn.out_proj.{k}": v for k, v in block.out.state_dict().items()}
    state |= {"self_attn.in_proj_weight": block.qkv.weight, "self_attn.in_proj_bias": torch.zeros(3 * width)}
    theirs.load_state_dict(state)
    s = torch.randn(B, T, width, dtype=torch.float64)
    mask = torch.tensor([[1] * T, [1] * 4 + [0] * 2]).bool()
    expected = theirs(s, src_key_padding_mask=~mask)
    torch.testing.assert_close(block(s, mask)[mask], expected[mask], rtol=0, atol=1e-10)


@pytest.mark.parametrize("options", FORMS)
def test_a_fresh_one_is_the_identity_and_every_parameter_learns(options: dict) -> None:
    module = ladder(**options)
    h, sides = inputs()
    assert torch.equal(module(h, h, sides), h)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    moved = set()
    for _ in range(2):
        optimizer.zero_grad()
        (module(h, h, sides) ** 3).sum().backward()
        moved |= {name for name, p in module.named_parameters() if p.grad is not None and p.grad.abs().max() > 1e-12}
        optimizer.step()
    assert moved == {name for name, _ in module.named_parameters()}


def test_no_gradient_runs_through_the_backbone() -> None:
    h, sides = inputs()
    h.requires_grad_()
    sides.blocks = tuple(block.requires_grad_() for block in sides.blocks)
    module = stirred(ladder())
    module(h, h, sides).sum().backward()
    assert h.grad is not None
    assert (h.grad == 1).all(), "the stream passes, and nothing of the side network's gradient joins it"
    assert all(block.grad is None for block in sides.blocks)
    assert module.downs[0].weight.grad is not None


@pytest.mark.parametrize("options", FORMS)
def test_padding_is_not_seen(options: dict) -> None:
    module = stirred(ladder(**options))
    h, sides = inputs([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]])
    before = module(h, h, sides)
    assert not before.isnan().any()
    assert sides.mask is not None
    noise = 100 * torch.randn(B, T, D, dtype=torch.float64) * ~sides.mask[..., None]
    sides.blocks = tuple(block + noise for block in sides.blocks)
    torch.testing.assert_close(module(h, h, sides)[sides.mask], before[sides.mask], rtol=0, atol=1e-10)


@pytest.mark.parametrize("mask", [None, [[1] * T] * B])
@pytest.mark.parametrize("options", [{"attention": "causal"}, {"block": "mlp"}])
def test_a_causal_ladder_does_not_see_what_comes_later(options: dict, mask: list[list[int]] | None) -> None:
    module = stirred(ladder(**options))
    h, sides = inputs(mask)
    before = module(h, h, sides)
    sides.blocks = tuple(torch.cat([block[:, :3], block[:, 3:] + 5], dim=1) for block in sides.blocks)
    after = module(h, h, sides)
    torch.testing.assert_close(after[:, :3], before[:, :3], rtol=0, atol=1e-10)
    assert not torch.allclose(after[:, 3:], before[:, 3:])


def test_full_attention_sees_everything() -> None:
    module = stirred(ladder())
    h, sides = inputs()
    before = module(h, h, sides)
    sides.blocks = tuple(torch.cat([block[:, :3], block[:, 3:] + 5], dim=1) for block in sides.blocks)
    assert not torch.allclose(module(h, h, sides)[:, :3], before[:, :3])


@pytest.mark.parametrize("options", [{"reduction_factor": 0}, {"heads": 0}])
def test_sizes_are_at_least_one(options: dict) -> None:
    blocks = {"a": Shape(8, 4), "b": Shape(8, 4)}
    with pytest.raises(SiteError, match="at least 1"):
        Ladder(Shape(8, 4), blocks, **options)


def test_counts() -> None:
    w = D // 2
    count = sum(p.numel() for p in ladder().parameters())
    assert count == (N + 1) * D * w + 12 * N * w**2 + (11 * N + 2) * w + D + N - 1
    assert sum(p.numel() for p in ladder(block="mlp").parameters()) == count - N * (4 * w**2 + 3 * w)


def test_one_block_has_no_gate() -> None:
    module = Ladder(Shape(D), {"block_0": Shape(D)}, reduction_factor=2)
    assert "gates" not in dict(module.named_parameters())


def test_compiles() -> None:
    module = stirred(ladder(attention="causal"))
    h, sides = inputs([[1, 1, 1, 1, 0, 0], [1] * T])
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(h, h, sides), module(h, h, sides))


@pytest.mark.parametrize(
    ("host", "blocks", "options", "message"),
    [
        (Shape(D), {}, {}, "given none"),
        (Shape(D, 4), {"block_0": Shape(D, 16)}, {}, "block_0 returns 16 tokens"),
        (Shape(D), {"block_0": Shape(8), "block_1": Shape(D)}, {}, "8, 16 wide.*stages"),
        (Shape(D), {"block_0": Shape(D)}, {"heads": 3, "reduction_factor": 2}, "does not divide"),
        (Shape(D), {"block_0": Shape(D)}, {"reduction_factor": 32}, "leaves no side network"),
    ],
)
def test_what_cannot_work_is_refused(host: Shape, blocks: dict, options: dict, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        Ladder(host, blocks, **options)


def test_blocks_of_another_length_are_refused_in_the_forward() -> None:
    h, sides = inputs()
    sides.blocks = (sides.blocks[0][:, :2], *sides.blocks[1:])
    with pytest.raises(SiteError, match="last stage"):
        ladder()(h, h, sides)
    sides.blocks = sides.blocks[:1]
    with pytest.raises(SiteError, match="3 rungs"):
        ladder()(h, h, sides)
