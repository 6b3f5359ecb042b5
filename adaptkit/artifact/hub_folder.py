"""The folder of an adapter that AdapterHub's `adapters` saved: its configurations, and its tensors by sort of place."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from adaptkit.artifact.assembling import refuse_unknown, tensors_of
from adaptkit.artifact.hub_places import IN_STREAM, IN_WEIGHTS, PREFIXES, SHARED
from adaptkit.errors import ArtifactError

CONFIG, TENSORS, PICKLED = "adapter_config.json", "adapter.safetensors", "pytorch_adapter.bin"


def configurations(described: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The configurations of one adapter, one unless it is a union; as `adapters` of today would read them."""
    config = described.get("config")
    if not isinstance(config, dict):
        raise ArtifactError(f"config = {config!r} is no table.", where=where, hint="Save it again with adapters 1.x.")
    parts = config.get("configs") if config.get("architecture") == "union" else [config]
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ArtifactError("the configurations of a union are no list of tables.", where=where)
    version = described.get("version")
    found = []
    for part in map(dict, parts):
        if version is None:  # before versions were written, its words for the two forms of GELU were others
            word = part.get("non_linearity")
            part["non_linearity"] = {"gelu": "gelu_new", "gelu_orig": "gelu"}.get(str(word), word)
        if part.get("architecture") == "lora" and _scaled_by_mistake(version):
            part["alpha"] = part.get("r")
        found.append(part)
    return found


def _scaled_by_mistake(version: object) -> bool:
    """Before adapters 1.1.0 a LoRA was trained as if alpha were r, whatever was written."""
    number = re.match(r"adapters\.(\d+)\.(\d+)", str(version))
    return number is not None and (int(number[1]), int(number[2])) < (1, 1)


@dataclass(frozen=True, slots=True)
class Tensors:
    """The tensors of a folder by their kind of place.

    Attributes:
        at: "adapters" (in the stream) or "loras" (in weights) -> module -> end of the name -> tensor.
        pools: location of a pool of prefixes -> end of the name -> tensor.
        shared: what all adapters have in common.
    """

    at: dict[str, dict[str, dict[str, Tensor]]]
    pools: dict[str, dict[str, Tensor]]
    shared: dict[str, Tensor]

    @classmethod
    def of(cls, source: Path, adapter: str, model: str) -> Tensors:
        """Raises ArtifactError with the tensors that are of another sort: invertible adapters, ReFT, prompts, gates."""
        found = cls({IN_STREAM: defaultdict(dict), IN_WEIGHTS: defaultdict(dict)}, defaultdict(dict), {})
        invertible, unknown = [], []
        for key, tensor in tensors_of(source, TENSORS, PICKLED).items():
            before, middle, after = key.partition(f".{adapter}.")
            path, _, sort = before.rpartition(".")
            location, _, rest = after.partition(".")
            if middle and sort in found.at:
                found.at[sort][path][after] = tensor
            elif middle and sort == PREFIXES:
                found.pools[location][rest] = tensor  # every attention has the pool again, under its own name
            elif middle and sort == SHARED:
                found.shared[after] = tensor
            elif middle and sort == "invertible_adapters":
                invertible.append(key)
            else:
                unknown.append(key)
        hint = "They change what the first block reads, and what the head reads back; adaptkit has no such adapter."
        refuse_unknown(invertible, "are of an invertible adapter", source, hint)
        refuse_unknown(unknown, f"belong nowhere in {model}", source, "Was it saved by `adapters`, under this name?")
        return found
