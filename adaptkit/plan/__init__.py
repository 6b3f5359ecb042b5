"""The plan: what a recipe resolves to on a backbone, proven before a weight is loaded.

`planning.py` makes it; `grafting.py` finds the grafts, `streams.py` the modalities' shapes, `unfreezing.py` what else
moves.
"""

from __future__ import annotations

from adaptkit.plan.planning import Counts, Plan, make_plan

__all__ = ["Counts", "Plan", "make_plan"]
