"""The benchmarks: one file each, registered by being imported here."""

from __future__ import annotations

from adaptkit.data.benchmarks import food101, iemocap, mmimdb, mosei, mosi, moviescope, msrvtt, sims
from adaptkit.data.benchmarks.benchmark import BENCHMARKS, Benchmark, benchmark, import_benchmark, synthesise

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "benchmark",
    "food101",
    "iemocap",
    "import_benchmark",
    "mmimdb",
    "mosei",
    "mosi",
    "moviescope",
    "msrvtt",
    "sims",
    "synthesise",
]
