"""Placement: whole backbones with adapters as saved by AdapterHub and PEFT give the published outputs (float32)."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from adaptkit.anatomy import Site, current_path, select, study
from adaptkit.artifact import merge
from adaptkit.surgery import Graft, host_shape, insert

GOLDENS = Path(__file__).parents[1] / "goldens"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def backbone(folder: str, weights: str, rename: Callable[[str], str] = str) -> nn.Module:
    from transformers import AutoConfig, AutoModel

    settings = json.loads((GOLDENS / folder / "config.json").read_text())
    model = AutoModel.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings)).eval()
    state = {rename(name): value for name, value in load_file(GOLDENS / folder / weights).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("embed_tokens" in name or "position_ids" in name for name in missing), missing
    return model


def graft_all(model: nn.Module, kind: str, at: list[str], **options) -> list[Graft]:
    """Insert one adapter at all sites of these names."""
    grafts = [
        Graft("golden", kind, site, host_shape(model, site), options=options)
        for site in select(study(model), at, "all")
    ]
    insert(model, grafts)
    return grafts


def fill(model: nn.Module, grafts: list[Graft], weights: Callable[[Graft], dict[str, Tensor]]) -> None:
    for graft in grafts:
        model.get_submodule(graft.site.path).adapters[graft.child].load_state_dict(weights(graft))


def bottleneck_of(saved: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        f"{ours}.{kind}": saved[f"{prefix}.{theirs}.{kind}"]
        for ours, theirs in (("down", "adapter_down.0"), ("up", "adapter_up"))
        for kind in ("weight", "bias")
    }


@pytest.mark.parametrize(
    ("name", "at", "act"),
    [("double_seq_bn", ["attn.out", "mlp.out"], "silu"), ("seq_bn", ["mlp.sum"], "relu")],
    ids=["houlsby", "pfeiffer"],
)
def test_adapterhub_bert(name: str, at: list[str], act: str) -> None:
    model = backbone("adapterhub/bert/backbone", "backbone.safetensors")
    saved = load_file(GOLDENS / "adapterhub/bert" / name / "adapter.safetensors")
    inputs = load_file(GOLDENS / "adapterhub/bert/inputs.safetensors")
    plain = load_file(GOLDENS / "adapterhub/bert/plain_outputs.safetensors")
    expected = load_file(GOLDENS / "adapterhub/bert" / name / "outputs.safetensors")
    torch.testing.assert_close(model(**inputs).last_hidden_state, plain["last_hidden_state"], **CLOSE)
    grafts = graft_all(model, "bottleneck", at, reduction_factor=4, activation=act)

    def weights(graft: Graft) -> dict[str, Tensor]:
        branch = "attention.output" if graft.site.name.startswith("attn") else "output"
        return bottleneck_of(saved, f"encoder.layer.{graft.site.layer}.{branch}.adapters.{name}")

    fill(model, grafts, weights)
    assert len(grafts) == len(saved) // 4
    torch.testing.assert_close(model(**inputs).last_hidden_state, expected["last_hidden_state"], **CLOSE)


def test_adapterhub_bert_compacter() -> None:
    """Compacter++: one rule for all layers and both projections, which AdapterHub does not save with the adapter."""
    folder = GOLDENS / "adapterhub/bert/compacterpp"
    model = backbone("adapterhub/bert/backbone", "backbone.safetensors")
    saved = load_file(folder / "adapter.safetensors")
    rule = load_file(folder / "NOT_SAVED_BY_ADAPTERS_shared_parameters.safetensors")
    inputs = load_file(GOLDENS / "adapterhub/bert/inputs.safetensors")
    expected = load_file(folder / "outputs.safetensors")
    grafts = graft_all(model, "compacter", ["mlp.sum"], phm_dim=4, rank=1, reduction_factor=4)
    names = {"left": "W_left", "right": "W_right", "bias": "b"}

    def weights(graft: Graft) -> dict[str, Tensor]:
        prefix = f"encoder.layer.{graft.site.layer}.output.adapters.compacterpp"
        found = {f"{half}.rule.weight": rule["shared_parameters.compacterpp.phm_rule"] for half in ("down", "up")}
        for half, theirs in (("down", "adapter_down.0"), ("up", "adapter_up")):
            found |= {f"{half}.{ours}": saved[f"{prefix}.{theirs}.{name}"] for ours, name in names.items()}
        return found

    fill(model, grafts, weights)
    assert len(grafts) == len(saved) // 6
    torch.testing.assert_close(model(**inputs).last_hidden_state, expected["last_hidden_state"], **CLOSE)
    hosts = [model.get_submodule(graft.site.path) for graft in grafts]
    rules = {id(host.adapters["golden"].down.rule) for host in hosts}  # type: ignore[union-attr,index]
    assert len(rules) == 1


def test_adapterhub_bert_lora() -> None:
    model = backbone("adapterhub/bert/backbone", "backbone.safetensors")
    saved = load_file(GOLDENS / "adapterhub/bert/lora/adapter.safetensors")
    inputs = load_file(GOLDENS / "adapterhub/bert/inputs.safetensors")
    expected = load_file(GOLDENS / "adapterhub/bert/lora/outputs.safetensors")
    grafts = graft_all(model, "lora", ["attn.q", "attn.v"], rank=4, alpha=8.0)
    fill(model, grafts, lambda g: {x: saved[f"{g.site.path}.loras.lora.lora_{x}"] for x in "AB"})
    torch.testing.assert_close(model(**inputs).last_hidden_state, expected["last_hidden_state"], **CLOSE)


def test_adapterhub_bart_houlsby_with_cross_attention() -> None:
    name = "double_seq_bn_cross"
    model = backbone("adapterhub/bart/backbone", "backbone.safetensors")
    saved = load_file(GOLDENS / "adapterhub/bart" / name / "adapter.safetensors")
    inputs = load_file(GOLDENS / "adapterhub/bart/inputs.safetensors")
    expected = load_file(GOLDENS / "adapterhub/bart" / name / "outputs.safetensors")
    grafts = graft_all(
        model, "bottleneck", ["attn.out", "cross_attn.out", "mlp.out"], reduction_factor=4, activation="silu"
    )
    places = {
        "attn": "attention_adapters",
        "cross_attn": "cross_attention_adapters",
        "mlp": "output_adapters",
    }

    def weights(graft: Graft) -> dict[str, Tensor]:
        branch = places[graft.site.name.partition(".")[0]]
        return bottleneck_of(saved, f"{graft.site.stack}.layers.{graft.site.layer}.{branch}.adapters.{name}")

    fill(model, grafts, weights)
    assert len(grafts) == len(saved) // 4
    found = model(**inputs)
    torch.testing.assert_close(found.last_hidden_state, expected["last_hidden_state"], **CLOSE)
    torch.testing.assert_close(found.encoder_last_hidden_state, expected["encoder_last_hidden_state"], **CLOSE)


def test_adapterhub_vit_pfeiffer() -> None:
    model = backbone("adapterhub/vit/backbone", "backbone.safetensors", partial(current_path, "vit"))
    saved = load_file(GOLDENS / "adapterhub/vit/seq_bn/adapter.safetensors")
    inputs = load_file(GOLDENS / "adapterhub/vit/inputs.safetensors")
    expected = load_file(GOLDENS / "adapterhub/vit/seq_bn/outputs.safetensors")
    grafts = graft_all(model, "bottleneck", ["mlp.sum"], reduction_factor=4, activation="relu")
    fill(
        model,
        grafts,
        lambda g: bottleneck_of(saved, f"encoder.layer.{g.site.layer}.output.output_adapters.adapters.seq_bn"),
    )
    torch.testing.assert_close(model(**inputs).last_hidden_state, expected["last_hidden_state"], **CLOSE)


def uniform(graft_site: Site) -> dict[str, float]:
    return {"rank": 4, "alpha": 8.0}


def patterned(graft_site: Site) -> dict[str, float]:
    """rank_pattern: layer 0's query has rank 2; alpha_pattern: the values have alpha 16."""
    query_of_0 = graft_site.layer == 0 and graft_site.name == "attn.q"
    return {"rank": 2 if query_of_0 else 4, "alpha": 16.0 if graft_site.name == "attn.v" else 8.0}


# A sample of PEFT: its backbone, where that lies in the head model, rank and alpha of each site.
PEFT = [
    pytest.param("bert_lora", "bert", "bert", uniform, id="bert"),
    pytest.param("bert_lora_pattern", "bert", "bert", patterned, id="bert-patterns"),
    pytest.param("llama_lora", "llama", "model", uniform, id="llama"),
    pytest.param("bart_lora", "bart", "model", uniform, id="bart"),
    pytest.param("vit_lora_modules_to_save", "vit", "vit", uniform, id="vit"),
]


def head_model(name: str) -> Any:
    import transformers

    auto = {
        "bert": transformers.AutoModelForSequenceClassification,
        "llama": transformers.AutoModelForCausalLM,
        "bart": transformers.AutoModelForSeq2SeqLM,
        "vit": transformers.AutoModelForImageClassification,
    }[name]
    folder = GOLDENS / "peft" / f"{name}_backbone"
    settings = json.loads((folder / "config.json").read_text())
    model = auto.from_config(transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)).eval()
    state = load_file(folder / "model.safetensors")
    renamed = {current_path(name, key): value for key, value in state.items()}
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    assert not unexpected
    assert all("embed_tokens" in key or "lm_head" in key for key in missing), missing  # tied to others
    model.tie_weights()
    return model


@pytest.mark.parametrize(("sample", "name", "inner", "options"), PEFT)
def test_peft_lora(sample: str, name: str, inner: str, options: Callable[[Site], dict[str, float]]) -> None:
    """Head models of PEFT: base, fresh, adapted and merged logits."""
    model = head_model(name)
    io = load_file(GOLDENS / "peft" / sample / "io.safetensors")
    inputs = {key.removeprefix("in."): value for key, value in io.items() if key.startswith("in.")}
    torch.testing.assert_close(model(**inputs).logits, io["out.base_logits"], **CLOSE)

    base = model.get_submodule(inner)
    at = ["attn.q", "attn.v", "cross_attn.q", "cross_attn.v"] if name == "bart" else ["attn.q", "attn.v"]
    grafts = [
        Graft("golden", "lora", site, host_shape(base, site), options=options(site))
        for site in select(study(base), at, "all")
    ]
    receipt = insert(base, grafts)
    saved = load_file(GOLDENS / "peft" / sample / "adapter_model.safetensors")
    head = {kind: saved.get(f"base_model.model.classifier.{kind}") for kind in ("weight", "bias")}
    if head["weight"] is None:  # with a new head PEFT's fresh logits are those of that head, not of the adapter
        torch.testing.assert_close(model(**inputs).logits, io["out.init_logits"], **CLOSE)
    else:
        model.classifier.load_state_dict(head)
    fill(
        base,
        grafts,
        lambda g: {x: saved[f"base_model.model.{inner}.{g.site.path}.lora_{x}.weight"] for x in "AB"},
    )
    assert len(grafts) == sum("lora_A" in key for key in saved)
    torch.testing.assert_close(model(**inputs).logits, io["out.adapter_logits"], **CLOSE)
    merge(base, receipt)
    if "out.merged_logits" in io:
        torch.testing.assert_close(model(**inputs).logits, io["out.merged_logits"], **CLOSE)
