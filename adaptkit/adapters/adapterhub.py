"""How AdapterHub's `adapters` writes an adapter: what a kind says of itself, so that its grafts go there and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from adaptkit.adapters.translated import option

# Its words for activations. "gelu" is the exact one, as here.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "swish": "silu",
    "silu": "silu",
    "tanh": "tanh",
    "leakyrelu": "leaky_relu",
}


@dataclass(frozen=True, slots=True)
class HubForm:
    """One adapter as AdapterHub has it.

    Attributes:
        architecture: its `architecture`; None for what sits in the stream.
        config: keys of `config` in adapter_config.json; all adapters of one branch agree on them.
        tensors: end of a tensor's name -> its value. What a fused projection has for its parts lies one after the other
            in the folder, in dimension 0; here it is the part's own.
        shared: name of a tensor that all its adapters have in common -> its value.
        width: P of a bottleneck, which the folder says as a share of the stream's width.
    """

    architecture: str | None
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    shared: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    width: int | None = None

    def option(self, key: str, default: float) -> Any:
        """A value of the configuration; the default where it is left out or null.

        Raises:
            ArtifactError: the value is no number, where the default is one, or not true or false.
        """
        return option(self.config, key, default)


def activation_here(word: object) -> str | None:
    """Our word for an activation of AdapterHub; None where there is none."""
    return ACTIVATIONS.get(word.lower()) if isinstance(word, str) else None


def activation_there(word: str) -> str | None:
    """AdapterHub's word for one of our activations; None where it has none."""
    return next((theirs for theirs, ours in ACTIVATIONS.items() if ours == word), None)
