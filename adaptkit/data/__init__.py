"""Data: formats read a recipe's `[data]` into samples; `collate` makes batches (and alone imports torch)."""

from __future__ import annotations

from adaptkit.data.formats import FORMATS
from adaptkit.data.load import load_data, load_samples
from adaptkit.data.sample import DataSet, Sample

__all__ = ["FORMATS", "DataSet", "Sample", "load_data", "load_samples"]
