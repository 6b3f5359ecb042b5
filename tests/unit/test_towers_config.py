"""Models built from a configuration in the recipe, text backbones without text, and towers of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adaptkit.anatomy import fingerprint, load, resolve, skeleton
from adaptkit.artifact import load_artifact, save_artifact
from adaptkit.errors import RecipeError, SiteError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.model.costing import cost
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe, parse_recipe, resolved_toml

SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
BERT = {"model": "bert", "config": SMALL | {"vocab_size": 20, "max_position_embeddings": 16}}
VIT = {"model": "vit", "config": SMALL | {"image_size": 16, "patch_size": 8}}
TINY_VIT = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2}


def tables(backbone: dict[str, Any], modalities: dict[str, Any], adapters: dict[str, Any] | None = None) -> dict:
    return {
        "schema": 1,
        "name": "config",
        "backbone": backbone,
        "modality": modalities,
        "adapter": {"b": {"kind": "bottleneck", "at": ["mlp.out"], "bottleneck": 2}} if adapters is None else adapters,
        "data": {"format": "jsonl"},
        "task": {"answer": {"kind": "classification", "labels": ["no", "yes"]}},
    }


def build(*parts: Any, **more: Any) -> AdaptedModel:
    return build_model(make_plan(parse_recipe(tables(*parts, **more))), seed=3)


def text(**more: Any) -> dict[str, Any]:
    return {"question": {"kind": "text", "route": "backbone"} | more}


@pytest.mark.parametrize(
    ("name", "config", "other"),
    [
        ("bert", BERT["config"], {"num_hidden_layers": 3}),
        ("vit", VIT["config"], {"num_hidden_layers": 3}),
        ("timm/vit_tiny_patch16_224", TINY_VIT, {"depth": 3}),
    ],
)
def test_weights_are_a_function_of_the_configuration_alone(name: str, config: dict, other: dict) -> None:
    ref = resolve(name, config=config)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = fingerprint(load(ref))
    assert torch.equal(state, torch.random.get_rng_state())  # the seed of the run is left alone
    torch.manual_seed(2)
    assert fingerprint(load(ref, dropout="off")) == first
    assert fingerprint(load(resolve(name, config=config | other))) != first
    assert all(parameter.is_meta for parameter in skeleton(ref).parameters())


def test_every_seed_has_the_same_base(tiny_bert: Path) -> None:
    plan = make_plan(parse_recipe(tables(BERT | {"tokenizer": str(tiny_bert)}, text())))
    models = [build_model(plan, seed=seed) for seed in (1, 2)]
    assert len({fingerprint(model.backbone) for model in models}) == 1
    assert len({float(model.heads["answer"].weight.detach().sum()) for model in models}) == 2  # type: ignore[union-attr]


def test_a_model_from_config_reads_text_with_a_named_tokenizer(tiny_bert: Path, tmp_path: Path) -> None:
    model = build(BERT | {"tokenizer": str(tiny_bert)}, text())
    inputs = {"question": dict(model.named_encoders())["question"].collate(["is it big ?", "red"], ["1", "2"])}
    save_artifact(model, tmp_path / "artifact")
    again = load_artifact(tmp_path / "artifact", base=tmp_path)
    with torch.no_grad():
        assert torch.equal(model(inputs)["answer"], again(inputs)["answer"])


def test_precision_and_dropout_hold_for_random_weights(tiny_bert: Path) -> None:
    model = build(BERT | {"tokenizer": str(tiny_bert), "precision": "bfloat16"}, text())
    assert {p.dtype for n, p in model.backbone.named_parameters() if ".adapters." not in n} == {torch.bfloat16}
    assert model.backbone.config.hidden_dropout_prob == 0  # type: ignore[union-attr]


def test_a_recipe_with_a_configuration_is_written_back_whole(tiny_bert: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(tables(BERT | {"tokenizer": str(tiny_bert)}, text()))
    (tmp_path / "again.toml").write_text(resolved_toml(recipe))
    again = load_recipe(tmp_path / "again.toml")
    assert again == recipe
    sets = load_recipe(tmp_path / "again.toml", ["backbone.config.hidden_size=16"])
    assert sets.backbone.config == BERT["config"] | {"hidden_size": 16}


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "type": ({"model": "brt", "config": {}}, "no model type 'brt' to build from config. Did you mean \"bert\"?"),
    "far type": ({"model": "zzz", "config": {}}, 'Write for example model = "bert"'),
    "key": ({"model": "bert", "config": {"hiden_size": 8}}, "unknown key 'hiden_size'. Did you mean \"hidden_size\"?"),
    "inner key": ({"model": "clip", "config": {"text_config": {"hiden_size": 8}}}, "config of clip.text_config"),
    "value": ({"model": "bert", "config": {"hidden_size": "wide"}}, "expected int, got str"),
    "numbers": ({"model": "bert", "config": {"hidden_size": 9}}, "hidden size (9) is not a multiple"),
    "checkpoint": ({"model": "bert-base", "config": {}}, 'Write model = "bert", or leave out config'),
    "revision": ({"model": "bert", "config": {}, "revision": "main"}, "has no revision"),
    "timm": ({"model": "timm/resnet18", "config": {"in_chan": 1}}, 'Did you mean "in_chans"?'),
    "timm weights": ({"model": "timm/resnet18.a1_in1k", "config": {}}, 'Write model = "timm/resnet18"'),
    "no tokenizer": (BERT, "has no tokenizer to read text with"),
    "sound": ({"model": "wav2vec2", "config": {}}, "Make it the tower of a modality of kind audio"),
}


@pytest.mark.parametrize(("backbone", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_of_a_configuration_are_told_by_the_plan(backbone: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_plan(parse_recipe(tables(backbone, text())))
    assert told in str(caught.value)


def test_a_tokenizer_with_more_words_than_the_model_embeds_is_refused(tiny_bert: Path) -> None:
    model = build(BERT | {"config": SMALL | {"vocab_size": 5}, "tokenizer": str(tiny_bert)}, text())
    with pytest.raises(RecipeError, match="Write vocab_size = 15"):
        dict(model.named_encoders())["question"].collate(["red"], ["1"])


SOUND = {"kind": "features", "width": 3, "max_tokens": 5, "route": "tokens", "missing": "zero"}
FACE = {"kind": "features", "width": 2, "pool": "mean", "route": "tokens", "missing": "learned"}
DECODER = {"model": "gpt2", "config": {"n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": 9, "n_positions": 8}}
T5 = {"model": "t5", "config": {"d_model": 8, "d_kv": 4, "num_heads": 2, "num_layers": 2, "d_ff": 16, "vocab_size": 9}}
SPANS = {"w": {"kind": "gmu", "at": ["mlp.out"], "sides": ["span:face"], "bottleneck": 2}}


def sequences(model: AdaptedModel, sounds: list[int | None], faces: list[int | None]) -> dict[str, Any]:
    inputs = {}
    for (name, encoder), lengths in zip(model.named_encoders(), (sounds, faces), strict=True):
        width = 3 if name == "sound" else 2
        values = [None if n is None else np.random.default_rng(n).random((n, width)) for n in lengths]
        inputs[name] = encoder.collate([encoder.prepare(value, "here") for value in values], ["id"] * len(values))
    return inputs


@pytest.mark.parametrize("backbone", [BERT, DECODER, T5], ids=["bert", "gpt2", "t5"])
def test_vectors_take_the_place_of_words(backbone: dict[str, Any]) -> None:
    at = ["encoder.mlp.out"] if backbone is T5 else ["mlp.out"]
    adapter = (
        {"kind": "bottleneck", "bottleneck": 2} if backbone is DECODER else SPANS["w"]
    )  # in a causal stack nothing reads spans
    model = build(backbone, {"sound": SOUND, "face": FACE}, {"w": adapter | {"at": at}})
    assert all(graft.host.tokens == 6 for graft in model.plan.grafts)
    together = model(sequences(model, [2, 5, None], [1, None, 3]))["answer"]
    alone = [model(sequences(model, [s], [f]))["answer"] for s, f in zip([2, 5, None], [1, None, 3], strict=True)]
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    together.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.projections.parameters())


def test_a_sequence_of_nothing_is_no_nan() -> None:
    model = build(BERT, {"sound": SOUND})
    out = model({"sound": dict(model.named_encoders())["sound"].collate([None, None], ["1", "2"])})["answer"]
    assert torch.isfinite(out).all()
    out.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_what_does_not_fit_in_place_of_words_is_told() -> None:
    long = {"sound": SOUND | {"max_tokens": 17}}
    with pytest.raises(SiteError, match="17 tokens of modalities and prompts do not fit: the backbone has 16"):
        make_plan(parse_recipe(tables(BERT, long)))
    with pytest.raises(RecipeError, match="no text goes to the backbone"):
        make_plan(parse_recipe(tables(BERT | {"max_tokens": 4}, {"sound": SOUND})))
    with pytest.raises(RecipeError, match="its length is not known"):
        make_plan(parse_recipe(tables(BERT, {"sound": {k: v for k, v in SOUND.items() if k != "max_tokens"}})))
    with pytest.raises(RecipeError, match="needs a backbone that reads text"):
        make_plan(parse_recipe(tables(VIT, {"sound": SOUND})))


WAVES = SMALL | {
    "conv_dim": [8, 8],
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
WHISPER = {
    "d_model": 8,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_mel_bins": 80,
    "max_source_positions": 20,
}
AST = SMALL | {"max_length": 32, "num_mel_bins": 16, "patch_size": 8, "time_stride": 8, "frequency_stride": 8}
ENDS: dict[str, tuple[dict[str, Any], int | None, int]] = {
    "wav2vec2": ({"kind": "audio", "seconds": 0.1, "tower": {"model": "wav2vec2", "config": WAVES}}, 159, 8),
    "wav2vec2 with masks": (
        {
            "kind": "audio",
            "seconds": 0.1,
            "tower": {"model": "wav2vec2", "config": WAVES | {"feat_extract_norm": "layer"}},
        },
        159,
        8,
    ),
    "whisper": ({"kind": "audio", "tower": {"model": "whisper", "config": WHISPER}}, 20, 8),
    "ast": ({"kind": "audio", "tower": {"model": "audio-spectrogram-transformer", "config": AST}}, 10, 8),
    "video": ({"kind": "video", "frames": 2, "tower": VIT}, 2, 8),
    "clip": (
        {
            "kind": "image",
            "tower": {
                "model": "clip",
                "config": {"vision_config": SMALL | {"image_size": 16, "patch_size": 8}, "text_config": SMALL},
            },
        },
        5,
        8,
    ),
}


@pytest.mark.parametrize(("modality", "tokens", "width"), ENDS.values(), ids=ENDS.keys())
def test_towers_of_every_kind(tiny_bert: Path, modality: dict[str, Any], tokens: int, width: int) -> None:
    film = {"route": "side", "missing": "zero"} | modality
    adapters = {
        "d": {"kind": "cross_attention", "at": ["block.out"], "sides": ["film@block.out"], "bottleneck": 4},
        "t": {"kind": "bottleneck", "at": ["film.mlp.out"], "bottleneck": 2},
    }
    model = build({"model": str(tiny_bert), "max_tokens": 8}, text() | {"film": film}, adapters)
    encoders = dict(model.named_encoders())
    assert (encoders["film"].tokens, encoders["film"].width) == (tokens, width)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(0.2)
    shape = {"audio": (1600,), "video": (2, 16, 16, 3), "image": (16, 16, 3)}[modality["kind"]]
    values = [np.random.default_rng(seed).random(shape).astype(np.float32) for seed in (1, 2)]

    def logits(films: list[Any]) -> torch.Tensor:
        prepared = [None if each is None else encoders["film"].prepare(each, "here") for each in films]
        inputs = {
            "question": encoders["question"].collate(["red ?"] * len(films), ["id"] * len(films)),
            "film": encoders["film"].collate(prepared, ["id"] * len(films)),
        }
        with torch.no_grad():
            return model(inputs)["answer"]

    out = logits([*values, None])
    assert torch.isfinite(out).all()
    assert not torch.allclose(out[0], out[1])
    torch.testing.assert_close(torch.cat([logits([each]) for each in (*values, None)]), out, rtol=1e-4, atol=1e-5)
    assert cost(model.plan).tokens["question"] == 8
