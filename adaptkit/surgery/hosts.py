"""What a host is to an adapter: its shape, and its weight in one orientation whatever layer it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from adaptkit.adapters.base import ADAPTERS, Convolution, Shape
from adaptkit.anatomy.detect.mixtures import calls_experts_interface
from adaptkit.anatomy.quantised import NUMBERS, is_quantised, weight_of
from adaptkit.anatomy.site import Site
from adaptkit.errors import SiteError

# V rows of an embedding, D width a projection writes, C width it reads

# Layers that keep their weight as (inputs, outputs): GPT-2's Conv1D, and an embedding read as a projection of rows.
TRANSPOSED = ("Conv1D", "Embedding")


def host_shape(model: nn.Module, site: Site, tokens: int | None = None) -> Shape:
    """The shape of the stream at a site, for the adapter that goes there.

    Args:
        model: on any device.
        site: of its anatomy.
        tokens: T, the longest stream there.
    """
    host = model.get_submodule(site.path)
    if isinstance(host, nn.Embedding):
        return Shape(site.width, tokens, host.num_embeddings, embedding=True)
    if site.parameter:
        return Shape(site.width, tokens, site.in_width, experts=len(host.get_parameter(site.parameter)))
    return Shape(site.width, tokens, site.in_width, geometry(host) if site.is_projection else None, heads=site.heads)


def geometry(host: nn.Module) -> Convolution | None:
    """Of a convolution over maps or series; None for any other module."""
    if not isinstance(host, nn.Conv2d | nn.Conv1d):
        return None
    layer: Any = host
    padding = None if type(host).__name__.endswith("Same") else layer.padding  # timm's Conv2dSame and its like
    return Convolution(layer.kernel_size, layer.stride, padding, layer.dilation, layer.groups)


def check_weight_host(host: nn.Module, path: str, kind: str, parameter: str = "") -> None:
    """Raise SiteError where a weight-space adapter would not compute what the host computes with another weight.

    Args:
        host: the module.
        path: of it.
        kind: of the adapter.
        parameter: that it changes, of fused experts; "" for the weight.
    """
    if parameter and (dtype := host.get_parameter(parameter).dtype) not in NUMBERS:
        raise SiteError(
            f"{path}.{parameter} is kept as {dtype} codes, which {kind} cannot change.",
            hint="Load the backbone unquantised, or choose another site such as attn.q.",
        )
    odd = isinstance(host, nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    odd = odd or getattr(host, "padding_mode", "zeros") != "zeros"
    odd = odd or (isinstance(host, nn.Embedding) and type(host).forward is not nn.Embedding.forward)
    if odd:
        raise SiteError(
            f"{path} is a {type(host).__name__}, whose weight {kind} cannot change.",
            hint="Choose a linear layer, a convolution over maps or series, or a plain embedding.",
        )
    if ADAPTERS.named(kind).reads_weight and is_quantised(host):
        try:
            weight_of(host)
        except SiteError as error:
            first = error.problems[0]
            raise SiteError(f"{kind} reads the weight of {path}: {first.message}", hint=first.hint) from error


def oriented(
    host: nn.Module, columns: tuple[int, int] | None = None, parameter: str = ""
) -> tuple[Tensor, Tensor | None]:
    """The host's weight as (D, C, ...) and its bias (D,), of the given output columns: views, unless it keeps codes.

    An embedding of V rows gives (D, V), a parameter of fused experts (E, D, C) without bias.

    Raises:
        SiteError: it keeps its weight as codes that are not known.
    """
    if parameter:
        return turned(host, host.get_parameter(parameter)), None
    weight, bias = weight_of(host), getattr(host, "bias", None)
    weight = turned(host, weight)
    if columns is not None:
        weight = weight[columns[0] : columns[1]]
        bias = None if bias is None else bias[columns[0] : columns[1]]
    return weight, bias


def turned(host: nn.Module, weight: Tensor) -> Tensor:
    """A weight as its host keeps it -> (D, C, ...), or back again."""
    return weight.transpose(-2, -1) if is_transposed(host) else weight


def is_transposed(host: nn.Module) -> bool:
    """The layer keeps its weight as (C, D), fused experts theirs as (E, C, D)."""
    said = calls_experts_interface(host) and bool(getattr(host, "is_transposed", False))
    return said or any(kind.__name__ in TRANSPOSED for kind in type(host).__mro__)


def check_moving(model: nn.Module, names: Iterable[str]) -> None:
    """Raise SiteError where a parameter that is to move holds codes, which have no gradient."""
    for name in names:
        path, _, own = name.rpartition(".")
        layer = model.get_submodule(path)
        if own == "weight" and is_quantised(layer):
            raise SiteError(
                f"{name} cannot be trained: this {type(layer).__name__} keeps its weight as codes.",
                hint="Train its biases or the norms, insert adapters such as lora, or load the backbone unquantised.",
            )
