"""Every form of Wander: at fusion, in a block, over spans of one sequence, between towers; two to seven modalities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from adaptkit.adapters import Wander, wander
from adaptkit.adapters.base import Shape
from adaptkit.errors import SiteError
from adaptkit.sides import Side, Sides

# B batch, T tokens of the stream, D its width, P rank, R drank, K trank
B, T, D, P, R, K = 2, 6, 8, 3, 2, 2
WIDTHS, LENGTHS = (5, 8, 3, 1, 7, 4), (4, 1, 7, 2, 6, 3)

Combine = Literal["cp", "published"]
COMBINE: tuple[Combine, ...] = ("cp", "published")


def build(sides: dict[str, Shape], combine: Combine = "cp", out_tokens: int | Literal["host"] = "host") -> Wander:
    module = Wander(Shape(D, T), sides, rank=P, drank=R, trank=K, combine=combine, out_tokens=out_tokens).double()
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def modalities(count: int) -> dict[str, Shape]:
    """All modalities but the stream."""
    return {f"m{i}": Shape(WIDTHS[i], LENGTHS[i]) for i in range(count - 1)}


def drawn(shapes: dict[str, Shape]) -> Sides:
    return Sides({n: Side.of(torch.randn(B, s.tokens or 1, s.width).double()) for n, s in shapes.items()})


def equation(
    module: Wander, sequences: list[Tensor], out: int, combine: Combine, kept: Sequence[int] | None = None
) -> Tensor:
    """One sample: the sequences, of all modalities or those kept, hold only tokens that count. (T_m, E_m) -> (O, D)."""
    kept = range(len(sequences)) if kept is None else kept
    a = [torch.nn.functional.gelu(module.downs[m](x)) for m, x in zip(kept, sequences, strict=True)]
    tokens = [module.token_factors[m][:, : len(x), :out] for m, x in zip(kept, sequences, strict=True)]
    widths = [module.width_factors[m] for m in kept]
    pairs = [(j, k) for j in range(R) for k in range(K)]
    if combine == "published":
        tokens, widths, pairs = [t.sum(0)[None] for t in tokens], [d.sum(0)[None] for d in widths], [(0, 0)]
    total = torch.zeros(out, D).double()
    for j, k in pairs:
        term = torch.ones(out, D).double()
        for m, x in enumerate(a):
            term = term * (tokens[m][k].T @ x @ widths[m][j])
        total = total + term
    return total


@pytest.mark.parametrize("combine", COMBINE)
@pytest.mark.parametrize("count", range(2, 8))
def test_two_to_seven_modalities_of_any_width_and_length(count: int, combine: Combine) -> None:
    shapes = modalities(count)
    module, sides, h = build(shapes, combine), drawn(shapes), torch.randn(B, T, D).double()
    out = module(h, h, sides)
    for sample in range(B):
        sequences = [h[sample], *(side.tensor[sample] for side in sides.values())]
        expected = h[sample] + equation(module, sequences, T, combine)
        torch.testing.assert_close(out[sample], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("combine", COMBINE)
@pytest.mark.parametrize("out_tokens", ["host", 5])
def test_every_sample_may_have_its_own_lengths(combine: Combine, out_tokens: int | Literal["host"]) -> None:
    """Padding at the end of any sequence counts for nothing, in blocks and at fusion; what is out is out."""
    shapes = {"a": Shape(D, 5), "b": Shape(4, 3)}
    module, sides = build(shapes, combine, out_tokens), drawn(shapes)
    h = torch.randn(B, T, D).double()
    lengths = {"h": (6, 4), "a": (2, 5), "b": (3, 1)}
    for name, side in sides.items():
        mask = torch.arange(side.mask.shape[1]) < torch.tensor(lengths[name])[:, None]
        sides[name] = Side(side.tensor, mask, mask.any(1))
    sides.mask = torch.arange(T) < torch.tensor(lengths["h"])[:, None]
    fused = module.delta(h, sides)
    out = T if out_tokens == "host" else out_tokens
    for sample in range(B):
        cut = [h[sample, : lengths["h"][sample]]]
        cut += [side.tensor[sample, : lengths[name][sample]] for name, side in sides.items()]
        torch.testing.assert_close(fused[sample], equation(module, cut, out, combine), rtol=1e-9, atol=1e-9)
        if out_tokens != "host":
            whole = module(h, h, sides)[sample] - fused[sample]
            torch.testing.assert_close(whole, torch.cat(cut[:2])[:out])  # "b" has another width


@pytest.mark.parametrize("combine", COMBINE)
def test_a_side_without_any_token_is_left_out_of_the_product(combine: Combine) -> None:
    """That sample is fused from what it has; other samples do not notice."""
    shapes = modalities(4)
    module, sides, h = build(shapes, combine), drawn(shapes), torch.randn(B, T, D).double()
    whole = module.delta(h, sides)
    sides["m1"].mask[0] = False
    fused = module.delta(h, sides)
    torch.testing.assert_close(fused[1], whole[1])
    rest = [h[0], *(side.tensor[0] for name, side in sides.items() if name != "m1")]
    kept = [0, *(1 + i for i, name in enumerate(sides) if name != "m1")]
    torch.testing.assert_close(fused[0], equation(module, rest, T, combine, kept), rtol=1e-9, atol=1e-9)
    assert fused[0].abs().amax() > 0


@pytest.mark.parametrize("combine", COMBINE)
def test_spans_of_the_host_s_own_sequence(combine: Combine) -> None:
    """One transformer holds [image tokens; text tokens]; both spans are sides, and both pass gradients on."""
    image, text = slice(0, 2), slice(2, None)
    module = build({"span_image": Shape(D, 2), "span_text": Shape(D, T - 2)}, combine)
    h = torch.randn(B, T, D).double().requires_grad_()
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[1, -1] = False
    sides = Sides()
    for name, part in {"span_image": image, "span_text": text}.items():
        sides[name] = Side(h[:, part], mask[:, part], mask[:, part].any(1))
    sides.mask = mask
    fused = module.delta(h, sides)
    for sample, length in enumerate((T, T - 1)):
        stream = h[sample, :length]
        expected = equation(module, [stream, stream[image], stream[text]], T, combine)
        torch.testing.assert_close(fused[sample], expected, rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad(fused.square().sum(), h)
    assert gradient[0].abs().amin() > 0
    assert torch.equal(gradient[1, -1], torch.zeros(D).double()), "padding"


@pytest.mark.parametrize("training", [True, False])
def test_products_are_computed_anew_where_they_would_take_too_much(
    monkeypatch: pytest.MonkeyPatch, training: bool
) -> None:
    """M K B O R D numbers are kept for backward, or none of them."""
    anew: list[Any] = []

    def checkpoint(function: Any, *inputs: Any, **_: Any) -> Tensor:
        anew.append(function)
        return function(*inputs)

    monkeypatch.setattr(wander, "checkpoint", checkpoint)
    module = Wander(Shape(6, 3), {"x": Shape(5, 2)}, rank=7, drank=5, trank=4, combine="cp")
    h, x = torch.randn(2, 3, 6), Side.of(torch.randn(2, 2, 5))
    for most, times in ((2 * 4 * 2 * 3 * 5 * 6, 0), (2 * 4 * 2 * 3 * 5 * 6 - 1, 4)):
        anew.clear()
        monkeypatch.setattr(wander, "KEEP_AT_MOST", most)
        with torch.set_grad_enabled(training):
            module(h, h, Sides({"x": x}))
        assert len(anew) == (times if training else 0)


@pytest.mark.parametrize("combine", ["cp", "published"])
def test_factors_start_at_the_scale_of_what_they_sum(combine: Any) -> None:
    """Over P, and over the tokens of their modality; the stream's tokens at zero."""
    torch.manual_seed(0)
    module = Wander(Shape(512, 40), {"x": Shape(5, 90)}, rank=16, drank=20, trank=30, combine=combine)
    for width in module.width_factors:
        assert float(width.detach().std()) == pytest.approx(16**-0.5, rel=0.02)
    stream, side = module.token_factors
    assert not stream.any()
    assert float(side.detach().std()) == pytest.approx(90**-0.5, rel=0.02)


def test_the_published_form_on_two_spans() -> None:
    """Food-101: the first span's tokens are the stream's part in the product, token 0 of the result is read."""
    module = build({"span_text": Shape(D, 4)}, "published", out_tokens=P)
    stream = torch.randn(B, T, D).double()
    text = Side.of(stream[:, 2:])
    out = module(stream[:, :2], stream[:, :2], Sides({"span_text": text}))
    for sample in range(B):
        fused = equation(module, [stream[sample, :2], stream[sample, 2:]], P, "published")
        torch.testing.assert_close(out[sample], fused + stream[sample, :P], rtol=1e-9, atol=1e-9)


def test_two_towers_read_each_other_at_every_depth() -> None:
    """The side of each layer is what the other tower's block of that layer returned, and learns with it."""
    torch.manual_seed(0)
    vision = torch.nn.ModuleList(torch.nn.Linear(5, 5) for _ in range(3))
    text = torch.nn.ModuleList(torch.nn.Linear(D, D) for _ in range(3))
    adapters = torch.nn.ModuleList(
        Wander(Shape(D, T), {"vision_block_out": Shape(5, 9)}, rank=P, drank=R, trank=K) for _ in range(3)
    )
    optimizer = torch.optim.Adam(adapters.parameters(), lr=1e-2)
    patches, words, goal = torch.randn(B, 9, 5), torch.randn(B, T, D), torch.randn(B, T, D)
    losses, moved = [], set()
    for step in range(30):
        v, h = patches, words
        for see, say, adapter in zip(vision, text, adapters, strict=True):
            v = torch.tanh(see(v))
            plain = torch.tanh(say(h))
            h = adapter(plain, plain, Sides({"vision_block_out": Side.of(v)}))
            if step == 0:
                assert torch.equal(h, plain)
        loss = (h - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        if step < 2:
            moved |= {n for n, p in adapters.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
        losses.append(loss.item())
    assert moved == {name for name, _ in adapters.named_parameters()}
    assert losses[-1] < 0.9 * losses[0]


def test_a_tower_longer_than_planned_is_refused() -> None:
    module = build({"vision_block_out": Shape(5, 9)})
    h = torch.randn(B, T, D).double()
    with pytest.raises(SiteError, match="the side 'vision_block_out' has 10 tokens, and this Wander was built for 9"):
        module(h, h, Sides({"vision_block_out": Side.of(torch.randn(B, 10, 5).double())}))
