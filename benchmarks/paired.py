"""Paired timing: two ways of doing the same, in turn, in one process; the ratio of their medians."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Pair:
    """Seconds of ours and of the peer's, pair by pair."""

    name: str
    ours: list[float]
    peer: list[float]

    @property
    def ratio(self) -> float:
        """Median of the peer over median of ours: above 1, ours is faster."""
        return statistics.median(self.peer) / statistics.median(self.ours)

    @property
    def spread(self) -> tuple[float, float]:
        """Smallest and largest ratio of a single pair."""
        ratios = [peer / ours for ours, peer in zip(self.ours, self.peer, strict=True)]
        return min(ratios), max(ratios)


def paired(name: str, ours: Callable[[], Any], peer: Callable[[], Any], *, runs: int, warmup: int = 3) -> Pair:
    """Time both in turn: ours, peer, ours, peer, ... after some uncounted runs."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(warmup + runs):
        for work, kept in zip((ours, peer), times, strict=True):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            began = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if run >= warmup:
                kept.append(time.perf_counter() - began)
    return Pair(name, *times)


def report(title: str, pairs: list[Pair], settings: dict[str, Any]) -> None:
    """Print the medians and write them to results/<title>-<device>.json."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    print(f"{title} on {device}, torch {torch.__version__}")
    for pair in pairs:
        low, high = pair.spread
        print(
            f"  {pair.name:<40} ours {1e3 * statistics.median(pair.ours):9.2f} ms   "
            f"peer {1e3 * statistics.median(pair.peer):9.2f} ms   peer/ours {pair.ratio:.2f}  ({low:.2f} .. {high:.2f})"
        )
    content = {
        "title": title,
        "device": device,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "settings": settings,
        "pairs": [{**asdict(pair), "ratio_of_medians": pair.ratio, "spread": pair.spread} for pair in pairs],
    }
    RESULTS.mkdir(exist_ok=True)
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    (RESULTS / f"{title}-{kind}.json").write_text(json.dumps(content, indent=2) + "\n")


def arguments(description: str, *, runs: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=runs, help="counted pairs")
    return parser.parse_args()


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
