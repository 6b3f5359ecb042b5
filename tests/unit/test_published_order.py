"""A BERT with the published adapters in every layer gives the published logits: the order of operations, end to end.

The reference below runs a plain transformers BERT piece by piece, as the code of Multimodal-Adapters does: in both
sublayers dense, dropout, adapter with its own skip, then the residual add and the norm; the same modality vectors in
every layer; pooler, then Linear, GELU (tanh form), LayerNorm (eps 1e-12), Linear. The adapters' weights are those of
the published modules (goldens), shaken differently at every place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe

# B batch, T tokens, D width, P bottleneck, E width of a modality, C classes
GOLDENS = load_file(Path(__file__).parents[1] / "goldens" / "gmu" / "module.safetensors")
D, P, LAYERS, CLASSES = 12, 6, 3, 13
EXACT = {"rtol": 0.0, "atol": 1e-10}
# Published class -> our names for its modalities, in order, and the prefixes of their branches in the class.
CASES = {
    "text_only": ((), ()),
    "bi": (("m1",), ("m",)),
    "tri": (("m1", "m2"), ("m1", "m2")),
    "quad_fixed": (("m1", "m2", "m3"), ("m1", "m2", "m3")),
}


def published(case: str, place: int) -> dict[str, Tensor]:
    """The weights of the published module, shaken so that no two places are alike."""
    generator = torch.Generator().manual_seed(place)
    stored = "quad" if case == "quad_fixed" else case
    own = {
        name.removeprefix(f"{stored}.w."): value for name, value in GOLDENS.items() if name.startswith(f"{stored}.w.")
    }
    return {
        name: value + 0.05 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for name, value in sorted(own.items())
        if "layer_norm_before" not in name
    }


def down(w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """d(x) = gelu_tanh(W LN(x) + b), LN with eps 1e-5."""
    normed = F.layer_norm(x, x.shape[-1:], w[f"{name}.0.weight"], w[f"{name}.0.bias"], 1e-5)
    return F.gelu(F.linear(normed, w[f"{name}.1.weight"], w[f"{name}.1.bias"]), approximate="tanh")


def adapted(case: str, w: Mapping[str, Tensor], h: Tensor, modalities: Mapping[str, Tensor]) -> Tensor:
    """Equations 1.2 to 1.5: the adapter with its skip. h (B, T, D)."""
    names, prefixes = CASES[case]
    a = down(w, "adapter_down", h)  # (B, T, P)
    if not names:
        return h + F.linear(a, w["adapter_up.weight"], w["adapter_up.bias"])
    parts = [a] + [
        down(w, f"{prefix}_adapter_down", modalities[name])[:, None].expand_as(a)
        for name, prefix in zip(names, prefixes, strict=True)
    ]
    together = torch.cat(parts, dim=-1)
    if len(names) == 1:
        z = torch.sigmoid(F.linear(together, w["gate.weight"]))
        mixed = z * parts[0] + (1 - z) * parts[1]
    else:
        gates = [torch.sigmoid(F.linear(together, w[f"gate{i + 1}.weight"])) for i in range(len(parts))]
        mixed = torch.stack([z * part for z, part in zip(gates, parts, strict=True)]).sum(0)
    return h + F.linear(mixed, w["adapter_up.weight"], w["adapter_up.bias"])


def published_logits(
    case: str,
    bert: BertModel,
    weights: list[dict[str, Tensor]],
    head: Mapping[str, Tensor],
    ids: Tensor,
    mask: Tensor,
    modalities: Mapping[str, Tensor],
) -> Tensor:
    h = bert.embeddings(input_ids=ids)
    bias = torch.zeros(mask.shape, dtype=h.dtype).masked_fill(~mask.bool(), torch.finfo(h.dtype).min)[:, None, None]
    for number, layer in enumerate(bert.encoder.layer):
        block: Any = layer
        attended = attention(block.attention.self, h, bias)
        x = adapted(case, weights[2 * number], block.attention.output.dense(attended), modalities)
        h = block.attention.output.LayerNorm(x + h)
        x = adapted(case, weights[2 * number + 1], block.output.dense(block.intermediate(h)), modalities)
        h = block.output.LayerNorm(x + h)
    pooled = torch.tanh(bert.pooler.dense(h[:, 0]))  # type: ignore[union-attr]
    x = F.gelu(F.linear(pooled, head["0.weight"], head["0.bias"]), approximate="tanh")
    x = F.layer_norm(x, x.shape[-1:], head["3.weight"], head["3.bias"], 1e-12)
    return F.linear(x, head["4.weight"], head["4.bias"])


def attention(module: Any, h: Tensor, bias: Tensor) -> Tensor:
    """Plain multi-head attention of BERT. (B, T, D)"""
    heads = module.num_attention_heads
    q, k, v = (
        each(h).unflatten(-1, (heads, -1)).transpose(1, 2) for each in (module.query, module.key, module.value)
    )  # (B, H, T, D/H)
    weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias, dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def recipe_of(case: str, folder: Path) -> dict[str, Any]:
    names, _ = CASES[case]
    adapter: dict[str, Any] = {"at": ["attn.out", "mlp.out"], "bottleneck": P, "expect": 2 * LAYERS}
    if names:
        adapter |= {"kind": "gmu", "sides": list(names)}
    else:
        adapter |= {"kind": "bottleneck", "norm_before": True, "activation": "gelu_tanh"}
    return {
        "name": "published",
        "backbone": {"model": str(folder), "pool": "pooler", "max_tokens": 8},
        "modality": {"plot": {"kind": "text", "route": "backbone"}}
        | {n: {"kind": "features", "width": GOLDENS[f"in.{n}"].shape[1], "route": "side"} for n in names},
        "adapter": {"fuse": adapter},
        "data": {"format": "jsonl"},
        "task": {
            "genres": {
                "kind": "multilabel",
                "labels": [f"genre{i}" for i in range(CLASSES)],
                "head": {"kind": "mlp"},
            }
        },
    }


def our_names(case: str) -> dict[str, str]:
    """Our parameter of an adapter -> the published one."""
    names, prefixes = CASES[case]
    norm = "norm" if names else "norm_before"
    found = {}
    for kind in ("weight", "bias"):
        found |= {f"{norm}.{kind}": f"adapter_down.0.{kind}", f"down.{kind}": f"adapter_down.1.{kind}"}
        found[f"up.{kind}"] = f"adapter_up.{kind}"
        for name, prefix in zip(names, prefixes, strict=True):
            found[f"side_norms.{name}.{kind}"] = f"{prefix}_adapter_down.0.{kind}"
            found[f"side_downs.{name}.{kind}"] = f"{prefix}_adapter_down.1.{kind}"
    return found


def ours(case: str, name: str, w: Mapping[str, Tensor]) -> Tensor:
    """The published value of one of our parameters; all gates lie in one matrix."""
    if name != "gate.weight":
        return w[our_names(case)[name]]
    gates = ["gate"] if "gate.weight" in w else [f"gate{i + 1}" for i in range(len(CASES[case][0]) + 1)]
    return torch.cat([w[f"{gate}.weight"] for gate in gates])


@pytest.mark.parametrize("case", CASES)
def test_a_bert_with_the_published_adapters_gives_the_published_logits(case: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = BertConfig(
        hidden_size=D, num_hidden_layers=LAYERS, num_attention_heads=3, intermediate_size=20, vocab_size=50,
        max_position_embeddings=16, hidden_dropout_prob=0.1, initializer_range=0.3,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    model = build_model(make_plan(parse_recipe(recipe_of(case, tmp_path)))).double()
    bert = BertModel.from_pretrained(tmp_path, attn_implementation="eager").double().eval()
    places = [f"encoder.layer.{i}.{host}" for i in range(LAYERS) for host in ("attention.output.dense", "output.dense")]
    weights = [published(case, number) for number in range(len(places))]
    with torch.no_grad():
        for place, w in zip(places, weights, strict=True):
            adapter = model.backbone.get_submodule(f"{place}.adapters.fuse")
            for name, parameter in adapter.named_parameters():
                parameter.copy_(ours(case, name, w))
        for parameter in model.heads.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))

    ids = torch.randint(1, 50, (2, 7))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    modalities = {name: GOLDENS[f"in.{name}"] for name in CASES[case][0]}
    inputs = {"plot": {"input_ids": ids, "attention_mask": mask, "present": torch.ones(2, dtype=torch.bool)}}
    for name, value in modalities.items():
        every = torch.ones(2, 1, dtype=torch.bool)
        inputs[name] = {"values": value[:, None], "mask": every, "present": every[:, 0]}
    with torch.no_grad():
        found = model(inputs)["genres"]
        wanted = published_logits(
            case, bert, weights, dict(model.heads["genres"].named_parameters()), ids, mask, modalities
        )
    torch.testing.assert_close(found, wanted, **EXACT)
    plain = model.heads["genres"](bert(input_ids=ids, attention_mask=mask).pooler_output)
    assert (found - plain).abs().max() > 1e-2, "the adapters act"
