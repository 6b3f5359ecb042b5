"""Cross-modal transformers: every modality's sequence attends to every other's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.adapters.base import Shape, check_positive
from adaptkit.errors import SiteError
from adaptkit.fusions.base import FUSIONS, Fusion
from adaptkit.kinds import Count, Depth, Share
from adaptkit.pooling import POOLS
from adaptkit.sides import Side

# B batch, T tokens of the target, S tokens of the source, E width of a stream, D common width, k streams


@FUSIONS.register("cross_modal")
class CrossModal(Fusion):
    """Multimodal transformer, MulT (Tsai et al. 2019): pairs of sequences by cross-attention, unaligned.

        X_m = sqrt(D) * Conv1d_m(x_m) + positions                   (B, T_m, D)
        Z_{s->m} = a cross-modal transformer: queries from X_m, keys and values from X_s, for every s != m
        Z_m = a transformer over [Z_{s->m} for every s], width (k - 1)·D
        h = [one token of Z_1; ..; one token of Z_k]

    Layers are pre-norm, x + attention(norm(x), norm(source)), then x + mlp(norm(x)) of four times the width with
    ReLU, and a norm at the end. Positions are sines and cosines, counted over the tokens that count, so padding
    changes nothing wherever it stands. Nothing attends to an absent modality, whose own share of h is 0.

    Args:
        streams: shapes of what meets; all as sequences.
        width: D, common width of the sequences.
        heads: of every attention; divides D.
        layers: of each cross-modal transformer.
        self_layers: of each target's own transformer. Default: as many as `layers`, at least 3, as published.
        kernel: of the convolution that brings a sequence to width D; odd. 1 is a linear layer.
        pool: which token of Z_m goes on: its "last" one as published, its "first", or the "mean" of all.
        dropout: of attention weights, hidden units and branches.
        embed_dropout: of X_m.
        norm: layer norm of every sequence as a whole first, so that positions weigh alike beside streams of any scale.
            Published: none.

    Raises:
        SiteError: heads that do not divide the width, or an even kernel.
    """

    paper = "Tsai et al. 2019 (arXiv 1906.00295)"
    formula = (
        "kernel·D·sum_m(E_m) + k·(k - 1)·(L·(12·D² + 13·D) + 2·D) + k·(S·(12·C² + 13·C) + 2·C), "
        "C = (k - 1)·D, L layers, S self_layers; with norm + sum_m(2·E_m)"
    )
    sequences = True

    def __init__(
        self,
        streams: Mapping[str, Shape],
        *,
        width: Count = 30,
        heads: Count = 5,
        layers: Depth = 5,
        self_layers: Depth | None = None,
        kernel: Count = 1,
        pool: Literal["last", "first", "mean"] = "last",
        dropout: Share = 0.1,
        embed_dropout: Share = 0.25,
        norm: bool = True,
    ) -> None:
        joined = (len(streams) - 1) * width
        super().__init__(streams, len(streams) * joined, norm=norm)
        own_layers = max(layers, 3) if self_layers is None else self_layers
        check_positive(width=width, heads=heads, layers=layers, self_layers=own_layers, kernel=kernel)
        if width % heads:
            raise SiteError(f"heads = {heads} does not divide width = {width}.", hint="Change one of them.")
        if kernel % 2 == 0:
            raise SiteError(f"kernel = {kernel} has no middle.", hint=f"Write kernel = {kernel + 1}.")
        self.pool: Literal["last", "first", "mean"] = pool
        self.embed_dropout = nn.Dropout(embed_dropout)
        self.embed = nn.ModuleDict(
            {
                name: nn.Conv1d(shape.width, width, kernel, padding=kernel // 2, bias=False)
                for name, shape in streams.items()
            }
        )
        self.cross = nn.ModuleDict(
            {
                target: nn.ModuleDict({s: Transformer(width, heads, layers, dropout) for s in streams if s != target})
                for target in streams
            }
        )
        self.own = nn.ModuleDict({name: Transformer(joined, heads, own_layers, dropout) for name in streams})

    def forward(self, streams: Mapping[str, Side]) -> Tensor:
        masks = {name: streams[name].mask for name in self.names}
        embedded = {name: self.embedded(name, streams[name]) for name in self.names}  # (B, T_m, D) each
        chosen = []
        for target in self.names:
            pairs: nn.ModuleDict = self.cross[target]  # pyright: ignore[reportAssignmentType]
            seen = [pairs[s](embedded[target], embedded[s], masks[s]) for s in pairs]  # (B, T_m, D) each
            joined = torch.cat(seen, dim=2)  # (B, T_m, (k - 1)·D)
            chosen.append(POOLS[self.pool](self.own[target](joined, None, masks[target]), masks[target]))
        return torch.cat(chosen, dim=1)  # (B, k·(k - 1)·D)

    def embedded(self, name: str, side: Side) -> Tensor:
        """(B, T, E) -> (B, T, D), with positions; zeros in place of what does not count."""
        convolution: nn.Conv1d = self.embed[name]  # pyright: ignore[reportAssignmentType]
        counts = side.mask.unsqueeze(-1)  # (B, T, 1)
        x = side.counted().to(convolution.weight.dtype)
        if self.norms:
            x = torch.where(counts, self.norms[name](x, side.mask), 0.0)
        x = convolution(x.mT).mT * convolution.out_channels**0.5  # (B, T, D)
        return self.embed_dropout((x + positions(side.mask, x.shape[-1]).to(x.dtype)) * counts)


class Transformer(nn.Module):
    """Layers of attention from one sequence to another, or, without a source, to itself."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, source: Tensor | None, counts: Tensor) -> Tensor:
        """(B, T, D), (B, S, D), and (B, S), what of the source counts -> (B, T, D)."""
        for layer in self.layers:
            x = layer(x, x if source is None else source, counts)
        return self.norm(x)


class Layer(nn.Module):
    """Pre-norm attention and feed-forward; queries, keys and values share a norm, as in the authors' code."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.norm, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, source: Tensor, counts: Tensor) -> Tensor:
        heard = counts.any(dim=1, keepdim=True)  # (B, 1)
        # Where nothing counts, nothing is ignored: a softmax over no key would be NaN. Its result is dropped.
        ignored = ~counts & heard
        keys = self.norm(source)
        found = self.attention(self.norm(x), keys, keys, key_padding_mask=ignored, need_weights=False)[0]
        x = x + self.dropout(found * heard.unsqueeze(-1))
        return x + self.dropout(self.down(self.dropout(functional.relu(self.up(self.norm_mlp(x))))))


def positions(counts: Tensor, width: int) -> Tensor:
    """(B, T) -> (B, T, D): sines, then cosines, of the number of the token among those that count, from 1."""
    half = math.ceil(width / 2)
    steps = torch.arange(half, device=counts.device, dtype=torch.float32)
    rates = torch.exp(steps * (-math.log(10000.0) / max(half - 1, 1)))
    angles = counts.cumsum(dim=1).unsqueeze(-1) * rates  # (B, T, D / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[..., :width]
