"""Data: formats read a recipe's `[data]` into samples; `collate` makes batches (and alone imports torch)."""

from __future__ import annotations

from adaptkit.data.load import load_data, load_samples
from adaptkit.data.order import epoch_order
from adaptkit.data.sample import DataSet, Sample
from adaptkit.formats import FORMATS

__all__ = ["FORMATS", "DataSet", "Sample", "epoch_order", "load_data", "load_samples"]
