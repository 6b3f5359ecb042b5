"""The recipes that chat, end to end with tiny models by `--set`: checked, trained, evaluated, talked to."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from adaptkit.artifact.load import load_artifact
from adaptkit.data.checking import check_samples
from adaptkit.evaluation.conversation import converse
from adaptkit.formats.digit_words import NUMBERS
from adaptkit.formats.load import load_data
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe
from adaptkit.training import train
from tests.unit.generation.chatting import TINY, said, write_chats

SMALL = {**TINY, "vocab_size": 1024}
TYPES = {"llama_chat_lora": "llama", "qwen2_chat_lora": "qwen2", "gemma3_chat_lora": "gemma3_text"}


def sets(**changes: Any) -> list[str]:
    return [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]


def as_toml(table: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"


@pytest.mark.parametrize("name", TYPES)
def test_a_recipe_trains_saves_loads_and_talks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_chats(tmp_path / "data", train=24, validation=8, test=8)
    small = {"backbone__model": TYPES[name], "backbone__config": as_toml(SMALL), "backbone__tokenizer": "small"}
    short = {"train__epochs": 1, "train__precision": "fp32", "modality__chat__max_tokens": 128}
    short |= {"data__root": f"'{data}'", "task__reply__max_tokens": 8, "adapter__lora__rank": 8}
    short |= {"train__gradient_checkpointing": "false", "train__batch_size": 4}
    recipe = load_recipe(name, sets(**small, **short, backbone__precision='"shipped"'))
    plan = make_plan(recipe)
    assert {graft.site.name for graft in plan.grafts} == set(recipe.adapter["lora"].at)
    found = check_samples(load_data(recipe), dict(build_model(plan, weights=False).named_encoders()), recipe.task)
    assert not found.problems
    result = train(recipe, runs=tmp_path / "runs")
    model = load_artifact(result.artifact, device="cpu")
    assert len(model.generate([{"messages": said("what is it? red")}])) == 1
    talk, pieces = converse(result.run, device="cpu", decoding={"do_sample": False}), io.StringIO()
    first = talk.say("what is it? red", pieces.write)
    assert pieces.getvalue() == f"{first}\n"


def test_the_llama_recipe_plans_with_its_own_backbone() -> None:
    """Rank 64 on all linear layers of Llama 3.2 1B: 16 x 64 x (the sums of what they read and write)."""
    each = (2048 + 2048) * 2 + (2048 + 512) * 2 + (2048 + 8192) * 3
    assert make_plan(load_recipe("llama_chat_lora")).parameters.trainable == 16 * 64 * each


def test_a_short_form_of_quickstart_chat_learns_to_answer_and_to_end(tmp_path: Path) -> None:
    """With numbers, one for each question."""
    short = {"train__max_steps": 60, "data__questions_per_image": 1, "train__epochs": 2}
    result = train(load_recipe("quickstart_chat", sets(**short)), runs=tmp_path)
    assert (result.metrics["test"]["perplexity"] or 99) < 6  # of 1,024 words
    talk = converse(result.run, device="cpu")
    assert talk.shows == ["image"]
    asked = ("What digit is this?", "How much is it plus three?", "And one more?")
    assert {talk.say(line, lambda piece: None) for line in asked} <= {*NUMBERS}
    assert len(talk.messages) == 6


def test_a_short_form_of_quickstart_speak_learns(tmp_path: Path) -> None:
    short = {"train__max_steps": 120, "train__epochs": 2, "data__questions_per_image": 4}
    result = train(load_recipe("quickstart_speak", sets(**short)), runs=tmp_path)
    assert (result.metrics["test"]["perplexity"] or 99) < 2.5
    assert (result.metrics["test"]["token_f1"] or 0) > 0.35
