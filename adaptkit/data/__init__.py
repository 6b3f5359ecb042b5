"""Data: rows and samples, stores, unpickling, checks; `collate` makes batches (and alone imports torch).

It names no format and no task: those are kinds, and read and check by what is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptkit.lazy import lazily

if TYPE_CHECKING:
    from adaptkit.data.order import epoch_order
    from adaptkit.data.sample import DataSet, Sample

_HOMES = {"DataSet": "sample", "Sample": "sample", "epoch_order": "order"}

__all__ = ["DataSet", "Sample", "epoch_order"]
__getattr__, __dir__ = lazily(__name__, _HOMES)
