"""Metrics of texts in a run: a recipe names them, targets say what they ask for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adaptkit.errors import RecipeError, UnavailableError
from adaptkit.evaluation import evaluate
from adaptkit.tasks.text_metrics import java
from adaptkit.training import train
from tests.unit.generation.speaking import answer, speaking, write_answers


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As VQA: ten answers each, and of which type they are."""
    folder = write_answers(tmp_path_factory.mktemp("questions"), train=48, validation=24, test=16)
    for file in folder.glob("*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows:
            said = row["answer"] if isinstance(row["answer"], str) else next(iter(row["answer"]))
            kind = ("other", "number")[said in ("big", "small")]
            row["answer"] = {"answers": [said] * 7 + ["a"] * 3, "answer_type": kind}
        file.write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_a_recipe_monitors_a_metric_of_texts_by_type_of_answer(
    questions: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    keys: dict[str, Any] = {"metrics": ["vqa", "captions"], "monitor": "vqa_accuracy"}
    result = train(speaking("gpt2", tiny_bert, questions, task=answer(**keys), train={"epochs": 12}), runs=tmp_path)
    metrics = result.metrics["test"]
    assert result.monitor == "vqa_accuracy"
    assert evaluate(result.run, device="cpu").metrics["test"] == metrics
    lines = [json.loads(line) for line in (result.run / "predictions/test.jsonl").read_text().splitlines()]
    rows = [json.loads(line) for line in (questions / "test.jsonl").read_text().splitlines()]
    assert [line["target"] for line in lines] == [row["answer"] for row in rows]
    scores = [min(1, 0.3 * line["target"]["answers"].count(line["text"])) for line in lines]
    assert metrics["vqa_accuracy"] == pytest.approx(sum(scores) / len(scores))
    assert (metrics["vqa_accuracy"] or 0) > 0.85
    numbers = [score for score, row in zip(scores, rows, strict=True) if row["answer"]["answer_type"] == "number"]
    assert metrics["vqa_number"] == pytest.approx(sum(numbers) / len(numbers))
    assert metrics["vqa_yes_no"] is None
    assert (metrics["bleu_1[simple]"] or 0) > 0.9


def test_a_set_that_is_not_there_is_told(questions: Path, tiny_bert: Path, tmp_path: Path) -> None:
    for keys, told in (
        ({"metrics": ["vqua"]}, r'no set of metrics "vqua"\. Did you mean "vqa"'),
        ({"metrics": ["mosi"]}, r'the metrics "mosi" are for regression'),
        ({"monitor": "cider_d[simple]"}, r'Write metrics = \["captions"\], which adds it'),
    ):
        with pytest.raises(RecipeError, match=told):
            train(speaking("gpt2", tiny_bert, questions, task=answer(**keys)), runs=tmp_path)


def test_a_monitor_that_needs_java_is_refused_where_there_is_none(
    questions: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java.shutil, "which", lambda _: None)
    keys = {"metrics": ["captions_ptb"], "monitor": "cider_d[ptb]"}
    with pytest.raises(UnavailableError, match=r"task.answer.monitor  'cider_d\[ptb\]' .* Java is not installed"):
        train(speaking("gpt2", tiny_bert, questions, task=answer(**keys)), runs=tmp_path)
