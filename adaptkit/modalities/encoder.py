"""The base of all encoders, and what stands in for a modality that a sample lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from adaptkit import kinds
from adaptkit.data.checking import Figures
from adaptkit.errors import DataError, RecipeError, RunError
from adaptkit.kinds import Kinds
from adaptkit.modalities.context import BackboneContext
from adaptkit.modalities.token_encoder import TokenEncoder
from adaptkit.modalities.tower import Tower
from adaptkit.pooling import POOLS, AttentionPool
from adaptkit.sides import Side

if TYPE_CHECKING:
    from adaptkit.recipe import ModalityTable

# B batch, T tokens, E width of the encoder's output

MODALITIES: Kinds[type[Encoder]] = kinds.MODALITIES
KEPT, KEPT_MASK = "kept", "kept mask"  # in a batch: (B, T, E) and (B, T) of a frozen tower, computed before


class Encoder(nn.Module):
    """Turns one modality's raw values into a batch, and a batch into vectors.

    `prepare` (one value) and `collate` (a batch) run in the data loader, `forward` in the model. An encoder
    of route `backbone` has no forward: its batch is the backbone's native input.

    Args:
        name: of the modality.
        width: E, width of the vectors; 0 for route `backbone`.
        tokens: most tokens per sample, before pooling; None if only the data knows.
        native: whether the route is `backbone`.
        missing: what an absent sample gets: `error` (refused in `prepare`), `zero` (no token at all), `mean`
            (of the training split, see `fit`) or `learned` (a trainable vector); the last two as one token.
        modality_dropout: share of present samples treated as absent in training.
        pool: `none`, or how the tokens of a sample become one: `mean`, `max`, `first` or `attention`.
        tower: the pretrained model that makes the vectors, if there is one.
        encoder: makes them of raw values, which otherwise are the vectors themselves; it has their width and number.

    Attributes:
        limit: most of `unit` that are kept of a sample; None for all.
        tokens: most tokens per sample, after pooling; None if only the data knows.
        reads_task: tasks read a value each in their own way: `collate` takes the batch's as `task`.
        figures: what `data check` counts of its values besides their lengths; None for nothing.
        draws: a value is prepared in another way every time (augmentation), so that nothing made of it can be kept.
        frames_apart: the tower reads the parts of a sample as samples of their own.
        could_standardise: prepared values are vectors (n, W), and go on as they are because the recipe says nothing.

    Raises:
        RecipeError: a combination that cannot work.
    """

    description: ClassVar[str] = ""
    unit: ClassVar[str] = "tokens"
    figures: Figures | None = None
    draws: bool = False
    frames_apart: bool = False
    could_standardise: bool = False
    reads_task: bool = False

    def __init__(
        self,
        *,
        name: str,
        width: int,
        tokens: int | None,
        native: bool = False,
        missing: str = "error",
        modality_dropout: float = 0.0,
        pool: str = "none",
        tower: Tower | None = None,
        encoder: TokenEncoder | None = None,
    ) -> None:
        super().__init__()
        self.limit = tokens
        if encoder is not None:
            width, tokens = encoder.width, encoder.tokens
        self.name, self.width, self.native = name, width, native
        self.tokens = tokens if pool == "none" else 1
        self.missing, self.modality_dropout, self.pool = missing, modality_dropout, pool
        self._check()
        self.tower, self.encoder = tower, encoder
        self.attention = AttentionPool(width) if pool == "attention" else None
        if missing == "learned":
            self.fill = nn.Parameter(torch.zeros(width))
        elif missing == "mean":
            self.register_buffer("fill", torch.full((width,), torch.nan))  # NaN until `fit`

    @classmethod
    def build(cls, modality: ModalityTable, name: str, context: BackboneContext) -> Encoder:
        """The encoder that `[modality.NAME]` asks for.

        Raises:
            RecipeError: a combination that cannot work, such as text for a backbone that reads none.
        """
        encoder = MODALITIES.named(modality.kind, where=f"modality.{name}.kind").of(modality, name, context)
        if not modality.train:
            for parameter in encoder.own_parameters():
                parameter.requires_grad_(False)
        return encoder

    @classmethod
    def of(cls, modality: Any, name: str, context: BackboneContext) -> Encoder:
        """This class, built from its table of the recipe."""
        raise NotImplementedError

    def own_parameters(self) -> Iterator[nn.Parameter]:
        """All but those of the tower's model, which has a plan of its own."""
        of_model = set() if self.tower is None else {id(parameter) for parameter in self.tower.model.parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in of_model)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What turns raw values into inputs and is in no recipe: the tokenizer, the normalisation a model asks for.

        Plain values, by which an artifact knows it again (see `adaptkit.artifact.identity`).
        """
        return {}

    @property
    def bounds(self) -> dict[str, Any]:
        """What decides how values become inputs and stands elsewhere in the recipe, as plain values."""
        return {"limit": self.limit}

    @property
    def longest(self) -> int | None:
        """Most steps in time of a collated batch; None where nothing bounds them."""
        return self.limit

    @property
    def needs_fit(self) -> bool:
        """Whether `fit` must see the training split before the first forward."""
        return self.missing == "mean"

    def prepare(self, value: Any, where: str) -> Any:
        """One raw value, checked and in the form that `collate` takes; None for an absent one.

        Raises:
            DataError: naming `where`, what was expected and what was found.
        """
        if value is not None:
            return self.read(value, where)
        if self.missing == "error":
            raise DataError(
                f"{self.name} is absent.",
                where=where,
                hint=f'Or say what to do: modality.{self.name}.missing = "zero", "mean" or "learned".',
            )
        return None

    def read(self, value: Any, where: str) -> Any:
        """`prepare` for a value that is there."""
        raise NotImplementedError

    def length(self, value: Any) -> int:
        """How many `unit` a value has before it is cut at `limit`; read as cheaply as its form allows.

        Raises:
            DataError: as `prepare`.
        """
        return 1

    @classmethod
    def script_of(cls, modality: Any, name: str, tokenizer: Any, limit: int | None) -> Any:
        """What finds in a value what a task is to say, where `ModalityTable.holds_answers`; else None."""
        return None

    def collate(self, values: list[Any], ids: list[str]) -> dict[str, Tensor]:
        """A batch of prepared values (None: absent); always with `present`: (B,) bool."""
        raise NotImplementedError

    def vectors(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(B, T, E) vectors and (B, T) bool mask of a batch, not yet pooled, absent samples not yet treated."""
        raise NotImplementedError

    def forward(self, inputs: Mapping[str, Tensor]) -> Side:
        """The side of a batch. Absent samples, and dropped ones in training, get what `missing` says."""
        vectors, mask = self._pooled(inputs)  # (B, T, E), (B, T)
        present = inputs["drawn"] if "drawn" in inputs else drawn_present(self, inputs["present"])  # (B,)
        mask = mask & present[:, None]
        vectors = torch.where(mask[:, :, None], vectors, torch.zeros_like(vectors))
        if self.missing in ("mean", "learned"):
            first = torch.arange(mask.shape[1], device=mask.device) == 0  # (T,)
            filled = first & ~present[:, None]  # (B, T): token 0 of absent samples
            vectors = torch.where(filled[:, :, None], self._fill().to(vectors.dtype), vectors)
            mask = mask | filled
        return Side(vectors, mask, present)

    @torch.no_grad()
    def fit(self, batches: Iterable[Mapping[str, Tensor]]) -> None:
        """Set the mean over all tokens of all present samples, for `missing = "mean"`.

        Args:
            batches: of the training split; gone through several times where one statistic needs another.

        Raises:
            DataError: no sample has the modality.
        """
        assert self.needs_fit, f"encoder {self.name} has nothing to fit"
        total, count = torch.zeros(self.width, dtype=torch.float64), 0
        for inputs in batches:
            vectors, mask = self._pooled(inputs)
            kept = vectors[mask & inputs["present"][:, None]]  # (n, E)
            total += kept.sum(0, dtype=torch.float64).cpu()
            count += len(kept)
        if count == 0:
            raise DataError(f"no training sample has {self.name}, so it has no mean.", where=f"modality.{self.name}")
        self.fill.copy_(total / count)

    def _pooled(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """`vectors`, as one token (B, 1, E) if the encoder pools."""
        vectors, mask = settled(self, inputs)
        if self.attention is None:
            return vectors, mask
        return self.attention(vectors, mask)[:, None], mask.any(1, keepdim=True)

    def _encoded(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, E) and (B, T) of raw values (B, T, ...) and their mask (B, T), by the encoder if there is one."""
        return (values, mask) if self.encoder is None else self.encoder(values, mask)

    def _fill(self) -> Tensor:
        if self.missing == "mean" and not self.fill.is_meta and bool(self.fill.isnan().any()):
            raise RunError(
                f"the mean of {self.name} is not set.",
                where=f"modality.{self.name}",
                hint="Call fit(batches) first.",
            )
        return self.fill

    def _check(self) -> None:
        if self.native and (self.missing in ("mean", "learned") or self.modality_dropout > 0):
            raise RecipeError(
                f'{self.name} goes to the backbone itself: there missing can only be "error" or "zero", and '
                "modality_dropout is not possible.",
                where=f"modality.{self.name}.missing",
                hint='Or choose route = "tokens", "side" or "fusion".',
            )
        if self.modality_dropout > 0 and self.missing == "error":
            raise RecipeError(
                "modality_dropout makes samples absent, so missing must say what stands in for them.",
                where=f"modality.{self.name}.modality_dropout",
                hint='Add missing = "zero", "mean" or "learned".',
            )


def settled(encoder: Encoder, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Its `vectors`, as one token (B, 1, E) if it pools without learning how: what can be kept, or was."""
    if KEPT in inputs:
        return inputs[KEPT], inputs[KEPT_MASK]
    vectors, mask = encoder.vectors(inputs)
    if encoder.pool not in POOLS:
        return vectors, mask
    return POOLS[encoder.pool](vectors, mask)[:, None], mask.any(1, keepdim=True)


def drawn_present(encoder: Encoder, present: Tensor) -> Tensor:
    """(B,) bool: who counts as present in this step. Known before the forward, it is its input `drawn`."""
    share = encoder.modality_dropout if encoder.training else 0.0
    return present & (torch.rand(present.shape, device=present.device) >= share) if share else present


def shared(modality: Any, name: str) -> dict[str, Any]:
    """The keyword arguments that every encoder takes from its table."""
    keys = ("missing", "modality_dropout", "pool")
    return {"name": name, **{key: getattr(modality, key) for key in keys}}


def tower_of(modality: Any, name: str, context: BackboneContext, *, feature_width: int = 0) -> Tower | None:
    """The tower that the modality's table asks for; None if it asks for none."""
    if modality.tower is None:
        return None
    return Tower.of(modality.tower, f"modality.{name}.tower", context.base, modality.model_input, feature_width)


def check_not_native(modality: Any, name: str) -> None:
    """Route "backbone" is for what a backbone reads as it is.

    Raises:
        RecipeError: this modality takes it.
    """
    if modality.route == "backbone":
        raise RecipeError(
            f'{modality.kind} cannot take route = "backbone": no backbone reads them as they are.',
            where=f"modality.{name}.route",
            hint='Write route = "tokens", "side" or "fusion".',
        )


def present_of(values: list[Any]) -> Tensor:
    """(B,) bool: which prepared values are there."""
    return torch.tensor([value is not None for value in values], dtype=torch.bool)
