"""Modules that no library built, as a user writes them: a transformer for text, a convolutional network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.laws.families import TOKENS, Family, shaken, text, timm_image

# B batch, T tokens, D width, C channels, H height, W width of a map


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, T, D / heads)
        shown = None if mask is None else mask[:, None, None]
        h = functional.scaled_dot_product_attention(q, k, v, attn_mask=shown)
        return self.proj(h.transpose(1, 2).flatten(2))  # (B, T, D)


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.up, self.down = nn.Linear(width, 48), nn.Linear(48, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.norm1(x), mask)
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class OwnTransformer(nn.Module):
    """Reads ids and a mask under names of its own, and returns its states (B, T, D)."""

    def __init__(self, words: int = 64, width: int = 32, depth: int = 2, heads: int = 4, length: int = 32) -> None:
        super().__init__()
        self.embed, self.positions = nn.Embedding(words, width), nn.Embedding(length, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.embed(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))))


class OwnConvNet(nn.Module):
    """Says what it reads, and returns a map (B, C, H, W)."""

    adaptkit_input = {"kind": "image", "size": 32}  # noqa: RUF012  as a user writes it

    def __init__(self, channels: int = 16, depth: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 4, stride=4)
        self.blocks = nn.Sequential(*(Residual(channels) for _ in range(depth)))

    def forward(self, image: Tensor) -> Tensor:
        return self.blocks(self.stem(image))


def transformer() -> nn.Module:
    torch.manual_seed(0)
    return shaken(OwnTransformer().eval())


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    return shaken(OwnConvNet().eval())


def tokens() -> dict[str, Tensor]:
    given = text()
    return {"tokens": given["input_ids"], "mask": given["attention_mask"].bool()}


def pixels() -> dict[str, Tensor]:
    return {"image": timm_image()["x"]}


FAMILIES = (
    Family("own_transformer", transformer, tokens, {"": TOKENS}),
    Family("own_convolutions", convolutions, pixels, {}, convolutional=True),
)
