"""The models of an adapted model written out, so that an artifact can carry them or be folded into them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from adaptkit.anatomy import ModelRef, input_spec, load, save
from adaptkit.anatomy.calling.inputs import part_for
from adaptkit.errors import ArtifactError
from adaptkit.modalities.text.encoder import TextEncoder
from adaptkit.model import AdaptedModel
from adaptkit.model.probe import largest_difference, outputs
from adaptkit.recipe.write import model_table, resolved_tables


class Published(NamedTuple):
    """A backbone or tower as it was before anything was trained, loaded anew.

    Attributes:
        whole: what the library loads.
        part: what of it the adapted model runs; mostly all of it.
        ref: where it came from.
    """

    whole: nn.Module
    part: nn.Module
    ref: ModelRef

    @classmethod
    def of(cls, model: AdaptedModel, name: str) -> Published:
        """The tower of this modality, or the backbone ("")."""
        plan = model.plan
        ref = plan.towers[name].ref if name else plan.ref
        whole = load(ref, precision=model_table(resolved_tables(plan.recipe), name)["precision"])
        if not name:
            return cls(whole, whole, ref)
        encoder: Any = model.encoders[name]
        return cls(whole, part_for(whole, input_spec(whole, ref), encoder.tower.kind)[0], ref)

    def write(self, folder: Path, tokenizer: Any = None) -> None:
        """Its configuration, weights and tokenizer, as its library reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        save(self.whole, self.ref, folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)


def tokenizer_of(model: AdaptedModel, name: str) -> Any:
    """The tokenizer that the backbone ("") or a tower is given its text by; None where it reads none."""
    for modality, encoder in model.named_encoders():
        if isinstance(encoder, TextEncoder) and (encoder.native if not name else modality == name):
            return encoder.tokenizer
    return None


def check_equal(before: Mapping[str, Tensor], model: AdaptedModel, tolerance: float, *, where: str) -> float:
    """How far the outputs of a model for the probe are from those of another one.

    Args:
        before: what the other one gave.
        model: this one.
        tolerance: of the largest output.
        where: the place to name.

    Returns:
        The largest difference.

    Raises:
        ArtifactError: it is larger than allowed.
    """
    difference, scale = largest_difference(before, outputs(model))
    if not difference <= tolerance * scale:
        raise ArtifactError(
            f"the outputs differ by up to {difference:.2g} from those before, of {scale:.2g} at most; "
            f"{tolerance:.2g} of these is allowed. Nothing is written.",
            where=where,
            hint="Keep the weights in a wider number format, or allow more: --tolerance.",
        )
    return difference
