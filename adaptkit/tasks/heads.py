"""The heads: modules that make the outputs of a task of the pooled vector, built from plain keywords."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn
from torch.nn import functional

from adaptkit import kinds
from adaptkit.kinds import Count, Kinds, Share

if TYPE_CHECKING:
    from adaptkit.recipe import Head

# B batch, D width of the pooled vector, N hidden width, O outputs

HEADS: Kinds[Callable[..., nn.Module]] = kinds.HEADS


def build_head(spec: Head, width: int, outputs: int) -> nn.Module:
    """(B, D) -> (B, O), as `head = {...}` of a task says; frozen where `train = false`."""
    return HEADS.named(spec.kind)(width, outputs, **spec.options).requires_grad_(spec.train)


@HEADS.register("linear")
def linear(width: int, outputs: int, *, dropout: Share = 0.0) -> nn.Module:
    """Dropout (if any) and one linear layer: D*O + O parameters.

    Args:
        dropout: of the vector.
    """
    layer = nn.Linear(width, outputs)
    return nn.Sequential(nn.Dropout(dropout), layer) if dropout else layer


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "gelu": nn.GELU,
    "relu": nn.ReLU,
}


@HEADS.register("mlp")
def mlp(
    width: int,
    outputs: int,
    *,
    hidden: Count | None = None,
    activation: Literal["gelu_tanh", "gelu", "relu"] = "gelu_tanh",
    norm: bool = True,
    dropout: Share = 0.0,
) -> nn.Module:
    """Linear, dropout, GELU (tanh form), layer norm (eps 1e-12), linear: D*N + 3*N + N*O + O parameters.

    The classifier of the Multimodal-Adapters code (`SimpleClassifier`): 602,125 parameters at D = N = 768 and
    O = 13. With `activation = "relu"` and `norm = false` that of Wander on Food-101: dropout before or after a ReLU is
    the same.

    Args:
        hidden: N. Default: the width of the pooled vector.
        activation: "gelu_tanh", "gelu" (exact) or "relu".
        norm: with the layer norm, 2*N parameters.
        dropout: of the hidden vector.
    """
    hidden = hidden or width
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.Dropout(dropout),
        ACTIVATIONS[activation](),
        nn.LayerNorm(hidden, eps=1e-12) if norm else nn.Identity(),
        nn.Linear(hidden, outputs),
    )


@HEADS.register("residual")
class Residual(nn.Module):
    """Linear, ReLU, dropout, linear, plus the input; then the output layer: 2*D*N + N + D + D*O + O parameters.

    The head of MulT (Tsai et al. 2019), which Wander (Guo et al. 2025) tunes on CMU-MOSI. N = D as published.

    Args:
        hidden: N. Default: the width of the pooled vector.
        dropout: of the hidden vector.
    """

    def __init__(self, width: int, outputs: int, *, hidden: Count | None = None, dropout: Share = 0.0) -> None:
        super().__init__()
        hidden = hidden or width
        self.proj0, self.proj1 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x + self.proj1(self.dropout(functional.relu(self.proj0(x)))))
