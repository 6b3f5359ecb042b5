"""The adapted model: backbone, encoders, the fusion place, heads.

`adapted.py` is the model, `prefix.py` what goes before its text, `state.py` what of it is saved; `costing.py` counts
what a training step takes.
"""

from __future__ import annotations

from adaptkit.model.adapted import AdaptedModel, build_model

__all__ = ["AdaptedModel", "build_model"]
