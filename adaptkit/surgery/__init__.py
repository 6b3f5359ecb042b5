"""Surgery: grafts go into a model and come out again, and the backbone stays bit for bit what it was.

`graft.py` is what goes where, `growing.py` makes the adapters, `hooks.py` and `meeting.py` are how an adapter meets its
host, `showing.py` how it reads other places, `operation.py` the insertion and its undoing. Nothing here knows a recipe.
"""

from __future__ import annotations

from adaptkit.surgery.fitting import check_hosts
from adaptkit.surgery.graft import Graft
from adaptkit.surgery.growing import build_all
from adaptkit.surgery.hooks import carried
from adaptkit.surgery.hosts import host_shape
from adaptkit.surgery.operation import Receipt, insert, remove

__all__ = ["Graft", "Receipt", "build_all", "carried", "check_hosts", "host_shape", "insert", "remove"]
