"""Bottleneck adapters: Houlsby, Pfeiffer and parallel are one module at different sites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, cast

import torch
from torch import Tensor, nn

from adaptkit.adapters import base
from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.errors import SiteError
from adaptkit.kinds import Count, Positive, Share
from adaptkit.sides import Sides

# B batch, T tokens, D width of the stream, C width of what is read (D unless that is elsewhere), P bottleneck


class Funnel(Adapter):
    """What all bottlenecks do: `f(z) = scale * norm_after(up(act(down(norm_before(z)))))`.

    Args:
        host: the stream, (B, T, D); `host.read_width` is C.
        down: (B, T, C) -> (B, T, P).
        up: (B, T, P) -> (B, T, D).
        activation, scale, norm_before, norm_after, norms, dropout: as in `Bottleneck`.
    """

    reads_any_width = True
    halves = (("down",), ("up",))

    def __init__(
        self,
        host: Shape,
        down: nn.Module,
        up: nn.Module,
        *,
        activation: str,
        scale: Positive | Literal["learned"],
        norm_before: bool,
        norm_after: bool,
        norms: Literal["own", "tasks"],
        dropout: Share,
    ) -> None:
        super().__init__()
        self.norm_before = nn.LayerNorm(width_read(host)) if norm_before else nn.Identity()
        self.down, self.up = down, up
        self.norm_after = nn.LayerNorm(host.width) if norm_after else nn.Identity()
        self.of_all_tasks = ("norm_before", "norm_after") if norms == "tasks" else ()
        self.dropout = nn.Dropout(dropout)
        self.scale = nn.Parameter(torch.ones(())) if scale == "learned" else scale
        self.act = base.activation(activation)

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        a = self.dropout(self.act(self.down(self.norm_before(z))))  # (B, T, P)
        return self.scale * self.norm_after(self.up(a))  # (B, T, D)


@ADAPTERS.register("bottleneck")
class Bottleneck(Funnel):
    """Down-projection, activation, up-projection: `f(z) = scale * up(act(down(z)))`, added to the stream.

    The placement makes the method: `at = ["attn.out", "mlp.out"]` is Houlsby et al. 2019 (eq. in section 2.1),
    `at = ["mlp.sum"]` is Pfeiffer et al. 2021 (reads the normalised sum), `at = ["mlp.out"]` with
    `read = "stream"` and `scale = 4.0` is the parallel adapter of He et al. 2022. With `read` at a projection it reads
    what the projection reads: VL-Adapter's adapter beside the language model's head.

    Identity at init: the up-projection is zero.

    Args:
        host: the stream, (B, T, D).
        sides: none.
        reduction_factor: P = width that is read // reduction_factor, unless `bottleneck` is given.
        bottleneck: P, width of the bottleneck.
        activation: "gelu", "gelu_tanh", "relu", "silu", "tanh" or "leaky_relu".
        scale: factor of the adapter's output, or "learned" (one scalar per adapter, starting at 1).
        norm_before: LayerNorm on what the adapter reads.
        norm_after: LayerNorm on what it adds.
        norms: where tasks have copies, each norm is the copy's "own", or one of a place for all "tasks", as published.
        dropout: probability of dropping a bottleneck unit in training.
        init: "identity" (up-projection zero) or "published" (both N(0, 0.02), so not the identity).

    Raises:
        SiteError: the bottleneck would have no units.
    """

    paper = "Houlsby et al. 2019; Pfeiffer et al. 2021; He et al. 2022"
    formula = "2·D·P + P + D"
    needs_sides = (0, 0)
    mixes_tokens = "never"

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        reduction_factor: Count = 16,
        bottleneck: Count | None = None,
        activation: str = "gelu",
        scale: Positive | Literal["learned"] = 1.0,
        norm_before: bool = False,
        norm_after: bool = False,
        norms: Literal["own", "tasks"] = "own",
        dropout: Share = 0.0,
        init: Literal["identity", "published"] = "identity",
    ) -> None:
        units = units_of(host, reduction_factor, bottleneck)
        down, up = nn.Linear(width_read(host), units), nn.Linear(units, host.width)
        initialise([down], up, init)
        super().__init__(
            host,
            down,
            up,
            activation=activation,
            scale=scale,
            norm_before=norm_before,
            norm_after=norm_after,
            norms=norms,
            dropout=dropout,
        )


def width_read(host: Shape) -> int:
    """C: of the place the adapter reads."""
    return host.width if host.read_width is None else host.read_width


def units_of(host: Shape, reduction_factor: int, bottleneck: int | None) -> int:
    """P: `bottleneck`, or C // reduction_factor.

    Raises:
        SiteError: the bottleneck would have no units.
    """
    check_positive(reduction_factor=reduction_factor)
    width = width_read(host)
    units = width // reduction_factor if bottleneck is None else bottleneck
    if units < 1:
        raise SiteError(
            f"a width of {width} with reduction_factor = {reduction_factor} leaves no bottleneck.",
            hint=f"Write reduction_factor <= {width} or give bottleneck.",
        )
    return units


def initialise(downs: Iterable[nn.Linear], up: nn.Linear, init: Literal["identity", "published"]) -> None:
    """Initial values of a bottleneck: biases zero; weights N(0, 0.02) as published, or the identity.

    The identity needs a zero up-projection alone; the down-projections then keep torch's (Kaiming-uniform) scale,
    which learns faster than 0.02 because narrow inputs are not muted.
    """
    for projection in (*downs, up):
        bias = cast(nn.Parameter | None, projection.bias)
        if bias is not None:
            nn.init.zeros_(bias)
        if init == "published":
            nn.init.normal_(projection.weight, std=0.02)
    if init == "identity":
        nn.init.zeros_(up.weight)
