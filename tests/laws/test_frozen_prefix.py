"""What is kept of the frozen part changes nothing: the same losses, the same adapter, the same metrics as without."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from safetensors.torch import load_file

from adaptkit.errors import Interrupted, RunError
from adaptkit.evaluation import evaluate
from adaptkit.evaluation.predicting import predict
from adaptkit.plan import make_plan
from adaptkit.recipe import Recipe, load_recipe
from adaptkit.training import RunResult, keeping, train
from adaptkit.training.callbacks import Callback

CLOSE = 1e-4
WORDS = ("is", "it", "big", "small", "red", "blue", "the", "thing", "a")
VIT = "{ model = 'vit', config = { hidden_size = 16, num_hidden_layers = 3, num_attention_heads = 2, " + (
    "intermediate_size = 32, image_size = 8, patch_size = 4 } }"
)

RECIPE = """\
schema = 1
name = "frozen"
backbone = {{ model = "{model}" {backbone} }}
modality.text = {{ kind = "text", route = "backbone" }}
data = {{ format = "jsonl", root = "{data}" }}
task.answer = {{ kind = "classification", labels = ["no", "yes"] }}
{rest}

[train]
epochs = 3
batch_size = 8
log_every = 1
optimizer = {{ name = "adamw", lr = 0.01 }}
"""
FEATURES = 'modality.features = { kind = "features", width = 4, route = "ROUTE" }\n'
PHOTO = f'modality.photo = {{ kind = "image", route = "ROUTE", tower = {VIT}, missing = "learned" }}\n'
OTHER = (
    'modality.other = {{ kind = "text", column = "text", route = "{route}", tower = {{ model = "MODEL" }} {more} }}\n'
)


def side(modality: str) -> str:
    return modality.replace("ROUTE", "side")


def joined(modality: str) -> str:
    return modality.replace("ROUTE", "fusion")


# What is in the recipe -> how many blocks of which model need not run; None: the model need not run at all.
CASES: dict[str, tuple[str, dict[str, int | None]]] = {
    "a head alone": (joined(FEATURES), {"": None}),
    "two towers": (joined(PHOTO), {"photo": None, "": None}),
    "Wander after all layers": (
        side(PHOTO) + 'adapter.w = { kind = "wander", at = ["fusion"], sides = ["photo"], rank = 2 }',
        {"photo": None, "": None},
    ),
    "GMU in the top layers": (
        side(PHOTO)
        + 'adapter.g = { kind = "gmu", at = ["mlp.out"], layers = [2, 3], sides = ["photo"], bottleneck = 4 }',
        {"photo": None, "": 2},
    ),
    "LoRA in the last layer": (
        'adapter.l = { kind = "lora", at = ["attn.q", "attn.v"], layers = [3], rank = 2 }',
        {"": 3},
    ),
    "a bottleneck behind a block": (
        'adapter.b = { kind = "bottleneck", at = ["block.out"], layers = [1], bottleneck = 4 }',
        {"": 2},
    ),
    "a ladder": ('adapter.l = { kind = "ladder", at = ["final.out"], block = "mlp" }', {"": 4}),
    "adapters in the top of a tower": (
        side(PHOTO)
        + 'adapter.g = { kind = "gmu", at = ["mlp.out"], layers = [3], sides = ["photo"], bottleneck = 4 }\n'
        + 'adapter.p = { kind = "bottleneck", at = ["photo.mlp.out"], layers = [2], bottleneck = 4 }',
        {"photo": 2, "": 3},
    ),
    "a tower whose blocks are read": (
        side(PHOTO)
        + 'adapter.c = { kind = "cross_attention", at = ["block.out"], layers = [2], '
        + 'sides = ["photo@block.out"], heads = 2 }',
        {"photo": 3, "": 3},
    ),
    "a tower of text, a learned mean and dropped modalities": (
        OTHER.format(route="fusion", more=', pool = "attention", missing = "learned", modality_dropout = 0.3'),
        {"other": None, "": None},
    ),
    "a pooled tower with a mean": (
        joined(PHOTO).replace('"learned"', '"mean", pool = "mean", modality_dropout = 0.3'),
        {"photo": None, "": None},
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BERT of four layers, and data whose texts have lengths of their own; some photos are missing."""
    from transformers import BertConfig, BertModel

    from tests.conftest import VOCABULARY, write_tiny_bert

    folder = tmp_path_factory.mktemp("frozen")
    write_tiny_bert(folder / "bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=32, **sizes)).save_pretrained(
        folder / "bert"
    )
    write_data(folder / "data")
    return folder


def write_data(folder: Path) -> None:
    folder.mkdir()
    chance, pixels = random.Random(1), np.random.default_rng(1)
    for split, size in {"train": 21, "validation": 6, "test": 6}.items():
        rows = []
        for number in range(size):
            words = chance.choices(WORDS, k=chance.randint(1, 9))
            name = f"{split}{number}.png"
            Image.fromarray(pixels.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / name)
            rows.append(
                {
                    "id": f"{split}{number}",
                    "text": " ".join(words),
                    "other": " ".join(words[::-1]),
                    "features": [chance.gauss(0, 1) for _ in range(4)],
                    "photo": None if number % 5 == 4 else name,
                    "answer": "yes" if "big" in words else "no",
                }
            )
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def recipe_of(place: Path, tmp_path: Path) -> Any:
    def made(rest: str, *sets: str, backbone: str = "", data: Path | None = None) -> Recipe:
        path = tmp_path / "frozen.toml"
        folders = {"model": (place / "bert").as_posix(), "data": (data or place / "data").as_posix()}
        path.write_text(RECIPE.format(rest=rest, backbone=backbone, **folders).replace("MODEL", folders["model"]))
        return load_recipe(path, [f"cache.folder={(tmp_path / 'cache').as_posix()!r}", *sets])

    return made


class Told(Callback):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def trained(recipe: Recipe, runs: Path) -> tuple[RunResult, list[str]]:
    told = Told()
    return train(recipe, runs=runs, callbacks=[told], force=True), [
        note for note in told.notes if note.startswith("cache")
    ]


def losses(result: RunResult) -> list[float]:
    lines = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line.get("loss") is not None]


def same(one: RunResult, other: RunResult) -> None:
    assert losses(one) == pytest.approx(losses(other), rel=CLOSE)
    tensors, others = (load_file(each.artifact / "adapter.safetensors") for each in (one, other))
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, others[name], rtol=1e-3, atol=CLOSE)
    assert one.metrics["test"]["accuracy"] == other.metrics["test"]["accuracy"]
    assert one.ablations.keys() == other.ablations.keys()


@pytest.fixture
def layers_run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by the class of every layer that computes."""
    from transformers.models.bert.modeling_bert import BertLayer
    from transformers.models.vit.modeling_vit import ViTLayer

    ran: list[str] = []
    for layer in (BertLayer, ViTLayer):
        own: Any = layer.forward

        def counted(self: Any, *args: Any, own: Any = own, **kwargs: Any) -> Any:
            if next(self.parameters()).device.type != "meta":
                ran.append(type(self).__name__)
            return own(self, *args, **kwargs)

        monkeypatch.setattr(layer, "forward", counted)
    return ran


@pytest.mark.parametrize("case", CASES)
def test_kept_or_not_is_the_same(case: str, recipe_of: Any, tmp_path: Path, layers_run: list[str]) -> None:
    rest, wanted = CASES[case]
    recipe = recipe_of(rest)
    found = {name: each for name, each in make_plan(recipe).frontiers.items() if each.saves}
    assert {name: None if each.whole else each.first for name, each in found.items()} == wanted

    without, none = trained(recipe_of(rest, "cache.enabled=false"), tmp_path / "without")
    assert not none
    assert not (tmp_path / "cache").exists()
    computed = len(layers_run)
    kept, told = trained(recipe, tmp_path / "kept")
    assert len(told) == 2 * len(wanted), told
    same(without, kept)

    layers_run.clear()
    again, told = trained(recipe, tmp_path / "again")
    assert told == []  # all is there
    assert losses(again) == losses(kept)
    layers = {"": 4, "photo": 3 * ("photo" in rest), "other": 4 * ("other" in rest)}
    below = sum(layers[name] if first is None else first for name, first in wanted.items())
    every = sum(layers.values())
    tries = 2 * len(wanted) * every  # each model on a few samples, with what is kept and without
    assert len(layers_run) <= computed * (every - below) / every + tries


@pytest.mark.parametrize(
    "more", ["train.precision='bf16'", "train.gradient_checkpointing=true", "train.accumulation=2"]
)
def test_ways_to_train(more: str, recipe_of: Any, tmp_path: Path) -> None:
    rest = CASES["GMU in the top layers"][0]
    without, _ = trained(recipe_of(rest, more, "cache.enabled=false"), tmp_path / "without")
    kept, told = trained(recipe_of(rest, more), tmp_path / "kept")
    assert len(told) == 4
    assert losses(kept) == pytest.approx(losses(without), rel=2e-2 if "bf16" in more else CLOSE)


def test_workers_bring_the_same(recipe_of: Any, tmp_path: Path) -> None:
    rest = CASES["two towers"][0]
    alone, _ = trained(recipe_of(rest), tmp_path / "alone")
    workers, told = trained(recipe_of(rest, "train.workers=1"), tmp_path / "workers")
    assert told == []
    assert losses(workers) == losses(alone)


def test_seeds_and_other_recipes_share(recipe_of: Any, tmp_path: Path, layers_run: list[str]) -> None:
    rest = CASES["two towers"][0]
    _, told = trained(recipe_of(rest, "train.seeds=[0,1,2]"), tmp_path / "runs")
    assert len(told) == 4  # announced and done, of two models, once
    layers_run.clear()
    other = rest.replace("photo", "picture").replace('kind = "image"', 'kind = "image", column = "photo"')
    _, told = trained(recipe_of(other, "train.optimizer.lr=0.1", "train.epochs=1"), tmp_path / "other")
    assert told == []
    assert len(layers_run) <= 2 * 2 * 7, "only the comparison of a few samples with what is computed now"


def test_evaluation_and_prediction_use_it(recipe_of: Any, place: Path, tmp_path: Path, layers_run: list[str]) -> None:
    result, _ = trained(recipe_of(CASES["two towers"][0]), tmp_path / "runs")
    layers_run.clear()
    found = evaluate(result.run)
    assert not layers_run
    assert found.metrics["test"] == result.metrics["test"]
    predict(result.run, place / "data" / "test.jsonl", tmp_path / "kept.jsonl")
    assert not layers_run
    (tmp_path / "cache").rename(tmp_path / "away")
    predict(result.run, place / "data" / "test.jsonl", tmp_path / "computed.jsonl")
    assert layers_run
    kept, computed = (
        [json.loads(line)["probabilities"] for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("kept", "computed")
    )
    for one, other in zip(kept, computed, strict=True):
        assert one == pytest.approx(other, rel=CLOSE)


WHY = {
    "fuse sits at mlp.out of layer 0": (
        side(FEATURES) + 'adapter.fuse = { kind = "gmu", at = ["mlp.out"], sides = ["features"], bottleneck = 4 }',
        "",
    ),
    "its dropout is kept": (joined(FEATURES), ', dropout = "keep"'),
    "features enters its input": (
        'modality.features = { kind = "features", width = 4, max_tokens = 1, route = "tokens" }',
        "",
    ),
    "embeddings.word_embeddings.weight trains": (joined(FEATURES), ', train = ["embeddings.word*"]'),
    "embeddings.LayerNorm.weight trains": (joined(FEATURES), ', train = ["norm"]'),
    "p sits at embed.in": ('adapter.p = { kind = "prompt", at = ["embed.in"], length = 2 }', ""),
}


@pytest.mark.parametrize("why", WHY)
def test_what_cannot_be_kept_says_why(why: str, recipe_of: Any) -> None:
    rest, backbone = WHY[why]
    frontier = make_plan(recipe_of(rest, backbone=backbone)).frontiers[""]
    assert not frontier.saves
    assert why in str(frontier)


def test_one_pass_is_not_worth_it(recipe_of: Any, tmp_path: Path) -> None:
    trained(recipe_of(CASES["two towers"][0], "train.epochs=1"), tmp_path / "runs")
    trained(recipe_of(CASES["two towers"][0], "train.max_steps=2"), tmp_path / "runs")
    assert not (tmp_path / "cache").exists()


def test_what_does_not_fit(recipe_of: Any, tmp_path: Path) -> None:
    rest = CASES["two towers"][0]
    _, told = trained(recipe_of(rest, "cache.max_gb=1e-9"), tmp_path / "runs")
    assert [note for note in told if "in every epoch: about" in note and "cache.max_gb" in note] == told != []
    with pytest.raises(RunError, match="max_gb") as caught:
        trained(recipe_of(rest, "cache.max_gb=1e-9", "cache.spill='error'"), tmp_path / "runs")
    assert "halve" in str(caught.value)
    _, told = trained(recipe_of(rest, "cache.max_gb=1e-5", "cache.spill='halve'"), tmp_path / "runs")
    assert any("kept" in note for note in told)
    shards = [load_file(path) for path in (tmp_path / "cache").glob("*/*.safetensors")]
    assert torch.bfloat16 in {tensors["states"].dtype for tensors in shards}


def test_an_interrupted_filling_goes_on(recipe_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = CASES["GMU in the top layers"][0]
    whole, _ = trained(recipe_of(rest), tmp_path / "whole")
    shutil.rmtree(tmp_path / "cache")
    batches: list[int] = []
    own = keeping.computed

    def computed(*args: Any) -> Any:
        batches.append(len(args[-1]))
        if len(batches) == 7:  # in the middle of the second model
            raise KeyboardInterrupt
        return own(*args)

    monkeypatch.setattr(keeping, "computed", computed)
    with pytest.raises(Interrupted):
        trained(recipe_of(rest), tmp_path / "runs")
    before = len(batches) - 1
    resumed = train(recipe_of(rest), runs=tmp_path / "runs", resume=True)
    assert losses(resumed) == losses(whole)
    again = len(batches) - before - 1
    shutil.rmtree(tmp_path / "cache")
    batches[:] = [0] * 7
    trained(recipe_of(rest), tmp_path / "other")
    assert again == len(batches) - 7 - before, "nothing that was computed is computed again"


def test_damage_is_told_and_computed_anew(recipe_of: Any, tmp_path: Path) -> None:
    rest = CASES["two towers"][0]
    first, _ = trained(recipe_of(rest), tmp_path / "first")
    shard = sorted((tmp_path / "cache").glob("*/*.safetensors"))[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 64
    shard.write_bytes(content)
    second, told = trained(recipe_of(rest), tmp_path / "second")
    assert [note for note in told if str(shard) in note and "damaged" in note]
    assert losses(second) == losses(first)
    assert trained(recipe_of(rest), tmp_path / "third")[1] == []


def test_a_changed_file_is_computed_anew(recipe_of: Any, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "data", tmp_path / "data")
    recipe = recipe_of(CASES["two towers"][0], data=tmp_path / "data")
    trained(recipe, tmp_path / "runs")
    Image.new("RGB", (8, 8), (250, 3, 3)).save(tmp_path / "data" / "train0.png")
    kept, told = trained(recipe, tmp_path / "runs")
    assert any("for 1 of " in note for note in told)
    without, _ = trained(
        recipe_of(CASES["two towers"][0], "cache.enabled=false", data=tmp_path / "data"), tmp_path / "w"
    )
    assert losses(kept) == pytest.approx(losses(without), rel=CLOSE)


def test_another_model_than_what_is_kept_is_noticed(recipe_of: Any, tmp_path: Path) -> None:
    """Whatever a key forgets: at every start a few samples are computed and compared."""
    rest = CASES["two towers"][0]
    first, _ = trained(recipe_of(rest), tmp_path / "first")
    for shard in (tmp_path / "cache").glob("*/*.safetensors"):
        tensors = load_file(shard)
        content = safetensors.torch.save({**tensors, "states": tensors["states"] + 1}, metadata_of(shard))
        shard.unlink()
        (shard.parent / f"{hashlib.sha256(content).hexdigest()}.safetensors").write_bytes(content)
    second, told = trained(recipe_of(rest), tmp_path / "second")
    assert len([note for note in told if "apart" in note]) == 2
    assert losses(second) == pytest.approx(losses(first), rel=CLOSE)


def metadata_of(path: Path) -> dict[str, str]:
    with safetensors.safe_open(path, "pt") as file:
        return file.metadata()


SPEAKS = """\
schema = 1
name = "speaks"
backbone = {{ model = "bart", tokenizer = "{model}", config = {config} {more} }}
modality.text = {{ kind = "text", route = "backbone" }}
data = {{ format = "jsonl", root = "{data}" }}
task.answer = {{ kind = "generation", max_tokens = 3 }}
adapter.b = {{ kind = "bottleneck", at = ["decoder.mlp.out"], bottleneck = 4 }}
train = {{ epochs = 3, batch_size = 8, log_every = 1, optimizer = {{ name = "adamw", lr = 0.01 }} }}
cache = {{ folder = "{cache}" }}
"""
BART = (
    "{ vocab_size = 15, d_model = 16, encoder_layers = 2, decoder_layers = 2, encoder_attention_heads = 2, "
    "decoder_attention_heads = 2, encoder_ffn_dim = 32, decoder_ffn_dim = 32, max_position_embeddings = 64, "
    "pad_token_id = 0, bos_token_id = 2, eos_token_id = 3, decoder_start_token_id = 2, forced_eos_token_id = 3 }"
)


def test_answers_come_from_a_kept_encoder(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "speaks.toml"
    folders = {"model": (place / "bert").as_posix(), "data": (place / "data").as_posix()}
    path.write_text(SPEAKS.format(config=BART, more="", cache=(tmp_path / "cache").as_posix(), **folders))
    recipe = load_recipe(path)
    frontier = make_plan(recipe).frontiers[""]
    assert frontier.first == 2
    assert all(".encoder." in block for block in frontier.blocks)
    kept, told = trained(recipe, tmp_path / "kept")
    assert len(told) == 2, told
    without, _ = trained(load_recipe(path, ["cache.enabled=false"]), tmp_path / "without")
    assert losses(kept) == pytest.approx(losses(without), rel=CLOSE)
    assert kept.metrics["test"] == pytest.approx(without.metrics["test"], rel=CLOSE)
