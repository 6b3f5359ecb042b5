"""Detection where it has least to go by."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from adaptkit.anatomy import study
from adaptkit.anatomy.tables.families import Family


class Block(nn.Module):
    """Looks at values before it works: no forward without data."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not x.abs().sum().item() > 1e6:
            raise ValueError("too small")
        return x + self.down(self.up(self.norm(x)).relu())


class Unknown(nn.Module):
    """Of no library, and it refuses the inputs a probe would try."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dim() == 3
        return self.blocks(x)


def test_without_a_forward_the_tree_speaks_and_says_so() -> None:
    anatomy = study(Unknown())
    names = {site.name for site in anatomy.sites if site.layer == 1}
    assert names == {"block.in", "mlp.in", "mlp.up", "mlp.down", "mlp.out", "block.out"}
    assert any("no forward of the blocks without data" in note for note in anatomy.notes)
    assert any("stream and sum sites need a forward" in note for note in anatomy.notes)


def test_nothing_that_repeats() -> None:
    anatomy = study(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    assert anatomy.stacks == ()
    assert anatomy.sites == ()
    assert [module.path for module in anatomy.modules] == ["0", "1"]
    assert any("path:<glob>" in note for note in anatomy.notes)


def test_a_word_for_what_has_no_name() -> None:
    config = AutoConfig.for_model(
        "mixtral", hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=2, vocab_size=64,
    )  # fmt: skip
    with torch.device("meta"):
        anatomy = study(AutoModel.from_config(config))
    assert any("by path only: mlp.gate" in note for note in anatomy.notes)
    assert "attn.sum" not in {site.name for site in anatomy.sites}


def test_interleaved_heads_have_no_columns() -> None:
    config = AutoConfig.for_model(
        "gpt_neox",
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=64,
    )
    with torch.device("meta"):
        anatomy = study(AutoModel.from_config(config))
    assert anatomy.found_by == "table"
    assert not {"attn.q", "attn.k", "attn.v"} & {site.name for site in anatomy.sites}


class PostNorm(Block):
    def __init__(self) -> None:
        super().__init__()
        self.norm = self._modules.pop("norm")  # after its projections in the tree


def test_the_table_tells_where_norms_are_when_no_forward_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Unknown()
    model.blocks = nn.Sequential(PostNorm(), PostNorm())
    assert not any(site.norm for site in study(model).sites)
    monkeypatch.setattr("adaptkit.anatomy.detect.study.row", lambda family: Family(norm="post"))
    anatomy = study(model)
    assert anatomy.found_by == "table"
    sums = [(site.name, site.path) for site in anatomy.sites if site.norm and site.layer == 1]
    assert sums == [("mlp.sum", "blocks.1.norm")]
