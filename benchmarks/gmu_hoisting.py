"""GMU adapter at Moviescope shapes: the modality once per sample against the published once per token.

python benchmarks/gmu_hoisting.py
"""

from __future__ import annotations

import torch
from paired import arguments, device, paired, report
from torch import Tensor

from adaptkit.adapters import GMU
from adaptkit.adapters.base import Shape
from adaptkit.sides import Side, Sides

BATCH, TOKENS, WIDTH, SIDE, BOTTLENECK, SIDES = 8, 512, 768, 4096, 64, 3


def published(module: GMU, h: Tensor, sides: Sides) -> Tensor:
    """The order of the published code: repeat every modality over the tokens, concatenate, one gate layer on it."""
    a = module.act(module.down(module.norm(h)))  # (B, T, P)
    b = module.project_sides(sides)  # (B, M, P)
    repeated = [b[:, m].unsqueeze(1).expand(-1, h.shape[1], -1) for m in range(b.shape[1])]
    joined = torch.cat([a, *repeated], dim=-1)  # (B, T, (M + 1)·P)
    shares = torch.sigmoid(module.gate(joined)).chunk(len(repeated) + 1, dim=-1)
    mixed = sum(share * value for share, value in zip(shares, [a, *repeated], strict=True))
    return h + module.up(mixed)


def main() -> None:
    options = arguments(__doc__ or "", runs=20)
    torch.manual_seed(0)
    names = [f"side{m}" for m in range(SIDES)]
    module = GMU(Shape(WIDTH), {name: Shape(SIDE) for name in names}, bottleneck=BOTTLENECK, init="published")
    module.to(device())
    h = torch.randn(BATCH, TOKENS, WIDTH, device=device(), requires_grad=True)
    sides = Sides({name: Side.of(torch.randn(BATCH, SIDE, device=device())) for name in names})
    with torch.no_grad():
        assert torch.allclose(module(h, h, sides), published(module, h, sides), atol=1e-4)

    def step(form) -> None:
        module.zero_grad()
        form().square().mean().backward()

    pairs = [
        paired(
            "forward + backward",
            lambda: step(lambda: module(h, h, sides)),
            lambda: step(lambda: published(module, h, sides)),
            runs=options.runs,
        )
    ]
    shapes = {"batch": BATCH, "tokens": TOKENS, "width": WIDTH, "side": SIDE, "bottleneck": BOTTLENECK, "sides": SIDES}
    report("gmu_hoisting", pairs, shapes)


if __name__ == "__main__":
    main()
