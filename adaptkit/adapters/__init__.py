"""The adapters, one file each. Adding one takes its file and its line here."""

from adaptkit.adapters.base import ADAPTERS, Adapter
from adaptkit.adapters.bottleneck import Bottleneck
from adaptkit.adapters.gmu import GMU
from adaptkit.adapters.lora import LoRA
from adaptkit.adapters.wander import Wander

__all__ = ["ADAPTERS", "GMU", "Adapter", "Bottleneck", "LoRA", "Wander"]
