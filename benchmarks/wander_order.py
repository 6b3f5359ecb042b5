"""Wander at Food-101 shapes: mixing tokens before widening against the published order (widen, then mix).

python benchmarks/wander_order.py
"""

from __future__ import annotations

import torch
from paired import arguments, device, paired, report
from torch import Tensor

from adaptkit.adapters.wander import fuse

BATCH, LENGTHS, WIDTH, RANK, DRANK, TRANK = 4, (197, 512), 768, 64, 8, 12


def published(bottlenecks: list[Tensor], tokens: list[Tensor], widths: list[Tensor]) -> Tensor:
    """(sum_k T[k])^T (A (sum_j D[j])): every token is widened to D first, (B, T, D), then the tokens are mixed."""
    result = None
    for a, t, d in zip(bottlenecks, tokens, widths, strict=True):
        factor = t.sum(0).T @ (a @ d.sum(0))  # (B, O, D)
        result = factor if result is None else result * factor
    assert result is not None
    return result


def all_at_once(bottlenecks: list[Tensor], tokens: list[Tensor], widths: list[Tensor]) -> Tensor:
    """The CP form with all R·K products held at once, widened first: (B, K, R, O, D)."""
    result = None
    for a, t, d in zip(bottlenecks, tokens, widths, strict=True):
        wide = torch.einsum("btp,rpd->brtd", a, d)
        factor = torch.einsum("kto,brtd->bkrod", t, wide)
        result = factor if result is None else result * factor
    assert result is not None
    return result.sum(dim=(1, 2))


def main() -> None:
    options = arguments(__doc__ or "", runs=10)
    torch.manual_seed(0)
    a = [torch.randn(BATCH, t, RANK, device=device(), requires_grad=True) for t in LENGTHS]
    tokens = [torch.randn(TRANK, t, RANK, device=device()).mul(0.05).requires_grad_() for t in LENGTHS]
    widths = [torch.randn(DRANK, RANK, WIDTH, device=device()).mul(0.05).requires_grad_() for _ in LENGTHS]
    leaves = [*a, *tokens, *widths]

    def step(form, *more) -> None:
        torch.autograd.grad(form(a, tokens, widths, *more).square().mean(), leaves)

    with torch.no_grad():
        assert torch.allclose(fuse(a, tokens, widths, "published"), published(a, tokens, widths), rtol=1e-3, atol=1e-4)
        assert torch.allclose(fuse(a, tokens, widths, "cp"), all_at_once(a, tokens, widths), rtol=1e-3, atol=1e-4)
    pairs = [
        paired("published form", lambda: step(fuse, "published"), lambda: step(published), runs=options.runs),
        paired("cp form", lambda: step(fuse, "cp"), lambda: step(all_at_once), runs=max(3, options.runs // 3)),
    ]
    shapes = {"batch": BATCH, "tokens": LENGTHS, "width": WIDTH, "rank": RANK, "drank": DRANK, "trank": TRANK}
    report("wander_order", pairs, shapes)


if __name__ == "__main__":
    main()
