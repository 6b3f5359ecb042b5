"""The fusions, one file each: how the modalities of route "fusion" meet the backbone's vector.

Adding one takes its file and its line here.
"""

from adaptkit.fusion.base import BACKBONE, FUSIONS, Fusion
from adaptkit.fusion.concat import Concat
from adaptkit.fusion.cross_modal import CrossModal
from adaptkit.fusion.gmu import GatedUnit
from adaptkit.fusion.low_rank import LowRankFusion
from adaptkit.fusion.tensor import TensorFusion

__all__ = [
    "BACKBONE",
    "FUSIONS",
    "Concat",
    "CrossModal",
    "Fusion",
    "GatedUnit",
    "LowRankFusion",
    "TensorFusion",
]
