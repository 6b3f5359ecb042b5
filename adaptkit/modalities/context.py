"""What an encoder must know of the backbone it feeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class BackboneContext:
    """The backbone, seen from an encoder.

    Attributes:
        width: D, width of its stream.
        tokenizer: gives its tokenizer when first needed; None for a backbone that reads no text.
        image_size: (height, width) of the images it reads; None for a backbone that reads none.
        channels: of the images it reads.
        mean: per channel, of images scaled to 0..1.
        std: per channel, of images scaled to 0..1.
        max_tokens: longest text in tokens; None for no limit.
        prompt: what it reads, with "{text}" where a text goes.
        prompts: task -> its own, where tasks have several; then `prompt` is the longest.
        base: folder that relative paths of the recipe start from.
    """

    width: int
    tokenizer: Callable[[], Any] | None = None
    image_size: tuple[int, int] | None = None
    channels: int = 3
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    max_tokens: int | None = None
    prompt: str = "{text}"
    prompts: Mapping[str, str] = field(default_factory=dict[str, str])
    base: Path = Path()
