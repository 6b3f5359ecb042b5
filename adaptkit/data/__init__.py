"""Data: rows and samples, stores, unpickling, checks; `collate` makes batches (and alone imports torch).

It names no format and no task: those are kinds, and read and check by what is here.
"""

from __future__ import annotations

from adaptkit.data.sample import DataSet, Sample

__all__ = ["DataSet", "Sample"]
