"""How much adapters change what passes them, in the forwards that run inside `observe_changes`."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

# B batch, T tokens, D width


class Changes:
    """What adapters changed, in sums of squares that stay on their device until `ratios` asks for them.

    Attributes:
        sums: (id of the host, name of the adapter) -> (4,) float32: squares and number of values of the change, and of
            the stream before it.
    """

    def __init__(self) -> None:
        self.sums: dict[tuple[int, str], Tensor] = {}

    def add(self, host: nn.Module, name: str, change: Tensor, stream: Tensor, mask: Tensor | None) -> None:
        """One forward of one adapter.

        Args:
            host: its module.
            name: of the adapter.
            change: what it adds, (B, T, D), or of another length; in weight space of any layout.
            stream: what it adds it to.
            mask: (B, T) bool, the tokens that count, of whichever of the two has this shape; None for all.
        """
        sums = torch.cat([energy(change, mask), energy(stream, mask)])
        key = (id(host), name)
        self.sums[key] = self.sums[key] + sums if key in self.sums else sums

    def ratios(self, model: nn.Module) -> dict[str, dict[str, float | None]]:
        """Adapter -> path of its host -> rms(change) / rms(stream); None where the stream is zero or not finite."""
        modules = cast(Iterable[tuple[str, nn.Module]], model.named_modules())
        paths = {id(module): path for path, module in modules}
        found: dict[str, dict[str, float | None]] = {}
        for (host, name), sums in self.sums.items():
            found.setdefault(name, {})[paths[host]] = ratio(*map(float, sums.cpu()))
        return found


def energy(x: Tensor, mask: Tensor | None) -> Tensor:
    """(2,) float32: the sum of the squares of what counts, which alone is read, and how many values those are."""
    x = x.detach().float()
    if mask is None or mask.shape != x.shape[:2]:
        return torch.stack([x.square().sum(), x.new_tensor(x.numel())])
    kept = torch.where(mask.unsqueeze(-1), x, 0.0)
    return torch.stack([kept.square().sum(), mask.sum() * float(x.shape[-1])])


def ratio(change: float, of_change: float, stream: float, of_stream: float) -> float | None:
    """The quotient of the roots of both means."""
    if not (of_change and of_stream and stream):
        return None
    found = ((change / of_change) / (stream / of_stream)) ** 0.5
    return found if found < float("inf") else None  # NaN is not below it either


class _Running(threading.local):
    changes: Changes | None = None


_running = _Running()


@contextmanager
def observe_changes() -> Generator[Changes]:
    """Look at every adapter that is applied in this thread. Draws no random number, changes no result."""
    before, _running.changes = _running.changes, Changes()
    try:
        yield _running.changes
    finally:
        _running.changes = before


def running() -> Changes | None:
    """Who looks at the moment; None for nobody."""
    return _running.changes
