"""Images as tokens of raw pixels: all in one, by rows, or by patches."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from adaptkit.errors import RecipeError
from adaptkit.modalities.token_encoder import ENCODERS, TokenEncoder

# B batch, T tokens, C channels, H height, W width, P side of a patch


class _Cut(TokenEncoder):
    """Of a (C, H, W) image."""

    modality: ClassVar[tuple[str, ...]] = ("image",)

    def cut(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, T, E)."""
        raise NotImplementedError

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.cut(values)
        return tokens, mask.expand(-1, tokens.shape[1])


@ENCODERS.register("pixels")
class Pixelwise(_Cut):
    """All pixels as one vector of width C·H·W."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = shape
        self.tokens, self.width = 1, channels * height * width

    def cut(self, pixels: Tensor) -> Tensor:
        return pixels.flatten(1)[:, None]  # (B, 1, C*H*W)


@ENCODERS.register("rows")
class Rows(_Cut):
    """One token per row of pixels, of width C·W."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = shape
        self.tokens, self.width = height, channels * width

    def cut(self, pixels: Tensor) -> Tensor:
        return pixels.transpose(1, 2).flatten(2)  # (B, H, C*W)


@ENCODERS.register("patches")
class Patches(_Cut):
    """One token per square patch, of width C·P·P."""

    def __init__(self, shape: tuple[int, int, int], side: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.side = side
        self.tokens, self.width = (height // side) * (width // side), channels * side * side

    @classmethod
    def of(cls, shape: tuple[Any, ...], modality: Any, name: str) -> Patches:
        side, (_, height, width) = modality.patch, shape
        if height % side or width % side:
            raise RecipeError(
                f"an image of {height} x {width} cannot be cut into patches of {side}.",
                where=f"modality.{name}.patch",
                hint="Choose a patch that divides the size.",
            )
        return cls((shape[0], height, width), side)

    def cut(self, pixels: Tensor) -> Tensor:
        p = self.side
        blocks = pixels.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # (B, C, H/P, P, W/P, P)
        return blocks.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B, T, C*P*P)
