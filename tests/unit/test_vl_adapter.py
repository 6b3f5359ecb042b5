"""VL-BART and VL-T5 put together: where visual tokens stand, what they are, and the published numbers of parameters."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe

# B batch, L words, N visual tokens, D width

WORDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2, "vocab_size": 64}
BART = {
    **WORDS,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "init_std": 0.3,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 40,
}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 64, "pad_token_id": 1}
TASKS = ("vqa", "gqa", "nlvr", "caption")
SITES = ["attn.out", "cross_attn.out", "mlp.out"]


def tables(model: str, config: dict[str, Any] | None = None, **image: Any) -> dict[str, Any]:
    """Questions about grids of 3 x 3 features, pooled to 2 x 2, of up to two images."""
    backbone = {"model": model, "added_tokens": 8, "tokens": "behind"}
    if config is not None:
        backbone |= {"config": config, "tokenizer": "bart-base"}
    features = {
        "kind": "features",
        "route": "tokens",
        "width": 5,
        "max_tokens": 18,
        "encoder": {"kind": "grid_pool", "size": 3, "pool": 2},
        "projection": {"kind": "visual_embedding", "per_image": 4},
    }
    return {
        "name": "vl",
        "backbone": backbone,
        "modality": {"question": {"kind": "text", "route": "backbone"}, "image": features | image},
        "data": {"format": "jsonl"},
        "task": {name: {"kind": "classification", "labels": ["no", "yes"]} for name in TASKS},
    }


def small(model: str, **more: Any) -> AdaptedModel:
    norm = {"projection": {"kind": "visual_embedding", "per_image": 4, "norm": "rms"}} if model == "t5" else {}
    recipe = tables(model, BART if model == "bart" else T5, **norm) | more
    torch.manual_seed(0)
    built = build_model(make_plan(parse_recipe(recipe)), seed=1)
    with torch.no_grad():
        for parameter in built.projections.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        for name, parameter in built.backbone.named_parameters():
            if "norm" in name or "relative" in name:
                parameter.add_(0.5 * torch.randn_like(parameter))
    return built


def batch(images: Tensor, counts: list[int]) -> dict[str, dict[str, Tensor]]:
    """Three questions of 5, 3 and 4 words, and the grids of their images."""
    ids = torch.tensor([[5, 9, 12, 30, 2], [7, 8, 2, 1, 1], [40, 41, 3, 2, 1]])
    text = {"input_ids": ids, "attention_mask": (ids != 1).long(), "present": torch.ones(3, dtype=torch.bool)}
    mask = torch.arange(images.shape[1]) < 9 * torch.tensor(counts)[:, None]
    image = {"values": images * mask[..., None], "mask": mask, "present": torch.tensor(counts) > 0}
    return {"question": text, "image": image}


def pooled(model: AdaptedModel, image: Tensor) -> Tensor:
    """(4·I, 5) of (9·I, 5): the largest of overlapping quarters."""
    grid = image.reshape(-1, 3, 3, 5)
    return torch.stack([grid[:, a : a + 2, b : b + 2].amax((1, 2)) for a in (0, 1) for b in (0, 1)], 1).reshape(-1, 5)


def visual(model: AdaptedModel, image: Tensor) -> Tensor:
    """(1, N, D) by the published equation."""
    parts: Any = model.projections["image"]
    tokens = pooled(model, image)[None]
    number = torch.arange(tokens.shape[1])
    words = model.backbone.get_input_embeddings().weight
    box = parts.box_norm(parts.box.bias)
    seen = parts.feature_norm(parts.feature(tokens)) + box
    return seen + parts.image.weight[number // 4] + words[len(words) - 1 - number % 4]


def bart_by_hand(model: AdaptedModel, ids: Tensor, image: Tensor | None) -> Tensor:
    """The decoder's one state: the embedding norm covers the words alone, and visual tokens have no position."""
    own: Any = model.backbone
    encoder = own.encoder
    places = encoder.embed_positions.weight[2 : 2 + ids.shape[1]]
    h = encoder.layernorm_embedding(encoder.embed_tokens(ids) + places)
    if image is not None:
        h = torch.cat([h, visual(model, image)], dim=1)
    for block in encoder.layers:
        h = block(h, None)
    start = torch.full((len(ids), 1), own.config.decoder_start_token_id)
    return own.decoder(input_ids=start, encoder_hidden_states=h).last_hidden_state


def t5_by_hand(model: AdaptedModel, ids: Tensor, image: Tensor | None) -> Tensor:
    """The bias by relative position is between words alone."""
    own: Any = model.backbone
    h = own.encoder.embed_tokens(ids)
    length = h.shape[1]
    if image is not None:
        h = torch.cat([h, visual(model, image)], dim=1)
    bias = torch.zeros(1, 4, h.shape[1], h.shape[1])
    bias[:, :, :length, :length] = own.encoder.block[0].layer[0].SelfAttention.compute_bias(length, length)
    for block in own.encoder.block:
        attention, feed = block.layer
        x = attention.layer_norm(h)
        q, k, v = (getattr(attention.SelfAttention, n)(x).view(1, -1, 4, 8).transpose(1, 2) for n in "qkv")
        seen = ((q @ k.transpose(-1, -2) + bias).softmax(-1) @ v).transpose(1, 2).flatten(2)
        h = feed(h + attention.SelfAttention.o(seen))
    h = own.encoder.final_layer_norm(h)
    start = torch.full((len(ids), 1), own.config.pad_token_id)
    return own.decoder(input_ids=start, encoder_hidden_states=h).last_hidden_state


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_visual_tokens_stand_behind_the_text_as_published(kind: str) -> None:
    """One image, two images and none in one batch; each sample is what it is by itself, by hand."""
    model = small(kind)
    torch.manual_seed(3)
    images, counts = torch.randn(3, 18, 5), [1, 2, 1]
    given = batch(images, counts)
    by_hand = bart_by_hand if kind == "bart" else t5_by_hand
    with torch.no_grad():
        found = model.represent(model.encode(given, ())).vector
        for row, count in enumerate(counts):
            ids = given["question"]["input_ids"][row : row + 1]
            ids = ids[:, : int(given["question"]["attention_mask"][row].sum())]
            expected = by_hand(model, ids, images[row, : 9 * count])[:, 0]
            torch.testing.assert_close(found[row : row + 1], expected, rtol=0, atol=2e-5)


def test_spans_behind_the_text_count_from_the_end() -> None:
    model = small("bart")
    encoded = model.encode(batch(torch.randn(3, 9, 5), [1, 1, 1]), ())
    assert encoded.spans == {"question": (0, -4), "image": (-4, None)}, "as many as the batch needs"
    assert model.sequence.spans(encoded_parts(8)) == {"question": (0, -8), "image": (-8, None)}


def encoded_parts(tokens: int) -> dict[str, tuple[Tensor, Tensor]]:
    return {"image": (torch.zeros(1, tokens, 32), torch.ones(1, tokens, dtype=torch.bool))}


def test_a_prompt_and_adapters_leave_the_visual_tokens_behind_the_text() -> None:
    """The prompt comes before the words, the visual tokens are still the last, and the backbone is as it was after."""
    plain = small("bart")
    prompt = {"kind": "prompt", "at": "encoder.embed.in", "length": 3, "reparametrize": 4, "per_task": "multiple"}
    both = small("bart", adapter={"prompt": prompt, "house": {"kind": "bottleneck", "at": SITES}})
    given = batch(torch.randn(3, 9, 5), [1, 1, 0])
    with torch.no_grad():
        assert not torch.allclose(plain(given)["vqa"], both(given)["vqa"])
        told = both.backbone.encoder.layers[0]
        seen: list[Tensor] = []
        told.register_forward_hook(lambda module, args, output: seen.append(args[0]))
        both(given)
    assert {states.shape[1] for states in seen} == {3 + 5 + 4}


def test_gradients_reach_the_visual_embedding_when_activations_are_computed_again() -> None:
    def gradients(again: bool) -> list[Tensor]:
        model = small("bart", adapter={"house": {"kind": "bottleneck", "at": SITES}})
        if again:
            model.enable_gradient_checkpointing()
        model.train()
        torch.manual_seed(5)
        model(batch(torch.randn(3, 9, 5), [1, 1, 1]))["vqa"].square().sum().backward()
        moving = {name: p.grad for name, p in model.projections.named_parameters() if not name.endswith("box.weight")}
        return [grad for grad in moving.values() if grad is not None]  # no box, nothing to learn of boxes

    plain, again = gradients(False), gradients(True)
    assert len(plain) == len(again) == 8
    for one, other in zip(plain, again, strict=True):
        assert bool(one.any())
        torch.testing.assert_close(one, other)


def test_added_words_are_the_same_for_every_seed_and_stay_frozen() -> None:
    one, two = (build_model(make_plan(parse_recipe(tables("bart", BART))), seed=seed) for seed in (1, 2))
    rows = [model.backbone.get_input_embeddings().weight for model in (one, two)]
    assert rows[0].shape == (72, 32)
    assert torch.equal(rows[0], rows[1])
    assert rows[0][-8:].std() > 0.1
    assert not rows[0].requires_grad


# The numbers of the published code, trainable / total, with the heads of our own left out (spec of VL-Adapter).
BOTTLENECK = {"kind": "bottleneck", "at": SITES, "reduction_factor": 8}
COMPACTER = {"kind": "compacter", "at": SITES, "reduction_factor": 8, "phm_dim": 2, "rank": "full", "rule": "own"}
HYPERFORMER = {"kind": "hyperformer", "at": SITES, "reduction_factor": 8, "projected_task_embedding_dim": 8}
LORA = {"kind": "lora", "at": ["attn.q", "attn.v", "cross_attn.q", "cross_attn.v"], "rank": 128, "alpha": 32}
PROMPT = {"kind": "prompt", "at": "encoder.embed.in", "length": 40, "reparametrize": 800}
MULTIPLE = {"per_task": "multiple"}
UP, DOWN = (BOTTLENECK | {"per_task": f"half_shared_{half}"} for half in ("up", "down"))
IMAGE = {"width": 2048, "max_tokens": 98, "encoder": {"kind": "grid_pool"}}
IMAGE |= {"projection": {"kind": "visual_embedding", "per_image": 36}}
VIDEO = {"width": 512, "max_tokens": 64, "encoder": None, "projection": {"kind": "visual_embedding"}}
OF_T5 = IMAGE | {"projection": {"kind": "visual_embedding", "per_image": 36, "norm": "rms"}}

COUNTS = [
    ("visual embedding", "bart-base", IMAGE, [], None, 1_582_848, 141_156_864),
    ("single", "bart-base", IMAGE, ["norm"], BOTTLENECK, 6_081_600, 145_606_464),
    ("half-shared up", "bart-base", IMAGE, ["norm"], UP, 12_725_760, 152_250_624),
    ("half-shared down", "bart-base", IMAGE, ["norm"], DOWN, 12_786_240, 152_311_104),
    ("multiple", "bart-base", IMAGE, ["norm"], BOTTLENECK | MULTIPLE, 19_430_400, 158_955_264),
    ("hyperformer", "bart-base", IMAGE, ["norm"], HYPERFORMER, 8_579_088, 148_103_952),
    ("compacter", "bart-base", IMAGE, ["norm"], COMPACTER, 3_870_240, 143_395_104),
    ("compacter, multiple", "bart-base", IMAGE, ["norm"], COMPACTER | MULTIPLE, 10_584_960, 150_109_824),
    ("lora", "bart-base", IMAGE, ["bias"], LORA, 8_786_688, 148_234_752),
    ("lora, multiple", "bart-base", IMAGE, ["bias"], LORA | MULTIPLE, 30_020_352, 169_468_416),
    ("prompt", "bart-base", IMAGE, [], PROMPT, 2_843_936, 142_417_952),
    ("prompt, multiple", "bart-base", IMAGE, [], PROMPT | MULTIPLE, 6_627_200, 146_201_216),
    ("video, single", "bart-base", VIDEO, ["norm"], BOTTLENECK, 4_901_952, 144_426_816),
    ("t5, r8", "t5-base", OF_T5, ["norm"], BOTTLENECK, 10_528_128, 233_439_360),
    ("t5, r4", "t5-base", OF_T5, ["norm"], BOTTLENECK | {"reduction_factor": 4}, 19_381_248, 242_292_480),
]  # fmt: skip


@pytest.mark.parametrize(("model", "image", "train", "adapter", "trainable", "total"), [c[1:] for c in COUNTS])
def test_the_published_numbers_of_parameters(
    model: str, image: dict[str, Any], train: list[str], adapter: dict[str, Any] | None, trainable: int, total: int
) -> None:
    recipe = copy.deepcopy(tables(model, **image))
    recipe["backbone"] |= {"train": train, "added_tokens": 200 if model == "bart-base" else 72}
    recipe["adapter"] = {} if adapter is None else {"vl": adapter}
    counts = make_plan(parse_recipe(recipe)).parameters
    assert (counts.trainable - counts.heads, counts.total - counts.heads) == (trainable, total)
