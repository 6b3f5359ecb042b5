"""The adapted model: backbone, encoders, the fusion place, heads.

`adapted.py` is the model; `inference.py` predicts with it, `pooling.py` makes one vector of its hidden states,
`costing.py` counts what a training step takes.
"""

from __future__ import annotations

from adaptkit.model.adapted import AdaptedModel, build_model

__all__ = ["AdaptedModel", "build_model"]
