"""The field's benchmarks as they are downloaded: a folder each, with what several of them share."""

from __future__ import annotations

from adaptkit.kinds.index import homes_of
from adaptkit.lazy import lazily

_HOMES = {
    "BENCHMARKS": "benchmark",
    "Benchmark": "benchmark",
    "find_benchmark": "benchmark",
    "import_benchmark": "benchmark",
    "synthesise": "benchmark",
    **homes_of("benchmarks"),
}

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = lazily(__name__, _HOMES)
