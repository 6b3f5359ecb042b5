"""The plan: what a recipe resolves to on a backbone, proven before a weight is loaded.

`planning.py` makes it; `grafting.py` finds the grafts, `streams.py` the modalities' shapes, `towers.py` the models
beside the backbone, `readout.py` what comes after it, `parameters.py` what else moves, and counts.
"""

from __future__ import annotations

from adaptkit.plan.parameters import Counts
from adaptkit.plan.planning import Plan, make_plan

__all__ = ["Counts", "Plan", "make_plan"]
