"""A task that generates, from recipe to predictions: trained, saved, loaded, evaluated, continued."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from adaptkit.artifact.load import load_artifact
from adaptkit.errors import DataError, RecipeError
from adaptkit.evaluation import evaluate
from adaptkit.evaluation.predicting import predict
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe, resolved_toml
from adaptkit.training import train
from tests.unit.generation.speaking import SAMPLES, answer, speaking, write_answers


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_answers(tmp_path_factory.mktemp("answers"), train=48, validation=24, test=16)


@pytest.mark.parametrize(
    ("backbone", "route"), [("gpt2", "side"), ("llama", "tokens"), ("bart", "side"), ("t5", "tokens")]
)
def test_it_learns_to_answer(backbone: str, route: str, tiny_bert: Path, answers: Path, tmp_path: Path) -> None:
    task = answer(monitor="exact_match", decoding={"validation_samples": 8})
    recipe = speaking(backbone, tiny_bert, answers, route=route, task=task, train={"epochs": 14})
    result = train(recipe, runs=tmp_path)
    metrics = result.metrics["test"]
    assert [*metrics] == ["loss", "perplexity", "exact_match", "token_f1"]
    assert (metrics["exact_match"] or 0) >= 0.75
    assert "validation: answer: metrics of texts are of 8 of the 24 samples" in result.warnings
    assert evaluate(result.run, device="cpu").metrics["test"] == metrics
    lines = [json.loads(line) for line in (result.run / "predictions/test.jsonl").read_text().splitlines()]
    right = [
        line["text"] in line["target"] if isinstance(line["target"], dict) else line["text"] == line["target"]
        for line in lines
    ]
    assert sum(right) / len(right) == metrics["exact_match"]
    model = load_artifact(result.artifact)
    assert [line["text"] for line in model.predict(SAMPLES, batch_size=1)] == [
        line["text"] for line in model.predict(SAMPLES, batch_size=4)
    ]
    again = load_artifact(result.artifact)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    written = tmp_path / "given.jsonl"
    written.write_text("\n".join(map(json.dumps, SAMPLES)))
    assert predict(result.run, written, tmp_path / "out.jsonl", device="cpu") == len(SAMPLES)


def test_a_resolved_recipe_is_the_recipe(tiny_bert: Path) -> None:
    import tomllib

    for decoding in ({}, {"beams": 3, "returned": 2}, {"do_sample": True, "top_p": 0.9}, {"choices": ["a", "b"]}):
        recipe = speaking("gpt2", tiny_bert, task=answer(decoding=decoding))
        assert parse_recipe(tomllib.loads(resolved_toml(recipe))) == recipe


@pytest.mark.parametrize(
    ("decoding", "expected"),
    [
        ({"beams": 3, "returned": 2}, {"text", "texts", "scores"}),
        ({"do_sample": True, "returned": 2, "temperature": 2.0, "seed": 3}, {"text", "texts"}),
        ({"choices": ["big", "small", "red the"]}, {"text", "probabilities"}),
        ({"repetition_penalty": 1.5, "no_repeat_ngram_size": 1, "max_new_tokens": 3}, {"text"}),
        ({"stop": ["thing"]}, {"text"}),
    ],
)
@pytest.mark.parametrize("backbone", ["gpt2", "bart"])
def test_decoding(backbone: str, decoding: dict[str, Any], expected: set[str], tiny_bert: Path) -> None:
    from adaptkit.model import build_model

    model = build_model(make_plan(speaking(backbone, tiny_bert, task=answer(decoding=decoding))))
    found = model.predict(SAMPLES)
    assert found == model.predict(SAMPLES), "what is drawn depends on the seed"
    assert all(set(line) == {"id", *expected} for line in found)
    for line in found:
        assert len(line.get("texts", [0, 0])) == 2
        assert "thing" not in decoding.get("stop", ()) or "thing" not in line["text"]
        if "probabilities" in line:
            assert line["text"] == max(line["probabilities"], key=line["probabilities"].__getitem__)
            assert sum(line["probabilities"].values()) == pytest.approx(1)
            assert [*line["probabilities"]] == decoding["choices"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"task": answer(head={"kind": "mlp"})}, r"task\.answer\.head: text comes from the backbone's own head"),
        ({"task": answer(loss="mse")}, r"task\.answer\.loss: "),
        ({"task": answer(prompt="{text} {text}")}, r"task\.answer\.prompt: .* has it twice"),
        ({"task": answer(decoding={"beams": 2, "returned": 3})}, r"decoding\.returned: 2 beams give no 3 answers"),
        ({"task": answer(decoding={"top_p": 0.5})}, r"decoding\.top_p: has no effect: nothing is drawn"),
        ({"task": answer(decoding={"length_penalty": 2.0})}, r"decoding\.length_penalty: has no effect without beams"),
        ({"task": answer(decoding={"choices": ["a"]})}, r"decoding\.choices: should be two or more"),
        ({"task": answer(decoding={"choices": ["a", "b"], "beams": 2})}, r"decoding\.beams: nothing is generated"),
        ({"backbone": {"pool": "mean"}}, r"backbone\.pool: no task of the recipe reads a pooled vector"),
        ({"route": "fusion", "adapter": {}}, r"modality\.features\.route: it joins the vector that heads read"),
    ],
)
def test_what_cannot_be_is_told(change: dict[str, Any], expected: str, tiny_bert: Path) -> None:
    with pytest.raises(RecipeError, match=expected):
        speaking("gpt2", tiny_bert, **change)


@pytest.mark.parametrize(
    ("model", "config", "expected"),
    [
        ("bert", {"vocab_size": 15, "hidden_size": 16, "num_attention_heads": 2}, "reads in both directions at once"),
        ("vit", {"hidden_size": 16, "num_attention_heads": 2}, "has no language-model head, so it generates no text"),
        ("timm/resnet18", {}, "has no language-model head, so it generates no text"),
    ],
)
def test_a_backbone_without_a_head(model: str, config: dict[str, Any], expected: str, tiny_bert: Path) -> None:
    recipe = speaking("gpt2", tiny_bert)
    tables = recipe.model_dump(by_alias=True, exclude_none=True)
    tables["backbone"] |= {"model": model, "config": config}
    with pytest.raises(RecipeError, match=expected):
        make_plan(parse_recipe(tables))


def test_targets_that_are_none(tiny_bert: Path, tmp_path: Path) -> None:
    write_answers(tmp_path, train=4, validation=2, test=2)
    row = json.loads((tmp_path / "test.jsonl").read_text().splitlines()[0])
    wrong = [7, {"big": -1.0}, ["big", 3]]
    (tmp_path / "test.jsonl").write_text("\n".join(json.dumps({**row, "answer": value}) for value in wrong))
    with pytest.raises(DataError) as caught:
        train(speaking("gpt2", tiny_bert, tmp_path), runs=tmp_path)
    told = [problem.message for problem in caught.value.problems]
    assert told == [
        "answer: the target is of type int, not text.",
        "answer: the score -1.0 of an answer is no number from 0 up.",
        "answer: an answer of the target is of type int, not text.",
    ]


def test_texts_in_python_and_while_they_come(tiny_bert: Path) -> None:
    from adaptkit.errors import UsageError
    from adaptkit.formats.records import read_records
    from adaptkit.model import build_model
    from adaptkit.model.inference import predictions

    for family in ("gpt2", "bart"):
        model = build_model(make_plan(speaking(family, tiny_bert)))
        texts = model.generate(SAMPLES)
        assert texts == [line["text"] for line in model.predict(SAMPLES)]
        assert all(len(text.split()) <= 2 for text in model.generate(SAMPLES, max_new_tokens=2))
        pieces: list[str] = []
        lines = list(predictions(model, read_records(model.plan.recipe, SAMPLES), write=pieces.append))
        assert "".join(pieces).splitlines() == texts == [line["text"] for line in lines]
        with pytest.raises(UsageError, match="beems"):
            model.generate(SAMPLES, beems=2)
        with pytest.raises(UsageError, match="2 beams give no 3 answers"):
            model.generate(SAMPLES, beams=2, returned=3)
        with pytest.raises(UsageError, match="no text is there before its end"):
            list(predictions(model, read_records(model.plan.recipe, SAMPLES), decoding={"beams": 2}, write=print))


def test_a_prompt_is_never_cut(tiny_bert: Path) -> None:
    from adaptkit.model import build_model

    task = answer(prompt="the thing {text} is it ?")
    model = build_model(make_plan(speaking("gpt2", tiny_bert, task=task, backbone={"max_tokens": 10})))
    encoder: Any = model.encoders["question"]
    ids = encoder.collate(["red red red red red red", "blue", None], ["", "", ""])["input_ids"]
    read = [encoder.tokenizer.decode(row, skip_special_tokens=True) for row in ids]
    assert read == ["the thing red red red is it?", "the thing blue is it?", "the thing is it?"]
    tight = build_model(make_plan(speaking("gpt2", tiny_bert, task=task, backbone={"max_tokens": 7})))
    with pytest.raises(RecipeError, match="7 are special or of the prompt"):
        tight.generate(SAMPLES)
