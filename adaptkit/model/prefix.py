"""What goes before the text: the modalities of route "tokens", as they are or as MMBT arranges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.anatomy import tokenizer_for
from adaptkit.anatomy.calling.forward import Prefix
from adaptkit.anatomy.calling.segments import Segments, ends_of_sequence, input_embedding
from adaptkit.modalities.encoder import Encoder
from adaptkit.plan import Plan
from adaptkit.plan.streams import spans_of, token_lengths
from adaptkit.recipe import Recipe
from adaptkit.sides import Side
from adaptkit.surgery.behind import make_room

# B batch, T tokens of a modality, N tokens of the prefix, D width of the input embeddings

Parts = Mapping[str, tuple[Tensor, Tensor]]  # modality -> (B, T, D) its tokens, (B, T) those that count


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What MMBT's arrangement needs to know of the backbone.

    Attributes:
        segments: its segment table and its first position.
        cls: id of [CLS].
        sep: id of [SEP].
    """

    segments: Segments
    cls: int
    sep: int

    @classmethod
    def of(cls, plan: Plan, backbone: nn.Module) -> Arrangement | None:
        """For `prefix = "mmbt"`; None for all others.

        Raises:
            RecipeError: the backbone, or its tokenizer, has not what that takes.
            UnavailableError: the tokenizer cannot be had.
        """
        if plan.recipe.backbone.prefix != "mmbt":
            return None
        segments = Segments.of(backbone, plan.ref.name)
        if input_embedding(backbone).weight.is_meta:
            return cls(segments, 0, 0)  # shapes are all that is asked for
        recipe = plan.recipe
        reader = tokenizer_for(plan.ref, backbone, recipe.backbone.tokenizer, base=recipe.base, key="backbone")
        return cls(segments, *ends_of_sequence(reader(), plan.ref.name))


@dataclass(frozen=True, slots=True)
class InputSequence:
    """How the modalities of route "tokens" are arranged around the text.

    Attributes:
        recipe: says how.
        lengths: modality -> the most tokens of a sample.
        mmbt: for `prefix = "mmbt"`; None for others.
    """

    recipe: Recipe
    lengths: Mapping[str, int]
    mmbt: Arrangement | None

    @classmethod
    def of(cls, plan: Plan, backbone: nn.Module, encoders: Mapping[str, Encoder]) -> InputSequence:
        """The arrangement of a plan, for which the backbone is made ready."""
        if plan.recipe.backbone.tokens == "behind":
            make_room(backbone, plan.anatomy.stacks[0])
        return cls(plan.recipe, token_lengths(plan.recipe, encoders), Arrangement.of(plan, backbone))

    @property
    def behind(self) -> bool:
        """The tokens stand behind the text, so that they can be as many as the batch needs."""
        return self.recipe.backbone.tokens == "behind"

    def prefix(self, parts: Parts, backbone: nn.Module, segments: Mapping[str, Tensor]) -> Prefix | None:
        """What goes before or behind the text, in recipe order; None for nothing.

        Args:
            parts: from `projected`.
            backbone: the model.
            segments: modality -> its segment embedding, for MMBT.
        """
        if not parts:
            return None
        if self.behind:
            return joined([*parts.values()], behind=True)
        if self.mmbt is None:
            return plain_prefix(parts, self.lengths)
        return mmbt_prefix(self.mmbt, backbone, parts, segments, self.lengths)

    def spans(self, parts: Parts) -> dict[str, tuple[int, int | None]]:
        """Modality -> (start, stop) of its tokens in the input."""
        lengths = {name: mask.shape[1] for name, (_, mask) in parts.items()} if self.behind else self.lengths
        return spans_of(self.recipe, lengths)


def projected(
    projections: Mapping[str, nn.Module], backbone: nn.Module, streams: Mapping[str, Side]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Modality of route "tokens" -> (B, T, D) and (B, T): its vectors as input tokens of the backbone, in recipe order.

    Args:
        projections: modality -> its way into the input sequence.
        backbone: whose word embedding some of them read.
        streams: modality -> its vectors.
    """
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, project in projections.items():
        words = input_embedding(backbone).weight if getattr(project, "reads_words", False) else None
        side = streams[name]
        found[name] = project(side.tensor, words), side.mask
    return found


def plain_prefix(parts: Parts, lengths: Mapping[str, int]) -> Prefix:
    """The tokens before the text. Each modality takes its full length, so that the text's positions do not depend on
    the other samples of the batch.

    Args:
        parts: modality -> its tokens and their mask.
        lengths: modality -> most tokens.
    """
    return joined([full_length(*part, lengths[name]) for name, part in parts.items()])


def joined(parts: Sequence[tuple[Tensor, Tensor]], *, behind: bool = False) -> Prefix:
    """The tokens one after another."""
    tensor, mask = (torch.cat(tensors, dim=1) for tensors in zip(*parts, strict=True))
    return Prefix(tensor, mask, behind=behind)


def full_length(tokens: Tensor, mask: Tensor, full: int) -> tuple[Tensor, Tensor]:
    """(B, T, D) and (B, T) -> (B, N, D) and (B, N): padded to the modality's longest."""
    missing = full - mask.shape[1]
    return functional.pad(tokens, (0, 0, 0, missing)), functional.pad(mask, (0, missing))


def mmbt_prefix(
    arrangement: Arrangement,
    backbone: nn.Module,
    parts: Parts,
    segments: Mapping[str, Tensor],
    lengths: Mapping[str, int],
) -> Prefix:
    """[CLS] tokens [SEP] tokens [SEP] ..: every modality a block with its own segment, positions from the start.

    The backbone adds row 0 of its segment table to everything it is handed as embeddings, so what is handed over has
    the difference to the modality's own segment in it. Positions count the tokens that count.
    """
    embedding = input_embedding(backbone)
    ids = torch.tensor([arrangement.cls, arrangement.sep], device=embedding.weight.device)
    cls, sep = embedding(ids)[:, None, None]  # (1, 1, D) each
    row = backbone.get_parameter(f"{arrangement.segments.path}.weight")[0]  # (D,)
    tensors, masks, positions = [], [], []
    for name, part in parts.items():
        vectors, counts = full_length(*part, lengths[name])  # (B, N, D), (B, N)
        batch, heard = len(vectors), counts.any(dim=1, keepdim=True)
        first = not tensors
        ends = [end.expand(batch, 1, -1).to(vectors.dtype) for end in (cls, sep)]
        block = torch.cat([*ends[:first], vectors, ends[1]], dim=1)  # (B, N, D)
        counts = torch.cat([*[torch.ones_like(heard)] * first, counts, heard], dim=1)
        tensors.append(block + (segments[name] - row).to(block.dtype))
        masks.append(counts)
        positions.append((counts.cumsum(1) - 1).clamp(min=0) + arrangement.segments.position)
    whole = [torch.cat(each, dim=1) for each in (tensors, masks, positions)]
    return Prefix(whole[0], whole[1], whole[2], arrangement.segments.position)
