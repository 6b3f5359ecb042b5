"""A modality: vectors given as the places of their ones, "0 3"."""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from adaptkit.modalities import MODALITIES, BackboneContext, Encoder
from adaptkit.modalities.encoder import present_of, shared
from adaptkit.recipe import ModalityTable
from adaptkit.recipe.cells import VALUE, CellForm


class Sparse(ModalityTable):
    """The first numbers of a vector, rounded to ones and zeros."""

    cell_form: ClassVar[CellForm] = VALUE

    width: int = Field(ge=1, description="W, how many.")
    pool: str = "none"


@MODALITIES.register("sparse")
class SparseEncoder(Encoder):
    """A batch has `values`, (B, 1, W)."""

    table = Sparse

    @classmethod
    def of(cls, modality: Any, name: str, context: BackboneContext) -> "SparseEncoder":
        return cls(width=modality.width, tokens=1, **shared(modality, name))

    def read(self, value: Any, where: str) -> list[int]:
        return [round(number) for number in value[: self.width]]

    def collate(self, values: list[list[int] | None], ids: list[str]) -> dict[str, Tensor]:
        rows = [[0] * self.width if value is None else value for value in values]
        return {"values": torch.tensor(rows, dtype=torch.float32)[:, None], "present": present_of(values)}

    def vectors(self, inputs: Any) -> tuple[Tensor, Tensor]:
        values = inputs["values"]
        return values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
