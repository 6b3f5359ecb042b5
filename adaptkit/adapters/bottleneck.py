"""Bottleneck adapters: Houlsby, Pfeiffer and parallel are one module at different sites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from adaptkit.adapters import base
from adaptkit.adapters.adapterhub import HubForm, activation_here, activation_there
from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.adapters.translated import Translated
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
        self.activation, self.act = activation, base.activation(activation)

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        a = self.dropout(self.act(self.down(self.norm_before(z))))  # (B, T, P)
        return self.scale * self.norm_after(self.up(a))  # (B, T, D)

    def hub_form(self, halves: Mapping[str, Tensor], width: int, config: Mapping[str, Any]) -> HubForm | None:
        """AdapterHub's form of what this is around its two projections; None where AdapterHub computes something else.

        Args:
            halves: tensors of the projections by AdapterHub's names, the first of "adapter_down".
            width: P.
            config: what else its configuration says.
        """
        word, scale = activation_there(self.activation), self.scale
        learned = isinstance(scale, nn.Parameter)
        before, after = (isinstance(norm, nn.LayerNorm) for norm in (self.norm_before, self.norm_after))
        if word is None or (after and (learned or scale != 1)):  # there the norm comes behind the scale
            return None
        told = {
            "non_linearity": word,
            "scaling": "learned" if isinstance(scale, nn.Parameter) else float(scale),
            "ln_before": before,
            "ln_after": after,
            **config,
        }
        first = "adapter_down.1." if before else "adapter_down.0."
        tensors = {name.replace("adapter_down.", first): value for name, value in halves.items()}
        for name in ("adapter_norm_before", "adapter_down.0") if before else ():  # it is written twice
            tensors |= {f"{name}.{kind}": value for kind, value in self.norm_before.named_parameters()}
        if after:
            tensors |= {f"adapter_norm_after.{kind}": value for kind, value in self.norm_after.named_parameters()}
        if isinstance(scale, nn.Parameter):
            tensors["scaling"] = scale.view(1)
        return HubForm(None, told, tensors, width=width)

    @classmethod
    def read_hub(cls, form: HubForm, names: Mapping[str, str]) -> Translated | None:
        """The inverse of `hub_form`; None where it has another activation or norms in other places.

        Args:
            names: AdapterHub's name of a tensor of the projections -> its name here.
        """
        config, tensors = form.config, dict(form.tensors)
        activation, scale = activation_here(config.get("non_linearity")), config.get("scaling", 1.0)
        before, after = form.option("ln_before", False), form.option("ln_after", False)
        number = isinstance(scale, int | float) and scale > 0
        if activation is None or not (scale == "learned" or number) or (after and scale != 1):
            return None
        state: dict[str, Tensor] = {}
        for kind in ("weight", "bias") if before else ():
            tensors.pop(f"adapter_down.0.{kind}", None)  # the norm again
            if f"adapter_norm_before.{kind}" in tensors:
                state[f"norm_before.{kind}"] = tensors.pop(f"adapter_norm_before.{kind}")
        first = "adapter_down.1." if before else "adapter_down.0."
        for name, value in tensors.items():
            found = name.replace(first, "adapter_down.").replace("adapter_norm_after.", "norm_after.")
            state[names.get(found, found)] = value
        if "scaling" in state:
            state["scale"] = state.pop("scaling").squeeze(0)
        options = {"activation": activation, "scale": scale, "norm_before": before, "norm_after": after}
        return Translated(options, state, ("non_linearity", "scaling", "ln_before", "ln_after"))


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

    def adapterhub(self) -> HubForm | None:
        halves = {
            f"adapter_{name}.{kind}": value
            for name, half in (("down", self.down), ("up", self.up))
            for kind, value in half.named_parameters()
        }
        units, width = halves["adapter_down.weight"].shape
        same = width == len(halves["adapter_up.weight"])
        return self.hub_form(halves, units, {"phm_layer": False}) if same else None

    @classmethod
    def from_adapterhub(cls, form: HubForm) -> Translated | None:
        if form.architecture is not None or form.option("phm_layer", False):
            return None
        names = {f"adapter_{half}.{kind}": f"{half}.{kind}" for half in ("down", "up") for kind in ("weight", "bias")}
        found = cls.read_hub(form, names)
        if found is None or "down.weight" not in found.state:
            return None
        return replace(found, options={**found.options, "bottleneck": len(found.state["down.weight"])})


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
