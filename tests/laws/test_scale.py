"""Whatever the size of what it reads, a part that fuses modalities neither stays inert nor explodes.

For every multimodal adapter and every fusion, over the number of modalities, the lengths of their sequences (also
short ones under a long bound), widths, and inputs a hundred times smaller and larger: how far the first steps come.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptkit.adapters.base import ADAPTERS, Shape
from adaptkit.fusions.base import FUSIONS
from adaptkit.sides import Side, Sides

# B batch, T tokens of a side, E its width, D width of the stream
B, T, E, D, STREAM_TOKENS = 16, 8, 24, 32, 8
SCALES = (0.01, 0.1, 1.0, 100.0)


@dataclass(frozen=True, slots=True)
class Given:
    """What a part reads: the stream and `modalities` - 1 sides of `tokens` tokens, at most `bound` (0: as many)."""

    modalities: int = 3
    tokens: int = T
    bound: int = 0
    width: int = E
    scale: float = 1.0  # of the sides
    stream: float = 1.0  # and of the stream

    def shapes(self) -> dict[str, Shape]:
        return {f"m{i}": Shape(self.width, self.bound or self.tokens) for i in range(1, self.modalities)}

    def sides(self) -> dict[str, Side]:
        return {name: Side.of(self.scale * torch.randn(B, self.tokens, self.width)) for name in self.shapes()}


PLAIN = Given()
CASES = {
    **{f"{count} modalities": Given(modalities=count) for count in range(2, 8)},
    **{f"{length} tokens": Given(tokens=length) for length in (1, 64, 512)},
    **{f"{length} tokens of at most 512": Given(tokens=length, bound=512) for length in (1, 8)},
    **{f"{width} channels": Given(width=width) for width in (2, 6, 240, 1024)},
    **{f"sides times {scale}": Given(scale=scale) for scale in SCALES},
    **{f"stream times {scale}": Given(stream=scale) for scale in SCALES},
}
MULTIMODAL = [n for n, kind in ADAPTERS.kinds.items() if kind.facts["needs_sides"][0] and not kind.facts["fuses"]]
OF_VECTORS = {"mag"}  # a vector per sample, or one per token of the stream
GATED_BY_STREAM = {"mag"}  # its gate reads the stream as it is, and its shift is bounded by the stream's own length
KEYS: dict[str, dict[str, Any]] = {"tensor": {"width": 3}, "cross_modal": {"layers": 1}}


def rms(x: Tensor) -> float:
    return float(x.detach().square().mean().sqrt())


@cache
def progress(name: str, given: Given) -> float:
    """How large the adapter's change is after two steps of Adam, each of 1e-3, towards a target of size 1."""
    torch.manual_seed(0)
    given = replace(given, tokens=1, bound=0) if name in OF_VECTORS else given
    adapter = ADAPTERS[name](Shape(D, STREAM_TOKENS), given.shapes())
    sides, h = Sides(given.sides()), given.stream * torch.randn(B, STREAM_TOKENS, D)
    wanted = torch.randn(B, STREAM_TOKENS, D)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.mse_loss(adapter(h, h, sides) - h, wanted).backward()
        optimizer.step()
    return rms(adapter(h, h, sides) - h)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", MULTIMODAL)
def test_an_adapter_comes_as_far_in_its_first_steps(name: str, case: str) -> None:
    change, plain = progress(name, CASES[case]), progress(name, PLAIN)
    assert 1e-3 < change < 1.0
    if "sides times" in case or ("times" in case and name not in GATED_BY_STREAM):
        assert plain / 3 < change < plain * 3, f"{change / plain:.3g} times the plain case"


@cache
def answers(name: str, given: Given) -> tuple[float, dict[str, float]]:
    """How much what the fusion gives varies between samples, and the share of it that each stream alone makes."""
    torch.manual_seed(0)
    shapes = {"backbone": Shape(D, STREAM_TOKENS), **given.shapes()}
    fusion = FUSIONS[name](shapes, **KEYS.get(name, {})).eval()
    streams = {"backbone": Side.of(given.stream * torch.randn(B, STREAM_TOKENS, D)), **given.sides()}

    def spread(of: dict[str, Side]) -> float:
        return float(fusion(of).detach().std(0).square().mean().sqrt())

    whole = spread(streams)
    still = {n: Side(s.tensor[:1].expand_as(s.tensor), s.mask, s.present) for n, s in streams.items()}
    return whole, {name: spread({**still, name: side}) / whole for name, side in streams.items()}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FUSIONS.kinds)
def test_a_fusion_hears_every_stream(name: str, case: str) -> None:
    spread, shares = answers(name, CASES[case])
    assert 0.01 < spread < 30
    assert min(shares.values()) > 0.02, shares
    if "times" in case:
        plain = answers(name, PLAIN)[0]
        assert plain / 3 < spread < plain * 3, f"{spread / plain:.3g} times the plain case"
