"""Wander: low-rank fusion of whole sequences, of any number of modalities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.adapters.norms import SequenceNorm
from adaptkit.errors import SiteError
from adaptkit.kinds import Count
from adaptkit.sides import Sides

# B batch, T tokens of a modality, O output tokens, D width of the stream, E width of a modality,
# P rank (bottleneck), R drank (CP rank over width), K trank (CP rank over tokens)

# Above this many stored numbers the products are recomputed in backward instead of kept (256 MiB in float32).
KEEP_AT_MOST = 2**26

Combine = Literal["cp", "published", "residual"]


@ADAPTERS.register("wander")
class Wander(Adapter):
    """Low-rank sequence fusion (Guo et al., AAAI 2025): a CP-factorised product of all modalities' sequences.

    With A_m = gelu(down_m(X_m)), (B, T_m, P), width factors D_m (R, P, D) and token factors T_m (K, T_m, O):

        "cp"         F = sum_j sum_k  prod_m  T_m[k]^T A_m D_m[j]                    (the paper's decomposition)
        "published"  F = prod_m  (sum_k T_m[k])^T A_m (sum_j D_m[j])                 (the code: rank 1 in effect)
        "residual"   F = (R K)^-1/2 sum_j sum_k (1 + G_0) (prod_{m>0} (1 + G_m) - 1),
                     G_0 = T_0[k]^T A_0 D_0[j],  G_m = (T_m / n_m)^1/2 T_m[k]^T A_m D_m[j],  n_m tokens that count

    The residual form normalises its inputs (the stream per token, a side over its whole sequence) and, multiplied out,
    has a term of its own for every set of modalities that contains a side: no modality can silence another, and its
    scale depends neither on that of its inputs nor on how much of its bound a side fills. The product of the other two
    is one of small numbers only: on features of small scale it hardly learns.

    Modality 0 is the stream itself. Padded tokens contribute exactly 0. A side without any token is left out of the
    product of its sample: as a factor of 0 one absent modality would silence all the others. Without any side F is 0.
    In a block (`out_tokens = "host"`) F is added to the stream; at `fusion` a number of `out_tokens` gives the
    published form, whose residual is the first tokens of the concatenated modalities.
    With shared positions T_0[k] is one number and T_m[k] is (T_m, 1): a token reads itself and the sides, which are
    computed once per sample, and the stream needs no bound.

    Identity at init, and trainable: only the stream's token factors are zero, in the residual form the sides' width
    factors. (With all of them zero, as published, no parameter ever receives a gradient.)

    Args:
        host: the stream; `tokens` bounds its length (`backbone.max_tokens`).
        sides: the other modalities; each needs `tokens`.
        rank: P, width of every modality's bottleneck.
        drank: R, number of width factors.
        trank: K, number of token factors.
        combine: "residual" multiplies 1 + each modality; "cp" is the product of the modalities themselves, summed after
            it, and "published" summed before it.
        out_tokens: "host" keeps the stream's tokens; a number makes a new sequence (at `fusion` only).
        positions: "own" gives every output token its own token factors, "shared" gives all of them the same. "auto"
            shares in the residual form that keeps the stream's tokens, and in every causal stack.

    Raises:
        SiteError: a length is unbounded, a sequence is longer than its bound, or positions cannot be so.
    """

    paper = "Guo et al. 2025 (arXiv 2412.08979)"
    formula = "sum_m(E_m·P + P + R·P·D + K·T_m·O), residual: and 2·E_m"
    needs_sides = (1, None)
    mixes_tokens = "causally"
    halves = (("norms", "downs"), ("width_factors", "token_factors"))

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        rank: Count = 16,
        drank: Count = 8,
        trank: Count = 12,
        combine: Combine = "residual",
        out_tokens: Count | Literal["host"] = "host",
        positions: Literal["auto", "own", "shared"] = "auto",
    ) -> None:
        super().__init__()
        check_positive(rank=rank, drank=drank, trank=trank)
        self.names = tuple(sides)
        self.combine: Combine = combine
        self.out_tokens = None if out_tokens == "host" else out_tokens
        self.keeps_length = self.out_tokens is None
        modalities = [host, *sides.values()]
        self.shared = shares_positions(positions, host, combine, self.keeps_length)
        stream = 1 if self.shared else bounded("the stream", host)
        lengths = [stream, *(bounded(f"the side {n!r}", s) for n, s in sides.items())]
        out = stream if self.out_tokens is None else self.out_tokens
        check_positive(out_tokens=out)
        normed = modalities if combine == "residual" else []
        self.norms = nn.ModuleList(SequenceNorm(s.width) if m else nn.LayerNorm(s.width) for m, s in enumerate(normed))
        self.downs = nn.ModuleList(nn.Linear(shape.width, rank) for shape in modalities)
        self.width_factors = nn.ParameterList(torch.empty(drank, rank, host.width) for _ in modalities)
        self.token_factors = nn.ParameterList(torch.empty(trank, length, out) for length in lengths)
        self.initialise()

    def initialise(self) -> None:
        """Where F starts, at 0, and how large its factors are."""
        if self.combine == "residual":
            self._initialise_residual()
            return
        for index, (width, token) in enumerate(zip(self.width_factors, self.token_factors, strict=True)):
            nn.init.normal_(width, std=width.shape[1] ** -0.5)
            nn.init.normal_(token, std=token.shape[1] ** -0.5)
            if index == 0:
                nn.init.zeros_(token)

    @torch.no_grad()
    def _initialise_residual(self) -> None:
        """Width factors of the sides zero. An output token reads its own token of the stream, and of a side all alike.

        No position of a side is special before training, which is what carries over to sequences of other words. A side
        alone enters by the sum of its token factors over k: that has the same size in every row, and only its sign is
        left to chance, which for a side of one vector would else decide how much of it is heard.
        """
        for index, (width, token) in enumerate(zip(self.width_factors, self.token_factors, strict=True)):
            down = cast(nn.Linear, self.downs[index])
            nn.init.normal_(down.weight, std=down.in_features**-0.5)
            nn.init.zeros_(down.bias)
            if index == 0:
                nn.init.normal_(width, std=width.shape[1] ** -0.5)
                token.copy_(torch.eye(*token.shape[1:], out=torch.empty_like(token[0])).expand_as(token))
            else:
                nn.init.zeros_(width)
                ranks, rows = token.shape[:2]
                alike = nn.init.normal_(torch.empty_like(token[..., :1]), std=rows**-0.5)  # (K, T_m, 1)
                total = alike.sum(0)
                alike += (torch.where(total < 0, -1.0, 1.0) * (ranks / rows) ** 0.5 - total) / ranks
                token.copy_(alike.expand_as(token))

    def forward(self, h: Tensor, z: Tensor, sides: Sides) -> Tensor:
        """(B, T, D) -> (B, T, D), or (B, O, D) with a number of `out_tokens`."""
        fused = self.delta(z, sides)
        if self.out_tokens is None:
            return h + fused
        return fused + self.first_tokens(h, sides, self.out_tokens)

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        out = z.shape[1] if self.out_tokens is None else self.out_tokens
        sequences = [(z, sides.mask), *((sides[name].counted(), sides[name].mask) for name in self.names)]
        bottlenecks: list[Tensor] = []  # (B, T_m, P) each
        for down, (x, mask) in zip(cast(Iterable[nn.Linear], self.downs), sequences, strict=True):
            x = x.to(down.weight.dtype)
            if self.norms:
                norm = self.norms[len(bottlenecks)]
                x = norm(x, mask) if isinstance(norm, SequenceNorm) else norm(x)
            a = functional.gelu(down(x))
            a = a if mask is None else torch.where(mask.unsqueeze(-1), a, 0.0)  # padding is exactly 0
            if self.norms and bottlenecks:  # a sum over n tokens grows with sqrt(n); the factors are made for all rows
                assert mask is not None, "a side always has a mask"
                rows = self.token_factors[len(bottlenecks)].shape[1]
                a = a * (rows / mask.sum(1).clamp(min=1).to(a)).sqrt()[:, None, None]
            bottlenecks.append(a)
        tokens = [self.rows(m, a.shape[1], out) for m, a in enumerate(bottlenecks)]
        there = [sides[name].mask.any(dim=1) for name in self.names]  # (B,) each
        fused = fuse(bottlenecks, tokens, list(self.width_factors), self.combine, [None, *there])
        return torch.where(torch.stack(there).any(dim=0)[:, None, None], fused, 0.0)

    def rows(self, index: int, length: int, out: int) -> Tensor:
        """(K, length, out): the token factors of the first `length` tokens."""
        factors = self.token_factors[index]
        length, out = (1 if index == 0 else length, 1) if self.shared else (length, out)
        names = ("the stream", *(f"the side {name!r}" for name in self.names))
        for what, found, bound in ((names[index], length, factors.shape[1]), (names[0], out, factors.shape[2])):
            if found > bound:
                raise SiteError(
                    f"{what} has {found} tokens, and this Wander was built for {bound}.",
                    hint="Raise max_tokens of the backbone or the modality.",
                )
        return factors[:, :length, :out]

    def first_tokens(self, h: Tensor, sides: Sides, count: int) -> Tensor:
        """(B, O, D): the first tokens that count of the concatenated modalities, zeros where there are fewer."""
        alike = [sides[n] for n in self.names if sides[n].tensor.shape[-1] == h.shape[-1]]
        every = torch.ones(h.shape[:2], dtype=torch.bool, device=h.device) if sides.mask is None else sides.mask
        joined = torch.cat([h, *(side.tensor.to(h.dtype) for side in alike)], dim=1)  # (B, T, D)
        counts = torch.cat([every, *(side.mask for side in alike)], dim=1)  # (B, T)
        order = torch.argsort(~counts, dim=1, stable=True)[:, :count]  # padding goes last, the rest stays in order
        joined = torch.where(counts.unsqueeze(-1), joined, 0.0)
        kept = torch.take_along_dim(joined, order.unsqueeze(-1), dim=1)
        return functional.pad(kept, (0, 0, 0, count - kept.shape[1]))


def shares_positions(positions: str, host: Shape, combine: Combine, keeps_length: bool) -> bool:
    """Whether all output tokens have the same token factors."""
    if positions == "shared" and not keeps_length:
        raise SiteError(
            'positions = "shared" keeps the tokens of the stream, and out_tokens makes new ones.',
            hint='Write positions = "own", or leave out_tokens out.',
        )
    if positions == "own" and host.causal:
        raise SiteError(
            'with positions = "own" a token reads all others, and here no token may see a later one.',
            hint='Write positions = "shared".',
        )
    return host.causal or positions == "shared" or (positions == "auto" and combine == "residual" and keeps_length)


def bounded(what: str, shape: Shape) -> int:
    """The longest sequence of a modality: its token factors have one row per token."""
    if shape.tokens is None:
        raise SiteError(
            f"Wander needs to know how many tokens {what} has at most.",
            hint="Write max_tokens (of the backbone, or of the modality).",
        )
    return shape.tokens


def fuse(
    bottlenecks: list[Tensor],
    tokens: list[Tensor],
    widths: list[Tensor],
    combine: Combine,
    there: Sequence[Tensor | None] = (),
) -> Tensor:
    """The fused sequence.

    Args:
        bottlenecks: per modality (B, T_m, P).
        tokens: per modality (K, T_m, O).
        widths: per modality (R, P, D).
        combine: where the factors are summed: after the product over modalities ("cp", "residual") or before
            ("published"); "residual" multiplies 1 + each factor.
        there: per modality (B,) bool, the samples that have it; None, or nothing, where all have.

    Returns:
        (B, O, D).
    """
    if combine == "published":
        tokens = [t.sum(0, keepdim=True) for t in tokens]
        widths = [d.sum(0, keepdim=True) for d in widths]
    batch, length = bottlenecks[0].shape[:2]
    out = length if tokens[0][0].numel() == 1 else tokens[0].shape[2]
    kept = len(bottlenecks) * tokens[0].shape[0] * batch * out * widths[0].shape[0] * widths[0].shape[2]
    recompute = kept > KEEP_AT_MOST and torch.is_grad_enabled()
    have = [None if each is None else each[:, None, None, None] for each in there or [None] * len(bottlenecks)]
    fused = None
    for k in range(tokens[0].shape[0]):  # accumulate over k: never all R·K products at once
        inputs = [x for m, a in enumerate(bottlenecks) for x in (a, tokens[m][k], widths[m], have[m])]
        multiply = residual_product if combine == "residual" else product
        term = checkpoint(multiply, *inputs, use_reentrant=False) if recompute else multiply(*inputs)
        fused = term if fused is None else fused + term
    assert fused is not None
    return fused * (tokens[0].shape[0] * widths[0].shape[0]) ** -0.5 if combine == "residual" else fused


def residual_product(*inputs: Tensor | None) -> Tensor:
    """sum_j (1 + G_0) (prod_{m>0} (1 + G_m) - 1) for one k; `inputs` as for `product`. (B, O, D)

    A modality that a sample lacks has no token that counts, so its G is 0 and its factor 1.
    """
    stream, *sides = (expand(a, t, d) for a, t, d, _ in factors(inputs))  # (B, O, R, D) each
    grown = sides[0]
    for side in sides[1:]:
        grown = grown + side + grown * side  # never 1 + g - 1: half precision would lose g
    return (grown + stream * grown).sum(dim=2)


def product(*inputs: Tensor | None) -> Tensor:
    """sum_j prod_m T_m^T A_m D_m[j] for one k; `inputs` are A, T, D and who has it of each modality. (B, O, D)."""
    result = None
    for a, t, d, has in factors(inputs):
        factor = expand(a, t, d)  # (B, O, R, D)
        if has is not None:
            factor = torch.where(has, factor, 1.0)
        result = factor if result is None else result * factor
    assert result is not None
    return result.sum(dim=2)


def factors(inputs: Sequence[Tensor | None]) -> Iterable[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
    """A, T, D and who has it, of each modality; only the last may be None. (`checkpoint` takes tensors one by one.)"""
    given = cast(Sequence[Tensor], inputs)
    return zip(given[0::4], given[1::4], given[2::4], inputs[3::4], strict=True)


def expand(a: Tensor, t: Tensor, d: Tensor) -> Tensor:
    """T^T A D[j] for every j, in the cheaper order: (B, T, P), (T, O), (R, P, D) -> (B, O, R, D)."""
    (length, out), (ranks, rank, width) = t.shape, d.shape
    flat = d.transpose(0, 1).reshape(rank, ranks * width)  # (P, R·D)
    if t.numel() == 1:  # of every token alone: (B, T, R, D)
        return torch.unflatten((a * t) @ flat, -1, (ranks, width))
    mix_first = out * rank * (length + ranks * width)
    widen_first = length * ranks * width * (rank + out)
    if mix_first <= widen_first:
        s = t.T @ a  # (B, O, P)
        return torch.unflatten(s @ flat, -1, (ranks, width))
    w = a @ flat  # (B, T, R·D)
    return torch.unflatten(t.T @ w, -1, (ranks, width))
