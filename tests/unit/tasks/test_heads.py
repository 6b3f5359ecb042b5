"""Heads: shapes, the published parameter count, freezing."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from adaptkit.kinds import HEADS, table_of
from adaptkit.recipe import Head
from adaptkit.tasks.heads import build_head


def table(**keys: object) -> Head:
    """The table as a recipe has it."""
    kind = HEADS.kinds[str(keys.get("kind", "linear"))]
    return table_of(kind, Head).model_validate({"kind": kind.name, **keys})


def count(head: torch.nn.Module) -> int:
    return sum(p.numel() for p in head.parameters())


def test_the_mlp_is_the_classifier_of_multimodal_adapters() -> None:
    head = build_head(table(kind="mlp"), 768, 13)
    assert count(head) == 602_125
    kinds = [type(layer).__name__ for layer in head]  # type: ignore[attr-defined]
    assert kinds == ["Linear", "Dropout", "GELU", "LayerNorm", "Linear"]
    assert head[2].approximate == "tanh"  # type: ignore[index]
    assert head[3].eps == 1e-12  # type: ignore[index]


def test_linear_and_hidden_widths() -> None:
    assert count(build_head(table(), 10, 3)) == 33
    assert count(build_head(table(kind="mlp", hidden=5), 10, 3)) == 55 + 10 + 18
    for spec in (table(), table(dropout=0.5), table(kind="mlp", hidden=4)):
        assert build_head(spec, 10, 3)(torch.zeros(2, 10)).shape == (2, 3)


def test_dropout_acts_in_training_only() -> None:
    head = build_head(table(dropout=0.5), 64, 2)
    x = torch.ones(1, 64)
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))


def test_a_head_may_stay_as_it_is() -> None:
    assert not any(p.requires_grad for p in build_head(table(kind="mlp", train=False), 8, 2).parameters())
    assert all(p.requires_grad for p in build_head(table(), 8, 2).parameters())


def test_a_linear_head_has_no_hidden_width() -> None:
    with pytest.raises(ValidationError, match="hidden"):
        table(hidden=5)


def test_the_residual_head_is_that_of_mult() -> None:
    """out(x + proj1(relu(proj0(x)))), D = N by default."""
    head = build_head(table(kind="residual", dropout=0.1), 6, 3).eval()
    assert count(head) == 2 * 6 * 6 + 6 + 6 + 6 * 3 + 3
    assert count(build_head(table(kind="residual", hidden=4), 6, 3)) == 2 * 6 * 4 + 4 + 6 + 6 * 3 + 3
    x, w = torch.randn(2, 6), head.state_dict()
    inner = torch.relu(x @ w["proj0.weight"].T + w["proj0.bias"]) @ w["proj1.weight"].T + w["proj1.bias"]
    torch.testing.assert_close(head(x), (x + inner) @ w["out.weight"].T + w["out.bias"])


def test_the_mlp_without_a_norm_is_the_classifier_of_wander_on_food101() -> None:
    """Linear, ReLU, dropout, linear: dropout before a ReLU is dropout behind it."""
    head = build_head(table(kind="mlp", hidden=7, activation="relu", norm=False, dropout=0.5), 5, 3)
    assert count(head) == 5 * 7 + 7 + 7 * 3 + 3
    assert list(head.state_dict()) == ["0.weight", "0.bias", "4.weight", "4.bias"]
    first, last = head[0], head[4]  # type: ignore[index]
    x = torch.randn(4, 5)
    torch.manual_seed(0)
    found = head(x)
    torch.manual_seed(0)
    kept = torch.nn.functional.dropout(torch.ones(4, 7), 0.5)
    torch.testing.assert_close(found, last(first(x).relu() * kept))
