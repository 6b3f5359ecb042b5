"""The adapters, one file each. Adding one takes its file and its line here."""

from adaptkit.adapters.adapter_fusion import AdapterFusion
from adaptkit.adapters.base import ADAPTERS, Adapter
from adaptkit.adapters.bottleneck import Bottleneck
from adaptkit.adapters.compacter import Compacter
from adaptkit.adapters.cross_attention import CrossAttention
from adaptkit.adapters.dora import DoRA
from adaptkit.adapters.gmu import GMU
from adaptkit.adapters.hyperformer import Hyperformer
from adaptkit.adapters.ia3 import IA3
from adaptkit.adapters.ladder import Ladder
from adaptkit.adapters.loha import LoHa
from adaptkit.adapters.lokr import LoKr
from adaptkit.adapters.lora import LoRA
from adaptkit.adapters.loreft import LoReFT
from adaptkit.adapters.low_rank import LowRank
from adaptkit.adapters.mag import MAG
from adaptkit.adapters.parallel import Parallel
from adaptkit.adapters.prefix import Prefix
from adaptkit.adapters.prompt import Prompt
from adaptkit.adapters.vera import VeRA
from adaptkit.adapters.wander import Wander

__all__ = [
    "ADAPTERS",
    "GMU",
    "IA3",
    "MAG",
    "Adapter",
    "AdapterFusion",
    "Bottleneck",
    "Compacter",
    "CrossAttention",
    "DoRA",
    "Hyperformer",
    "Ladder",
    "LoHa",
    "LoKr",
    "LoRA",
    "LoReFT",
    "LowRank",
    "Parallel",
    "Prefix",
    "Prompt",
    "VeRA",
    "Wander",
]
