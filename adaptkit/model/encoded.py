"""A batch on its way through an adapted model: encoded, and represented by the backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from adaptkit.anatomy.calling.forward import Call, Prefix
from adaptkit.plan import Plan
from adaptkit.sides import Side

Inputs = Mapping[str, Mapping[str, Tensor]]  # modality -> collated tensors


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch on its way into the backbone.

    Attributes:
        streams: modality -> its vectors.
        native: form of input -> what the backbone reads itself.
        tokens: what goes before the text; None for nothing.
        call: what the backbone reads for the heads; None where there is no head.
        spans: modality -> (start, stop) of its tokens in that.
        blocks: what blocks of towers returned, for adapters that read them.
        later: modality -> its batch, of those whose towers run in step with the backbone.
        kept: what is kept of the frozen part of the backbone; nothing where all of it runs.
    """

    streams: Mapping[str, Side]
    native: Inputs
    tokens: Prefix | None
    call: Call | None
    spans: Mapping[str, tuple[int, int | None]]
    blocks: Mapping[str, Side]
    later: Inputs
    kept: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


@dataclass(frozen=True, slots=True)
class Represented:
    """A batch behind the backbone: the vector that heads read, (B, W), and the vectors of every modality."""

    vector: Tensor
    streams: Mapping[str, Side]


def kept_key(model: str) -> str:
    """Under which a batch has what is kept of a model; no modality is called so."""
    return f"kept: {model}"


def of_modality(inputs: Inputs, name: str, dropped: bool) -> dict[str, Tensor]:
    """The batch of a modality, with what is kept of its tower; every sample without it where it is dropped."""
    return {**with_presence(inputs[name], dropped), **inputs.get(kept_key(name), {})}


def with_presence(batch: Mapping[str, Tensor], dropped: bool) -> Mapping[str, Tensor]:
    """The batch of a modality, every sample without it where it is dropped."""
    return {**batch, "present": batch["present"].new_zeros(batch["present"].shape)} if dropped else batch


def native_inputs(plan: Plan, inputs: Inputs) -> dict[str, Mapping[str, Tensor]]:
    """Form of input -> what the backbone reads itself."""
    return {
        modality.model_input: {key: value for key, value in inputs[name].items() if key != "present"}
        for name, modality in plan.recipe.modality.items()
        if modality.route == "backbone"
    }
