"""What weight-space adapters compute on their host, be it a linear layer, a convolution or an embedding."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from adaptkit.adapters.base import Convolution, Shape, check_positive
from adaptkit.errors import SiteError

# D width the projection writes, C width it reads, V rows of an embedding, R rank, G groups of a convolution, (I, J) its
# kernel


def check_projection(host: Shape, method: str) -> None:
    """Raise SiteError unless the host has a weight to change."""
    if host.in_width is None:
        raise SiteError(
            f"{method} changes the weight of a projection, and this site is none.",
            hint='Insert it at "attn.q", "attn.v", "mlp.up", ... or at `path:` of a layer with a weight.',
        )


def check_rank(host: Shape, rank: int) -> None:
    """Raise SiteError where B A could have more columns than the host's weight has rows or columns."""
    check_positive(rank=rank)
    outputs, *inputs = weight_shape(host)
    most = min(outputs, math.prod(inputs))
    if rank > most:
        raise SiteError(
            f"rank = {rank} exceeds the smaller width of the projection ({math.prod(inputs)} -> {outputs}).",
            hint=f"Write rank <= {most}.",
        )


def check_no_embedding(host: Shape, method: str) -> None:
    """Raise SiteError at an embedding, for methods that are not defined there."""
    if host.embedding:
        raise SiteError(
            f"{method} is defined for what is multiplied by a weight, and an embedding looks rows up.",
            hint='Write kind = "lora" or kind = "dora", which also adapt embeddings.',
        )


def weight_shape(host: Shape) -> tuple[int, ...]:
    """(D, C) of a linear layer, (D, C / G, I, J) of a convolution, (D, V) of an embedding."""
    assert host.in_width is not None
    if host.convolution is None:
        return host.width, host.in_width
    return host.width, host.in_width // host.convolution.groups, *host.convolution.kernel


def project(host: Shape, x: Tensor, weight: Tensor) -> Tensor:
    """What the host would return with this weight and no bias.

    (..., C) -> (..., D); maps (B, C, H, W) -> (B, D, H', W'); token ids (...) -> (..., D).
    """
    if host.embedding:
        return functional.embedding(x, weight.T)
    if host.convolution is None:
        return functional.linear(x, weight)
    c = host.convolution
    padded, padding = (padded_to_same(x, c), 0) if c.padding is None else (x, c.padding)
    return convolve(c)(padded, weight, None, c.stride, padding, c.dilation, c.groups)


def convolve(c: Convolution) -> Callable[..., Tensor]:
    """torch's function for its number of dimensions."""
    return functional.conv1d if len(c.kernel) == 1 else functional.conv2d


def padded_to_same(x: Tensor, c: Convolution) -> Tensor:
    """A map with zeros around it, so that the result has size / stride pixels; the odd zero goes to the end."""
    around: list[int] = []
    for size, kernel, stride, dilation in zip(
        x.shape[:1:-1], c.kernel[::-1], c.stride[::-1], c.dilation[::-1], strict=True
    ):
        needed = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        around += [needed // 2, needed - needed // 2]
    return functional.pad(x, around)


def low_rank_weight(a: Tensor, b: Tensor) -> Tensor:
    """B A as the host's weight: A (R, C, ...), B (D, R) or (D, R, 1, 1) -> (D, C, ...)."""
    return torch.tensordot(b.flatten(1), a, dims=1)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def project_low_rank(host: Shape, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`project` by the weight B A, in two cheap steps.

    A grouped convolution keeps one A for all its groups: its weight (D, C / G, I, J) is B A for any rank, which
    neither of the two steps could give if A read all C channels at once.
    """
    if host.convolution is None:
        return functional.linear(project(host, x, a), b)  # (..., C) -> (..., R) -> (..., D)
    groups = host.convolution.groups
    every_group = a if groups == 1 else a.repeat(groups, *(1 for _ in a.shape[1:]))  # (G·R, C / G, I, J)
    inner = project(host, x, every_group)  # (B, C, H, W) -> (B, G·R, H', W')
    return convolve(host.convolution)(inner, b, groups=groups)  # (B, D, H', W')


def per_channel(host: Shape, vector: Tensor) -> Tensor:
    """A vector of channels so that it broadcasts over what the host reads or returns: maps have channels first."""
    return vector if host.convolution is None else vector.view(-1, *(1 for _ in host.convolution.kernel))


def per_output(weight: Tensor, vector: Tensor) -> Tensor:
    """A vector (D,) so that it broadcasts over a weight (D, C, ...)."""
    return vector.view(-1, *(1 for _ in weight.shape[1:]))
