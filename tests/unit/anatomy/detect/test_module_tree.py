"""The folded tree."""

from __future__ import annotations

from adaptkit.anatomy import Node, study, tree
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
