"""Surgery: grafts go into a model and come out again, and the backbone stays bit for bit what it was.

`graft.py` is what goes where, `hooks.py` how an adapter meets its host, `operation.py` the insertion and its undoing.
Nothing here knows a recipe.
"""

from __future__ import annotations

from adaptkit.surgery.graft import Graft
from adaptkit.surgery.hooks import carried
from adaptkit.surgery.operation import Receipt, insert, remove

__all__ = ["Graft", "Receipt", "carried", "insert", "remove"]
