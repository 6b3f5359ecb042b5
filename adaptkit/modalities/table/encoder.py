"""Columns of numbers and categories, as one vector or as one token each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adaptkit.data.moments import Moments
from adaptkit.errors import DataError
from adaptkit.modalities.context import BackboneContext
from adaptkit.modalities.encoder import MODALITIES, Encoder, check_not_native, present_of, shared
from adaptkit.modalities.standardising import register, settle, standardised
from adaptkit.modalities.table.cells import category, is_empty, number
from adaptkit.modalities.table.table import TableModality
from adaptkit.modalities.token_encoder import TokenEncoder, encoder_of

# B batch, N columns of numbers, C columns of categories, K categories of a column, T tokens, E width


@MODALITIES.register("table")
class TableEncoder(Encoder):
    """Numbers less their mean over the training split, divided by their standard deviation (1 of a constant column),
    0 where one is missing; and categories, of which a missing one, a rare one and one that the training split lacks
    are the unknown one.

    As one vector: the numbers, for each whether it is missing, then one-hot or learned vectors of the categories. As
    tokens: w_j x_j + b_j of a number, with a learned vector more if it is missing, and a learned vector of a category
    (Gorishniy et al. 2021, "Revisiting deep learning models for tabular data", section 3.3).

    A batch has `numbers`, (B, N) float32 with NaN where one is missing, and `codes`, (B, C) int64.

    Args:
        columns: names of the columns of numbers.
        categorical: names of the columns of categories.
        categories: K, the commonest of a column's.
        embedding: width of a category's learned vector; None for one-hot of width K + 1.
        width: E of one token per column; None for one vector of all.
        encoder: makes other tokens of these.
    """

    table = TableModality
    unit = "columns"
    center: Tensor
    scale: Tensor
    codes: Tensor

    def __init__(
        self,
        columns: Sequence[str],
        categorical: Sequence[str] = (),
        *,
        categories: int = 32,
        embedding: int | None = None,
        width: int | None = None,
        encoder: TokenEncoder | None = None,
        **common: Any,
    ) -> None:
        n, c, k = len(columns), len(categorical), categories
        tokens, size = shape_of(n, c, k, embedding, width)
        super().__init__(width=size, tokens=tokens, encoder=encoder, **common)
        self.columns, self.categorical, self.each, self.limit = tuple(columns), tuple(categorical), width, None
        register(self, n)
        self.register_buffer("codes", torch.zeros(c, k, dtype=torch.long))  # 0: no category
        size = width if width is not None else embedding
        self.categories = nn.Embedding(c * (k + 1), size) if size is not None and c else None
        if width is not None and n:
            # Weight, bias, and what is added for a missing number, of every column.
            self.numbers = nn.Parameter(torch.empty(3, n, width).uniform_(-(width**-0.5), width**-0.5))

    @classmethod
    def of(cls, modality: Any, name: str, context: BackboneContext) -> TableEncoder:
        check_not_native(modality, name)
        width = modality.width if modality.tokens == "columns" else None
        sizes = len(modality.columns), len(modality.categorical), modality.categories
        return cls(
            modality.columns,
            modality.categorical,
            categories=modality.categories,
            embedding=modality.embedding,
            width=width,
            encoder=encoder_of(modality, name, shape_of(*sizes, modality.embedding, width)),
            **shared(modality, name),
        )

    @property
    def needs_fit(self) -> bool:
        return True

    def prepare(self, value: Any, where: str) -> Any:
        cells = value.values() if isinstance(value, Mapping) else value
        empty = isinstance(cells, Iterable) and not isinstance(cells, str) and all(map(is_empty, cells))
        return super().prepare(None if empty else value, where)

    def read(self, value: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
        """(N,) numbers and (C,) codes."""
        names = (*self.columns, *self.categorical)
        if isinstance(value, list | tuple | np.ndarray) and len(value) == len(names):
            value = dict(zip(names, value, strict=True))
        if not isinstance(value, Mapping):
            raise DataError(
                f"{self.name} is of type {type(value).__name__}, or of another length.",
                where=where,
                hint=f"Expected {len(names)} values: {', '.join(names)}.",
            )
        numbers = [number(value.get(name), f"{self.name}.{name}", where) for name in self.columns]
        codes = [category(value.get(name), f"{self.name}.{name}", where) for name in self.categorical]
        return np.array(numbers, dtype=np.float32), np.array(codes, dtype=np.int64)

    def collate(self, values: list[tuple[np.ndarray, np.ndarray] | None], ids: list[str]) -> dict[str, Tensor]:
        numbers = torch.full((len(values), len(self.columns)), torch.nan)
        codes = torch.zeros(len(values), len(self.categorical), dtype=torch.long)
        for row, value in enumerate(values):
            if value is not None:
                numbers[row], codes[row] = torch.from_numpy(value[0]), torch.from_numpy(value[1])
        return {"numbers": numbers, "codes": codes, "present": present_of(values)}

    def fit(self, batches: Iterable[Mapping[str, Tensor]]) -> None:
        """Set mean, standard deviation and categories of every column, then what the base class sets.

        Raises:
            DataError: a column without any number, or no sample with the modality.
        """
        moments, codes = Moments(len(self.columns)), []
        for batch in batches:
            moments.add(batch["numbers"].cpu().numpy())
            codes.append(batch["codes"].cpu())
        for name, count in zip(self.columns, moments.count, strict=True):
            if not count:
                raise DataError(f"no training sample has a number in {name}.", where=f"modality.{self.name}.columns")
        settle(self.center, self.scale, moments)
        for index in range(len(self.categorical)):
            self.codes[index] = commonest(torch.cat(codes)[:, index], self.codes.shape[1])
        if self.missing == "mean":
            super().fit(batches)

    def vectors(self, inputs: Any) -> tuple[Tensor, Tensor]:
        numbers, missing = self._standardised(inputs["numbers"])  # (B, N) each
        chosen = self._chosen(inputs["codes"])  # (B, C)
        if self.each is None:
            tokens = torch.cat([numbers, missing, self._categories(chosen).flatten(1)], dim=1)[:, None]  # (B, 1, E)
        else:
            tokens = self._categories(chosen)  # (B, C, E)
            if self.columns:
                weight, bias, absent = self.numbers  # (N, E) each
                of_numbers = numbers[:, :, None] * weight + bias + missing[:, :, None] * absent  # (B, N, E)
                tokens = torch.cat([of_numbers, tokens], dim=1)  # (B, T, E)
        return self._encoded(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))

    def _standardised(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) numbers, 0 where one is missing, and (B, N), 1 there."""
        missing = numbers.isnan()
        return standardised(numbers, ~missing, self.center, self.scale, name=self.name), missing.to(numbers.dtype)

    def _chosen(self, codes: Tensor) -> Tensor:
        """(B, C) of 0..K; 0 is the unknown category."""
        same = (codes[:, :, None] == self.codes) & (codes != 0)[:, :, None]  # (B, C, K)
        return torch.where(same.any(2), same.int().argmax(2) + 1, 0)

    def _categories(self, chosen: Tensor) -> Tensor:
        """(B, C, K + 1), or learned vectors."""
        of_column = self.codes.shape[1] + 1
        if self.categories is None:
            identity = torch.eye(of_column, self.each or of_column, device=chosen.device)
            return identity[chosen]
        start = torch.arange(chosen.shape[1], device=chosen.device) * of_column  # (C,)
        return self.categories(chosen + start)


def shape_of(
    numbers: int, categorical: int, categories: int, embedding: int | None, width: int | None
) -> tuple[int, int]:
    """(T, E) of the tokens of a table."""
    if width is not None:
        return numbers + categorical, width
    return 1, 2 * numbers + categorical * (categories + 1 if embedding is None else embedding)


def commonest(codes: Tensor, most: int) -> Tensor:
    """(most,) codes, sorted, of a column's; 0 where there are fewer, and of equally common ones the lower."""
    found, counts = torch.unique(codes[codes != 0], return_counts=True)
    chosen = found[torch.argsort(counts, descending=True, stable=True)[:most]].sort().values
    return torch.cat([chosen, chosen.new_zeros(most - len(chosen))])
