"""Ladder side-tuning: a small network beside the backbone, fed by every block, through which alone gradients run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.adapters import base
from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.errors import SiteError
from adaptkit.kinds import Count
from adaptkit.sides import Sides

# B batch, T tokens, D width, W width of the side network, N blocks it reads, H heads

TEMPERATURE = 0.1


@ADAPTERS.register("ladder")
class Ladder(Adapter):
    """Ladder side-tuning (Sung et al. 2022, LST, section 3.2).

    `s_i = SideBlock_i(g_i s_{i-1} + (1 - g_i) D_i h_i)`, `g_i = sigmoid(alpha_i / 0.1)`, over what the blocks of the
    stack returned (h_i, the ones in `layers`); the last s, normalised and widened again, is added to the stream. The
    first rung has no s before it, hence no gate. No gradient of the side network runs through the backbone: the h_i
    are detached. The stream itself is not, so that adapters before it (the encoder's ladder, under a decoder with one)
    learn as well; without any, backward stops here.

    Identity at init: the up-projection is zero.

    Args:
        host: the last hidden states, (B, T, D): `final.out`.
        sides: one shape per block that is read, in order.
        reduction_factor: W = D // reduction_factor.
        block: of the side network: "transformer" or "mlp" (no attention: tokens stay apart).
        heads: H of its attention.
        attention: "full", "causal" (tokens see only what comes before them), or "auto": as in the stack it reads.
        activation: of its feed-forward layers, which are 4 W wide.

    Raises:
        SiteError: full attention in a causal stack, no blocks, blocks of several stages (of different widths or
            lengths), or widths that do not divide.
    """

    paper = "Sung et al. 2022"
    formula = "(N + 1)·D·W + 12·N·W² + (11·N + 2)·W + D + N − 1"
    needs_sides = (0, 0)
    mixes_tokens = "causally"
    reads_blocks = True

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        reduction_factor: Count = 8,
        block: Literal["transformer", "mlp"] = "transformer",
        heads: Count = 4,
        attention: Literal["auto", "full", "causal"] = "auto",
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        check_positive(reduction_factor=reduction_factor, heads=heads)
        check_blocks(host, sides)
        width = host.width // reduction_factor
        if width < 1:
            raise SiteError(
                f"a width of {host.width} with reduction_factor = {reduction_factor} leaves no side network.",
                hint=f"Write reduction_factor <= {host.width}.",
            )
        heads = heads if block == "transformer" else 0
        if heads and host.causal and attention == "full":
            raise SiteError(
                'attention = "full" would let tokens see later ones, which this stack hides from them.',
                hint='Write attention = "causal", or leave it out.',
            )
        causal = host.causal or attention == "causal"
        self.reads_earlier = host.causal and bool(heads)
        self.downs = nn.ModuleList(nn.Linear(shape.width, width) for shape in sides.values())
        self.gates = nn.Parameter(torch.zeros(len(sides) - 1)) if len(sides) > 1 else None  # alpha_2 .. alpha_N
        self.blocks = nn.ModuleList(SideBlock(width, heads, causal, activation) for _ in sides)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, host.width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h: Tensor, z: Tensor, sides: Sides) -> Tensor:
        return h + self.delta(z.detach(), sides)

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        """(B, T, D) from the blocks in `sides.blocks`; z tells their length.

        Raises:
            SiteError: another number of blocks than it was built for, or of tokens than the stream has; samples that
                cannot be told apart; a later step of a generation with a cache, which does not hold what its attention
                would have to see.
        """
        if sides.before is not None:
            raise SiteError(
                "the cache of the model does not hold the earlier tokens of a ladder.",
                hint='Generate with use_cache=False, or write block = "mlp", which keeps tokens apart.',
            )
        if len(sides.blocks) != len(self.downs):
            raise SiteError(f"the ladder has {len(self.downs)} rungs and was given {len(sides.blocks)} blocks.")
        if z.dim() != 3:
            raise SiteError(
                f"a ladder needs (batch, tokens, width), and the stream here has shape {tuple(z.shape)}.",
                hint="This tower lays the tokens of all samples in one row; choose another adapter for it.",
            )
        states: list[Tensor] = []
        for index, (down, block) in enumerate(zip(self.downs, sides.blocks, strict=True)):
            if block.shape[:2] != z.shape[:2]:
                raise other_length(f"block_{index}", block.shape[1], z.shape[1])
            states.append(down(block.detach().to(z.dtype)))  # (B, T, W)
        state = states[0]
        for index, side_block in enumerate(self.blocks):
            if index and self.gates is not None:
                gate = torch.sigmoid(self.gates[index - 1] / TEMPERATURE)
                state = gate * state + (1 - gate) * states[index]
            state = side_block(state, sides.mask)
        return self.up(self.norm(state))  # (B, T, D)


class SideBlock(nn.Module):
    """A pre-norm transformer block of the side network; without heads, its feed-forward branch alone."""

    def __init__(self, width: int, heads: int, causal: bool, activation: str) -> None:
        super().__init__()
        if heads and width % heads:
            raise SiteError(
                f"heads = {heads} does not divide the width of the side network ({width}).",
                hint='Choose heads or reduction_factor so that it does, or block = "mlp".',
            )
        self.heads, self.causal = heads, causal
        self.attention_norm = nn.LayerNorm(width) if heads else None
        # No biases, as in T5: one on the keys changes nothing.
        self.qkv = nn.Linear(width, 3 * width, bias=False) if heads else None
        self.out = nn.Linear(width, width) if heads else None
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.act = base.activation(activation)

    def forward(self, s: Tensor, mask: Tensor | None) -> Tensor:
        if self.heads:
            s = s + self.attend(s, mask)
        return s + self.narrow(self.act(self.wide(self.norm(s))))

    def attend(self, s: Tensor, mask: Tensor | None) -> Tensor:
        qkv, norm, out = cast(nn.Linear, self.qkv), cast(nn.LayerNorm, self.attention_norm), cast(nn.Linear, self.out)
        q, k, v = qkv(norm(s)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, H, T, W / H)
        seen = visible(mask, self.causal)
        causal = self.causal and seen is None
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=causal)
        return out(mixed.transpose(1, 2).flatten(2))


def visible(mask: Tensor | None, causal: bool) -> Tensor | None:
    """(B, 1, T, T) bool, which keys a query sees; None where no token is padding.

    Every token sees itself: a row without any key would be undefined.
    """
    if mask is None:
        return None
    length = mask.shape[1]
    itself = torch.eye(length, dtype=torch.bool, device=mask.device)
    seen = mask[:, None, None, :].expand(-1, 1, length, -1)
    return (seen.tril() if causal else seen) | itself


def check_blocks(host: Shape, sides: Mapping[str, Shape]) -> None:
    if not sides:
        raise SiteError("a ladder reads the blocks of its stack; it was given none.", hint='Write at = "final.out".')
    widths = dict.fromkeys(shape.width for shape in sides.values())
    if len(widths) > 1:
        raise SiteError(
            f"the blocks are {', '.join(map(str, widths))} wide: a ladder cannot join stages of different lengths.",
            hint="Choose `layers` of the last stage.",
        )
    for name, shape in sides.items():
        if shape.tokens is not None and host.tokens is not None and shape.tokens != host.tokens:
            raise other_length(name, shape.tokens, host.tokens)


def other_length(name: str, found: int, expected: int) -> SiteError:
    return SiteError(
        f"{name} returns {found} tokens, the stream at the end has {expected}: a ladder cannot join them.",
        hint="Choose `layers` of the last stage, where the length no longer changes.",
    )
