"""Prefixes in models: PEFT's numbers, every attention implementation, and nothing else touched."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, BertConfig, BertForSequenceClassification

from adaptkit import sides
from adaptkit.anatomy import runnable_on_meta, select, study
from adaptkit.errors import SiteError
from adaptkit.surgery import Graft, Receipt, host_shape, insert, remove

GOLDENS = Path(__file__).parents[2] / "goldens" / "peft"
ROOT = Path(__file__).parents[3]
# B batch, T tokens, L length of the prefix, D width, H heads, E width of a head
B, T, L, D, H, E = 3, 6, 3, 32, 4, 8

SMALL = {"hidden_size": D, "num_attention_heads": H, "num_hidden_layers": 2, "intermediate_size": 48}
WORDS = {"vocab_size": 64, "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
BART = {f"{side}_{key}": value for side in ("encoder", "decoder")
        for key, value in (("layers", 2), ("attention_heads", H), ("ffn_dim", 48))}  # fmt: skip
T5 = {"d_model": D, "d_kv": E, "d_ff": 48, "num_layers": 2, "num_heads": H, "vocab_size": 64}
TEXT: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", SMALL | WORDS),
    "distilbert": ("distilbert", {"dim": D, "n_heads": H, "n_layers": 2, "hidden_dim": 48, **WORDS}),
    "gpt2": ("gpt2", {"n_embd": D, "n_head": H, "n_layer": 2, "n_positions": 32, **WORDS}),
    "llama": ("llama", {**SMALL, **WORDS, "num_key_value_heads": 2}),
    "bart": ("bart", {"d_model": D, **BART, **WORDS}),
    "t5": ("t5", T5),
    "vit": ("vit", {**SMALL, "image_size": 16, "patch_size": 8}),
}
CAUSAL = ["gpt2", "llama"]


def build(name: str, attention: str = "sdpa") -> Any:
    model_type, settings = TEXT[name]
    torch.manual_seed(0)
    return AutoModel.from_config(AutoConfig.for_model(model_type, **settings), attn_implementation=attention).eval()


def inputs_of(model: Any) -> dict[str, Tensor]:
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(B, 3, 16, 16, generator=torch.Generator().manual_seed(1))}
    mask = torch.ones(B, T, dtype=torch.long)
    mask[1, 4:] = 0
    ids = torch.arange(B * T).reshape(B, T) % 40 + 3
    inputs = {"input_ids": ids, "attention_mask": mask}
    if model.config.is_encoder_decoder:
        inputs |= {"decoder_input_ids": ids[:, :4] + 5}
    return inputs


def grafts(model: nn.Module, at: list[str], layers: Any = "all", name: str = "law", **options: Any) -> list[Graft]:
    return [
        Graft(name, "prefix", site, host_shape(model, site), options={"length": L, **options})
        for site in select(study(model), at, layers)
    ]


def prefixed(model: nn.Module, *, layers: Any = "all", **options: Any) -> Receipt:
    known = {site.name for site in study(model).sites}
    at = [name for name in ("attn.kv", "cross_attn.kv") if name in known]
    receipt = insert(model, grafts(model, at, layers, **options), seed=5)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator))
    return receipt


def adapters(model: nn.Module, name: str = "law") -> list[Any]:
    return [module for path, module in model.named_modules() if path.endswith(f"adapters.{name}")]


def floats(output: Any) -> list[Tensor]:
    return [value for value in output.to_tuple() if isinstance(value, Tensor) and value.is_floating_point()]


def run(model: Any, **further: Any) -> list[Tensor]:
    cache = {"use_cache": False} if model.config.is_encoder_decoder else {}
    return floats(model(**{**inputs_of(model), **further}, **cache))


def equal(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_prefix_tuning_of_peft(attention: str) -> None:
    """PEFT counts the tokens' positions from the end of the prefix."""
    folder = GOLDENS / "bert_backbone"
    config = BertConfig.from_pretrained(folder, attn_implementation=attention)
    model = BertForSequenceClassification.from_pretrained(folder, config=config).eval()
    io, saved = (load_file(GOLDENS / "bert_prefix" / f"{name}.safetensors") for name in ("io", "adapter_model"))
    settings = json.loads((GOLDENS / "bert_prefix" / "adapter_config.json").read_text())
    length, heads = settings["num_virtual_tokens"], settings["num_attention_heads"]
    model.classifier.load_state_dict({k: saved[f"base_model.classifier.{k}"] for k in ("weight", "bias")})
    insert(model.bert, grafts(model.bert, ["attn.kv"], length=length, positions="after"))
    layers = saved["prompt_embeddings"].view(length, -1, 2, heads, D // heads)  # (L, layers, 2, H, E)
    for layer, adapter in enumerate(adapters(model)):
        adapter.embedding.copy_(layers[:, layer].flatten(1))
    given = {name.removeprefix("in."): value for name, value in io.items() if name.startswith("in.")}
    found = model(**given).logits
    torch.testing.assert_close(found, io["out.adapter_logits"], rtol=0, atol=1e-5)
    assert not torch.allclose(found, io["out.base_logits"], atol=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt"])
@torch.no_grad()
def test_prefix_tuning_of_peft_in_decoders(name: str) -> None:
    """Tables of positions, rotary ones, and OPT's, which are counted from the mask: logits, and what is generated."""
    folder = GOLDENS / f"{name}_prefix"
    config = AutoConfig.for_model(**json.loads((folder / "config.json").read_text()))
    model = AutoModelForCausalLM.from_config(config).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    io, saved = (load_file(folder / f"{part}.safetensors") for part in ("io", "adapter_model"))
    given = {key.removeprefix("in."): value for key, value in io.items() if key.startswith("in.")}
    length = len(saved["prompt_embeddings"])
    insert(model.base_model, grafts(model.base_model, ["attn.kv"], length=length, positions="after"))
    for layer, adapter in enumerate(adapters(model)):
        adapter.embedding.copy_(saved["prompt_embeddings"].view(length, len(adapters(model)), -1)[:, layer])
    found = model(**given).logits
    real = given["attention_mask"].bool()
    torch.testing.assert_close(found[real], io["out.adapter_logits"][real], rtol=0, atol=1e-5)
    assert not torch.allclose(found[real], io["out.base_logits"][real], atol=1e-2)
    how = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
    for cache in (True, False):
        assert torch.equal(model.generate(**given, **how, use_cache=cache), io["out.generated"])


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "bart"])
def test_positions_are_moved_and_put_back(name: str) -> None:
    """Once for all layers, by every such prefix, in copies too; those of the other stack stay."""
    model = build(name)
    at = "decoder.attn.kv" if name == "bart" else "attn.kv"
    plain, copied = run(model), copy.deepcopy(model)
    offsets = [module.offset for module in model.modules() if hasattr(module, "offset")]
    own = insert(model, grafts(model, [at], name="own"), seed=5)
    kept = run(model)
    first = insert(model, grafts(model, [at], name="first", positions="after"), seed=5)
    second = insert(model, grafts(model, [at], name="second", length=2, positions="after"), seed=5)
    both = run(model)
    assert equal(run(copy.deepcopy(model)), both)
    assert equal(run(pickle.loads(pickle.dumps(model))), both)
    remove(model, first)
    assert not equal(run(model), both)
    remove(model, second)
    assert equal(run(model), kept)
    remove(model, own)
    assert equal(run(model), plain)
    assert [module.offset for module in model.modules() if hasattr(module, "offset")] == offsets
    assert not any("adapter" in key for module in model.modules() for key in vars(module))
    assert equal(run(copied), plain)


@pytest.mark.parametrize(
    ("name", "at", "message"),
    [
        ("t5", "attn.kv", "there are no positions that a prefix could move"),
        ("vit", "attn.kv", "there are no positions that a prefix could move"),
        ("bart", "cross_attn.kv", "a cross-attention knows no positions"),
    ],
)
def test_where_positions_cannot_be_moved_it_is_refused(name: str, at: str, message: str) -> None:
    model = build(name)
    keys = list(model.state_dict())
    with pytest.raises(SiteError, match=message) as caught:
        insert(model, grafts(model, [at], positions="after"))
    assert 'positions = "own"' in caught.value.problems[0].hint
    assert list(model.state_dict()) == keys


@torch.no_grad()
def test_equation_3() -> None:
    """Attention of one layer over the prefix and the tokens, written out."""
    model = build("bert")
    prefixed(model)
    attention = model.encoder.layer[0].attention.self
    h = torch.randn(B, T, D)
    q, k, v = (getattr(attention, name)(h).unflatten(2, (H, E)).transpose(1, 2) for name in ("query", "key", "value"))
    keys, values = (each.expand(B, -1, -1, -1) for each in adapters(model)[0].keys_values())
    scores = q @ torch.cat([keys, k], dim=2).transpose(2, 3) / E**0.5
    expected = (scores.softmax(-1) @ torch.cat([values, v], dim=2)).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention(h)[0], expected)


@pytest.mark.parametrize("name", TEXT)
@torch.no_grad()
def test_implementations_agree(name: str) -> None:
    outputs = []
    for attention in ("sdpa", "eager"):
        model = build(name, attention)
        before = run(model)
        prefixed(model)
        outputs.append(run(model))
        assert not any(torch.allclose(a, b, atol=1e-4) for a, b in zip(outputs[-1][:1], before[:1], strict=True))
    for fast, plain in zip(*outputs, strict=True):
        torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_a_causal_model_without_a_mask_stays_causal(name: str, attention: str) -> None:
    model = build(name, attention)
    prefixed(model)
    ids = inputs_of(model)["input_ids"]
    free = model(input_ids=ids).last_hidden_state
    masked = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    torch.testing.assert_close(free, masked)
    later = torch.cat([ids[:, :3], ids[:, 3:] + 1], dim=1)
    torch.testing.assert_close(model(input_ids=later).last_hidden_state[:, :3], free[:, :3])


@pytest.mark.parametrize("name", CAUSAL)
@torch.no_grad()
def test_token_by_token_is_all_at_once(name: str) -> None:
    model = build(name)
    prefixed(model)
    ids = inputs_of(model)["input_ids"]
    whole = model(input_ids=ids, use_cache=False).last_hidden_state
    start = model(input_ids=ids[:, :2], use_cache=True)
    cache, states = start.past_key_values, [start.last_hidden_state]
    for step in range(2, T):
        states.append(model(input_ids=ids[:, step : step + 1], past_key_values=cache).last_hidden_state)
    torch.testing.assert_close(torch.cat(states, dim=1), whole)


@torch.no_grad()
def test_attentions_without_a_prefix_are_left_alone() -> None:
    model, plain = build("bert"), build("bert")
    prefixed(model, layers="last")
    first, second = (layer.attention.self for layer in model.encoder.layer)
    assert first.config is model.config
    assert second.config is not model.config
    assert model.config._attn_implementation == "sdpa"
    states = [m(**inputs_of(m), output_hidden_states=True).hidden_states for m in (model, plain)]
    assert torch.equal(states[0][1], states[1][1])
    assert not torch.allclose(states[0][2], states[1][2], atol=1e-3)


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("reparametrize", [None, 5])
def test_undone_bit_for_bit_and_copies_stand_alone(name: str, reparametrize: int | None) -> None:
    model = build(name)
    keys, before = list(model.state_dict()), run(model)
    configs = {path: id(module.config) for path, module in model.named_modules() if hasattr(module, "config")}
    told = model.config.to_dict()
    receipt = prefixed(model, reparametrize=reparametrize)
    after = run(model)
    assert not equal(after, before)
    assert [key for key in model.state_dict() if "adapters." not in key] == keys
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert equal(run(twin), after)
        with torch.no_grad():
            adapters(twin)[0].embedding.add_(1.0)
        assert not equal(run(twin), after)
        remove(twin, receipt)
        assert equal(run(twin), before)
        assert {id(m.config) for m in twin.modules() if hasattr(m, "config")} <= {
            id(m.config) for m in twin.modules() if hasattr(m, "set_attn_implementation")
        }, "the copy has its own configurations back"
    assert equal(run(model), after), "the original is untouched"
    remove(model, receipt)
    assert equal(run(model), before)
    assert list(model.state_dict()) == keys
    assert model.config.to_dict() == told
    assert {path: id(m.config) for path, m in model.named_modules() if hasattr(m, "config")} == configs
    assert not any(word.startswith("adapter") for module in model.modules() for word in vars(module))


@torch.no_grad()
def test_two_prefixes_are_one_longer_prefix() -> None:
    model = build("bert")
    first = prefixed(model)
    alone = run(model)
    second = insert(model, grafts(model, ["attn.kv"], name="more", length=2), seed=7)
    both = run(model)
    assert not equal(both, alone)
    one = build("bert")
    insert(one, grafts(one, ["attn.kv"], length=L + 2))
    for whole, part, rest in zip(adapters(one), adapters(model), adapters(model, "more"), strict=True):
        whole.embedding.copy_(torch.cat([part.embedding, rest.embedding]))
    assert equal(run(one), both)
    remove(model, second)
    assert equal(run(model), alone)
    remove(model, first)


FRESH = """
import sys, torch
model, inputs, expected = torch.load(sys.argv[1], weights_only=False)
print(torch.equal(model(**inputs).last_hidden_state, expected))
"""


@torch.no_grad()
def test_a_pickle_works_in_a_process_that_never_inserted_one(tmp_path: Path) -> None:
    model = build("bert")
    prefixed(model)
    inputs = inputs_of(model)
    torch.save((model, inputs, model(**inputs).last_hidden_state), tmp_path / "model.pt")
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "model.pt")],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stdout.strip() == "True", done.stderr


@torch.no_grad()
def test_a_change_of_implementation_is_followed_or_refused() -> None:
    model = build("gpt2")
    prefixed(model)
    before = run(model)
    model.config._attn_implementation = "eager"
    torch.testing.assert_close(run(model)[0], before[0], atol=1e-5, rtol=1e-4)
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(SiteError, match="flex_attention"):
        model.h[0].attn(torch.randn(B, T, D))
    plain = build("bert")
    wanted = grafts(plain, ["attn.kv"])
    plain.config._attn_implementation = "flash_attention_2"
    keys = list(plain.state_dict())
    with pytest.raises(SiteError, match="sdpa or eager"):
        insert(plain, wanted)
    assert list(plain.state_dict()) == keys
    assert all(parameter.requires_grad for parameter in plain.parameters())


def test_costs_are_counted_without_data() -> None:
    """On the meta device the prefix takes part too: 4 T L D more per sample and layer."""
    counted = []
    for with_prefix in (False, True):
        model = build("bert").to("meta")
        if with_prefix:
            insert(model, grafts(model, ["attn.kv"]))
        with runnable_on_meta(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(input_ids=torch.zeros(B, T, dtype=torch.long, device="meta"))
        counted.append(counter.get_total_flops())
        assert model.config._attn_implementation == "sdpa"
    assert counted[1] - counted[0] == 2 * B * 4 * T * L * D


@torch.no_grad()
def test_every_task_may_have_its_own() -> None:
    model = build("bert")
    wanted = [
        Graft("law", "prefix", graft.site, graft.host, options={"length": L, "reparametrize": 4},
              tasks=("vqa", "gqa"), per_task="multiple")
        for graft in grafts(model, ["attn.kv"])
    ]  # fmt: skip
    insert(model, wanted)
    outputs = []
    for task in ("vqa", "gqa", "vqa"):
        with sides.use_sides({}, task=task):
            outputs.append(run(model))
    assert equal(outputs[0], outputs[2])
    assert not equal(outputs[0], outputs[1])


def test_half_precision_stays_half() -> None:
    model = build("llama").bfloat16()
    prefixed(model)
    assert run(model)[0].dtype == torch.bfloat16
    assert adapters(model)[0].embedding.dtype == torch.float32


def test_libraries_without_the_interface_have_no_such_site() -> None:
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=32, embed_dim=D, depth=2, num_heads=4)
    with pytest.raises(SiteError, match="attention interface of transformers"):
        select(study(model), ["attn.kv"], "all")
    with pytest.raises(SiteError, match=r"no site 'cross_attn\.kv'"):
        select(study(build("bert")), ["cross_attn.kv"], "all")


@pytest.mark.parametrize(("name", "heads"), [("llama", 2), ("bert", H), ("t5", H), ("gpt2", H), ("vit", H)])
def test_the_site_knows_the_heads_of_the_keys(name: str, heads: int) -> None:
    model = build(name)
    site = select(study(model), ["attn.kv"], "all")[0]
    assert (site.when, site.heads, site.width) == ("attention", heads, heads * E)
    assert host_shape(model, site).heads == heads


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@torch.no_grad()
def test_compiled_and_exported_equal_eager(name: str) -> None:
    torch._dynamo.reset()
    model = build(name)
    prefixed(model, reparametrize=4)
    inputs = {**inputs_of(model), "use_cache": False}
    expected = floats(model(**inputs))
    compiled = torch.compile(model, fullgraph=True, backend="eager")(**inputs)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(floats(compiled), expected, strict=True))
    exported = torch.export.export(model, (), inputs).module()(**inputs)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(floats(exported), expected, strict=True))


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = build(name)
        prefixed(model, reparametrize=4)
        for module in model.modules():
            module.training = checkpointing and hasattr(module, "gradient_checkpointing")
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            enable({"use_reentrant": False, "context_fn": sides.checkpoint_contexts})
            model.disable_input_require_grads()
        run(model)[0].square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() != set()
    for path, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][path], atol=1e-5, rtol=1e-4)
