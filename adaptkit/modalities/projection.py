"""From the vectors of a modality to input tokens of the backbone: the way of route "tokens"."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from adaptkit import kinds
from adaptkit.errors import RecipeError
from adaptkit.kinds import Count, Kinds

# B batch, T tokens, E width of the modality's vectors, D width of the backbone's input embeddings, V its words

PROJECTIONS: Kinds[type[TokenProjection]] = kinds.PROJECTIONS


class TokenProjection(nn.Module):
    """Turns the vectors of a modality into as many tokens; what it learns is trained and saved with the adapters.

    Its keyword-only arguments are keys of its table: `projection = { kind = "mlp", hidden = 512 }`.

    Args:
        width: E.
        out: D.
        tokens: most tokens of a sample.

    Attributes:
        reads_words: its `words` are to be the backbone's word embedding.
    """

    reads_words: ClassVar[bool] = False

    @classmethod
    def of(cls, modality: Any, name: str, width: int, out: int, tokens: int) -> TokenProjection:
        """The projection that a modality's table asks for.

        Raises:
            RecipeError: numbers that contradict each other.
        """
        where = f"modality.{name}.projection"
        kind: Any = PROJECTIONS.named(modality.projection.kind, where=where)
        try:
            projection = kind(width, out, tokens, **modality.projection.options)
        except RecipeError as error:
            first = error.problems[0]
            raise RecipeError(f"{where}: {first.message}", where=where, hint=first.hint) from error
        return projection.requires_grad_(modality.train)

    def forward(self, vectors: Tensor, words: Tensor | None = None) -> Tensor:
        """Tokens.

        Args:
            vectors: (B, T, E).
            words: (V, D), the backbone's word embedding, for those with `reads_words`.

        Returns:
            (B, T, D)
        """
        raise NotImplementedError


@PROJECTIONS.register("linear")
class LinearProjection(TokenProjection):
    """`W x + b`, each vector by itself (MMBT; the first LLaVA)."""

    def __init__(self, width: int, out: int, tokens: int) -> None:
        super().__init__()
        linear = nn.Linear(width, out)
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, vectors: Tensor, words: Tensor | None = None) -> Tensor:
        return functional.linear(vectors, self.weight, self.bias)


@PROJECTIONS.register("mlp")
class MLPProjection(TokenProjection):
    """`W2 gelu(W1 x + b1) + b2`, each vector by itself (Liu et al. 2024, LLaVA-1.5).

    Args:
        width: E.
        out: D.
        tokens: most tokens of a sample.
        hidden: width between the two; D by default.
    """

    def __init__(self, width: int, out: int, tokens: int, *, hidden: Count | None = None) -> None:
        super().__init__()
        middle = out if hidden is None else hidden
        self.first, self.second = nn.Linear(width, middle), nn.Linear(middle, out)

    def forward(self, vectors: Tensor, words: Tensor | None = None) -> Tensor:
        return self.second(functional.gelu(self.first(vectors)))
