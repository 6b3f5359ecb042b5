"""Surgery: grafts go into a model and come out again, and the backbone stays bit for bit what it was.

`graft.py` is what goes where, `instantiating.py` makes the adapters, `hooks.py` and `applying.py` are how an adapter is
bound to its host and applied, `observing.py` how much that changes, `capturing.py` how it reads other places,
`freezing.py` what of the model itself moves, `operation.py` the insertion and its undoing. Nothing here knows a recipe.
"""

from __future__ import annotations

from adaptkit.surgery.graft import Graft
from adaptkit.surgery.hooks import adapters_of
from adaptkit.surgery.hosts import host_shape
from adaptkit.surgery.instantiating import build_all, check_hosts
from adaptkit.surgery.observing import observe_changes
from adaptkit.surgery.operation import Receipt, check_insertable, insert, remove

__all__ = [
    "Graft",
    "Receipt",
    "adapters_of",
    "build_all",
    "check_hosts",
    "check_insertable",
    "host_shape",
    "insert",
    "observe_changes",
    "remove",
]
