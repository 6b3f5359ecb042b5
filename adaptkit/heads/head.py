"""The output modules, built from plain keywords."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from adaptkit.errors import RecipeError
from adaptkit.registry import Registry

if TYPE_CHECKING:
    from adaptkit.recipe import Head

# B batch, D width of the pooled vector, N hidden width, O outputs

HEADS: Registry[Callable[..., nn.Module]] = Registry("head")


def build_head(spec: Head, width: int, outputs: int) -> nn.Module:
    """(B, D) -> (B, O), as `head = {...}` of a task says; frozen where `train = false`.

    Raises:
        RecipeError: `hidden` for a head without a hidden layer."""
    if spec.kind == "linear" and spec.hidden is not None:
        raise RecipeError("a linear head has no hidden layer.", where="head.hidden", hint='Write kind = "mlp".')
    head = HEADS.named(spec.kind)(width, outputs, hidden=spec.hidden or width, dropout=spec.dropout)
    return head.requires_grad_(spec.train)


@HEADS.register("linear")
def linear(width: int, outputs: int, *, hidden: int, dropout: float) -> nn.Module:
    """Dropout (if any) and one linear layer: D*O + O parameters. `hidden` has no meaning here."""
    layer = nn.Linear(width, outputs)
    return nn.Sequential(nn.Dropout(dropout), layer) if dropout else layer


@HEADS.register("mlp")
def mlp(width: int, outputs: int, *, hidden: int, dropout: float) -> nn.Module:
    """Linear, dropout, GELU (tanh form), layer norm (eps 1e-12), linear: D*N + 3*N + N*O + O parameters.

    The classifier of the Multimodal-Adapters code (`SimpleClassifier`): 602,125 parameters at D = N = 768 and
    O = 13.
    """
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.Dropout(dropout),
        nn.GELU(approximate="tanh"),
        nn.LayerNorm(hidden, eps=1e-12),
        nn.Linear(hidden, outputs),
    )


class Residual(nn.Module):
    """Linear, ReLU, dropout, linear, plus the input; then the output layer: 2*D*N + N + D + D*O + O parameters.

    The head of MulT (Tsai et al. 2019), which Wander (Guo et al. 2025) tunes on CMU-MOSI. N = D as published.
    """

    def __init__(self, width: int, outputs: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.proj0, self.proj1 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x + self.proj1(self.dropout(functional.relu(self.proj0(x)))))


HEADS.register("residual")(Residual)
