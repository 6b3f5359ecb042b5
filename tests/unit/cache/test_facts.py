"""What decides about activations decides about their key: nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from adaptkit.model import build_model
from adaptkit.model.frozen import described
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe

VIT = (
    "{ model = 'vit', config = { hidden_size = 16, num_hidden_layers = 2, num_attention_heads = 2, "
    "intermediate_size = 32, image_size = 8, patch_size = 4 } }"
)
RECIPE = """\
schema = 1
name = "facts"
backbone.model = "MODEL"
modality.question = { kind = "text", route = "backbone" }
modality.photo = { kind = "image", route = "fusion", tower = VIT, missing = "zero" }
data = { format = "jsonl", root = "." }
task.answer = { kind = "classification", labels = ["no", "yes"] }
""".replace("VIT", VIT)
PHOTO, BACKBONE = "photo", ""
OTHER: dict[str, set[str]] = {
    "backbone.max_tokens=5": {BACKBONE},
    "modality.question.keep='last'": {BACKBONE},
    "backbone.tokenizer='{other}'": {BACKBONE},
    "backbone.model='{other}'": {BACKBONE},
    "backbone.precision='bfloat16'": {BACKBONE},
    "backbone.pool='max'": {BACKBONE},
    "train.precision='bf16'": {BACKBONE, PHOTO},
    "modality.photo.mean=0.25": {PHOTO},
    "modality.photo.std=[0.5,0.4,0.3]": {PHOTO},
    "modality.photo.tower.config.image_size=12": {PHOTO},
    "modality.photo.tower.config.hidden_act='relu'": {PHOTO},
    "modality.photo.tower.precision='bfloat16'": {PHOTO},
    "modality.photo.pool='max'": {PHOTO},
}
SAME = (
    "train.optimizer.lr=0.5",
    "train.epochs=9",
    "train.batch_size=3",
    "train.seeds=[4]",
    "modality.photo.column='picture'",
    "modality.photo.missing='learned'",
    "modality.photo.modality_dropout=0.5",
    "data.root='elsewhere'",
    "cache.max_gb=1",
)


@pytest.fixture
def facts_of(tiny_bert: Path, tmp_path: Path) -> Any:
    from tests.conftest import VOCABULARY, write_tiny_bert

    other = write_tiny_bert(tmp_path / "other")
    words = (other / "vocab.txt").read_text().split("\n")
    assert words[: len(VOCABULARY)] == list(VOCABULARY)
    tokenizer = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(tokenizer.replace('"big"', '"huge"'))
    from safetensors.torch import load_file, save_file

    tensors = load_file(other / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"][7, 3] += 1
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    recipe = tmp_path / "facts.toml"
    recipe.write_text(RECIPE.replace("MODEL", tiny_bert.as_posix()))

    def found(*sets: str, seed: int = 0, dtype: str = "computed") -> dict[str, Any]:
        sets = tuple(text.replace("{other}", other.as_posix()) for text in sets)
        model = build_model(make_plan(load_recipe(recipe, sets)), seed=seed)
        assert all(each.whole for each in model.plan.frontiers.values())
        return {name: described(model, each, dtype=dtype)[1] for name, each in model.plan.frontiers.items()}

    return found


def test_what_decides(facts_of: Any) -> None:
    plain = facts_of()
    for change, models in OTHER.items():
        found = facts_of(change)
        assert {name for name in plain if found[name] != plain[name]} == models, change
    assert facts_of(dtype="bfloat16")[PHOTO] != plain[PHOTO]


def test_what_does_not_decide(facts_of: Any) -> None:
    plain = facts_of()
    for change in SAME:
        assert facts_of(change) == plain, change
    assert facts_of(seed=3) == plain


def test_what_trains_above_the_frontier_does_not_decide(tiny_bert: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "facts.toml"
    text = (
        RECIPE.replace("MODEL", tiny_bert.as_posix()) + 'adapter.l = { kind = "lora", at = ["attn.q"], layers = [1] }\n'
    )
    recipe.write_text(text)
    model = build_model(make_plan(load_recipe(recipe, ["backbone.train=['encoder.layer.1.output.*']"])))
    frontier = model.plan.frontiers[""]
    assert frontier.first == 1
    before = described(model, frontier, dtype="computed")
    moving, frozen = (model.backbone.encoder.layer[i].output.dense.weight for i in (1, 0))
    with torch.no_grad():
        moving.add_(1)
    assert described(model, frontier, dtype="computed") == before
    with torch.no_grad():
        frozen.add_(1)
    assert described(model, frontier, dtype="computed") != before
