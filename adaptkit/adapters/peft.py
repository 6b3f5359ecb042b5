"""How PEFT writes an adapter: what a kind says of itself, so that its grafts become a checkpoint of PEFT and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from adaptkit.adapters.translated import option


@dataclass(frozen=True, slots=True)
class PeftForm:
    """One adapter as PEFT has it.

    Attributes:
        method: PEFT's `peft_type`.
        config: keys of adapter_config.json; all adapters of a checkpoint agree but for those of `patterns`.
        tensors: end of a tensor's name in the file -> its value.
        patterns: key of the configuration that names modules -> the key whose value it gives them.
        ranks: tensor -> its dimension that counts the rank, where adapters of one host, or of slices of its outputs,
            can be written as one. Where that is not dimension 0, the outputs are.
        scaling: what their product is multiplied by.
        shared: name of a tensor that all adapters have in common -> its value.
        transposed: it may be at a layer that keeps its weight transposed, as GPT-2's do.
        lists: keys of the configuration that list the modules of adapters such as this one.
    """

    method: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    patterns: Mapping[str, str] = field(default_factory=dict[str, str])
    ranks: Mapping[str, int] = field(default_factory=dict[str, int])
    scaling: float = 1.0
    shared: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    transposed: bool = False
    lists: tuple[str, ...] = ()

    def option(self, key: str, default: float) -> Any:
        """A value of the configuration; the default where it is not said, as PEFT leaves keys out or writes null.

        Raises:
            ArtifactError: the value is no number, where the default is one, or not true or false.
        """
        return option(self.config, key, default)
