"""The folded tree, probing, and detection where it has least to go by."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from adaptkit.anatomy import Node, detect, dummy_inputs, runnable_on_meta, study, tree
from adaptkit.anatomy.families import Family
from tests.unit.anatomy.tiny_families import FAMILIES, build


def lines(node: Node, depth: int = 0) -> list[str]:
    text = f"{'  ' * depth}{node.name or node.kind} {node.shape} x{node.count} {' '.join(node.sites)}".rstrip()
    return [text, *(line for child in node.children for line in lines(child, depth + 1))]


def test_like_layers_are_folded_into_one() -> None:
    model = build("bert", "meta")
    anatomy = study(model)
    chosen = [site for site in anatomy.sites if site.name in ("attn.out", "mlp.out", "final.out")]
    assert lines(tree(model, chosen)) == [
        "BertModel  x1",
        "  embeddings  x1",
        "    word_embeddings 64 -> 16 x1",
        "    position_embeddings 40 -> 16 x1",
        "    token_type_embeddings 2 -> 16 x1",
        "    LayerNorm 16 x1",
        "    dropout  x1",
        "  encoder  x1",
        "    layer  x1",
        "      0-2  x3",
        "        attention  x3",
        "          self  x3",
        "            query 16 -> 16 x3",
        "            key 16 -> 16 x3",
        "            value 16 -> 16 x3",
        "            dropout  x3",
        "          output  x3",
        "            dense 16 -> 16 x3 attn.out",
        "            LayerNorm 16 x3",
        "            dropout  x3",
        "        intermediate  x3",
        "          dense 16 -> 24 x3",
        "          intermediate_act_fn  x3",
        "        output  x3",
        "          dense 24 -> 16 x3 mlp.out",
        "          LayerNorm 16 x3",
        "          dropout  x3",
        "  pooler  x1",
        "    dense 16 -> 16 x1",
        "    activation  x1",
    ]


def test_a_layer_with_other_sites_is_a_line_of_its_own() -> None:
    model = build("bert", "meta")
    chosen = [site for site in study(model).sites if site.name == "mlp.out" and site.layer == 1]
    layers = tree(model, chosen).children[1].children[0]
    assert [child.name for child in layers.children] == ["0", "1", "2"]
    dense = layers.children[1].children[2].children[0]
    assert (dense.folded_path, dense.sites) == ("encoder.layer.1.output.dense", ("mlp.out",))


def test_parameters_of_a_tree_add_up() -> None:
    for name in FAMILIES:
        model = build(name, "meta")
        root = tree(model)
        assert root.parameters == sum(p.numel() for p in model.parameters())

    def total(node: Node) -> int:
        own = node.parameters - sum(c.parameters * (c.count // node.count) for c in node.children)
        return own + sum(total(child) * (child.count // node.count) for child in node.children)

    root = tree(build("bert", "meta"))
    assert total(root) == root.parameters


def test_every_family_runs_on_meta_inputs() -> None:
    for name in FAMILIES:
        model = build(name, "meta")
        with runnable_on_meta(model), torch.no_grad():
            model(**dummy_inputs(model, batch=3, tokens=7))


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
    monkeypatch.setattr(detect, "row", lambda family: Family(norm="post"))
    anatomy = study(model)
    assert anatomy.found_by == "table"
    sums = [(site.name, site.path) for site in anatomy.sites if site.norm and site.layer == 1]
    assert sums == [("mlp.sum", "blocks.1.norm")]
