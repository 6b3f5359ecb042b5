"""The sets of metrics of texts: what they read of a target, and what they say where something is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adaptkit.kinds import METRICS
from adaptkit.tasks.text_metrics import java

GOLDENS = Path(__file__).parents[2] / "goldens" / "metrics"
NAMES = ("vqa", "soft_labels", "squad", "gqa", "nlvr2", "options", "captions", "captions_ptb", "spice")


def golden(name: str) -> dict[str, Any]:
    return json.loads((GOLDENS / f"{name}.json").read_text(encoding="utf-8"))


def found(name: str, texts: list[str], targets: list[Any]) -> tuple[dict[str, Any], list[str]]:
    further = METRICS[name]()
    values, notes = further.compute(texts, targets, None)  # type: ignore[arg-type]
    assert set(values) == {metric.name for metric in further.metrics}
    return values, notes


def test_vqa_is_told_overall_and_by_type_under_both_versions() -> None:
    told = golden("vqa")
    cases = told["cases"]
    targets = [{"answers": case["answers"], "answer_type": case["answer_type"]} for case in cases]
    values, notes = found("vqa", [case["answer"] for case in cases], targets)
    assert not notes
    for version, end in (("official", ""), ("official_pre2021", "_pre2021")):
        want = told["corpus"][version]
        assert round(100 * values[f"vqa_accuracy{end}"], 2) == want["overall"]
        for kind, name in (("yes/no", "yes_no"), ("number", "number"), ("other", "other")):
            assert round(100 * values[f"vqa_{name}{end}"], 2) == want["perAnswerType"][kind]


def test_annotations_as_published_and_plain_lists_are_the_same_answers() -> None:
    plain = ["red", "red", "Red.", "blue"]
    published = [{"answer": each, "answer_id": n, "answer_confidence": "yes"} for n, each in enumerate(plain, 1)]
    values, notes = found("vqa", ["red"], [plain])
    assert notes == ["VQA accuracies by answer type are undefined: no target has an answer_type"]
    assert (values["vqa_accuracy"], values["vqa_accuracy_pre2021"], values["vqa_yes_no"]) == (0.75, 0.5, None)
    assert found("vqa", ["red"], [published])[0] == values
    assert found("vqa", ["red"], [{"answers": published}])[0] == values


def test_scores_of_answers_are_looked_up() -> None:
    assert found("soft_labels", ["net", "no"], [{"net": 1, "mesh": 0.3}, {"yes": 0.9}])[0] == {"label_score": 0.5}
    values, notes = found("soft_labels", ["net", "no"], [{"net": 1}, ["no"]])
    assert values["label_score"] is None
    assert notes == ["label_score is undefined: a target is no table answer -> score"]
    values, notes = found("vqa", ["net"], [{"net": 1}])
    assert set(values.values()) == {None}
    assert "no list of the annotators' answers" in notes[0]
    assert found("soft_labels", ["answers"], [{"answers": 0.3, "x": 1}])[0] == {"label_score": 0.3}


def test_gqa_reads_the_published_fields() -> None:
    told = golden("gqa")
    questions, want = told["questions"], told["results"]["strict"]
    said = {each["questionId"]: each["prediction"] for each in told["predictions"]}
    fields = ("types", "isBalanced", "entailed")
    targets = [
        {"answers": each["answer"], "question_id": name, **{field: each[field] for field in fields}}
        for name, each in questions.items()
    ]
    values, notes = found("gqa", [said[name] for name in questions], targets)
    assert not notes
    for name in ("accuracy", "binary", "open", "consistency"):
        assert 100 * values[f"gqa_{name}"] == pytest.approx(want[name])
    values, notes = found("gqa", ["yes", "no"], ["yes", "yes"])
    assert values == {"gqa_accuracy": 0.5, "gqa_binary": None, "gqa_open": None, "gqa_consistency": None}
    assert len(notes) == 2


def test_nlvr2_needs_identifiers_for_consistency() -> None:
    told = golden("nlvr2")["sets"][0]
    items = told["items"]
    targets = [{"answers": item["label"], "identifier": item["identifier"]} for item in items]
    values, _ = found("nlvr2", [item["prediction"] for item in items], targets)
    assert values == {"nlvr2_accuracy": told["accuracy"], "nlvr2_consistency": told["consistency"]}
    assert found("nlvr2", ["true"], ["True"]) == (
        {"nlvr2_accuracy": 1.0, "nlvr2_consistency": None},
        ["nlvr2_consistency is undefined: not every target has an identifier"],
    )


def test_options_by_their_letter() -> None:
    cases = golden("options")["letters"]
    targets = [{"answers": "ABCDE"[case["label"]], "options": ["?"] * case["n_options"]} for case in cases]
    values, _ = found("options", [case["text"] for case in cases], targets)
    assert values["option_accuracy"] == pytest.approx(golden("options")["letters_accuracy_percent"] / 100)
    assert found("options", ["B", "The answer is C."], ["B. red", "B"])[0] == {"option_accuracy": 0.5}
    assert found("options", ["B"], ["the red one"])[0] == {"option_accuracy": None}


def test_captions_need_no_java_and_say_so_in_their_names() -> None:
    samples = golden("captions")["samples"]
    texts, targets = [each["hyp"] for each in samples], [each["refs"] for each in samples]
    values, notes = found("captions", texts, targets)
    want = golden("captions")["corpora"]["all"]["ptb"]["corpus"]
    assert not notes
    assert values["cider_d[simple]"] == pytest.approx(want["CIDEr-D"])  # its tokens are those of PTB here
    assert values["bleu_4[simple]"] == pytest.approx(want["BLEU-4"])
    assert values["rouge_l[simple]"] == pytest.approx(want["ROUGE-L"])
    values, notes = found("captions", [*texts, "more"], [*targets, []])
    assert values["cider_d[simple]"] == pytest.approx(want["CIDEr-D"])
    assert notes == ["1 captions without a reference do not count"]
    assert found("captions", ["a"], [[]])[0]["bleu_1[simple]"] is None


@pytest.mark.parametrize("name", ["captions_ptb", "spice"])
def test_what_needs_java_is_undefined_with_a_note_where_it_is_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "_home", lambda: None)
    monkeypatch.setattr(java.shutil, "which", lambda _: "/usr/bin/java")
    values, notes = found(name, ["a"], ["a"])
    assert set(values.values()) == {None}
    assert len(notes) == 1
    assert 'pip install "adaptkit[captions]"' in notes[0]
    monkeypatch.setattr(java.shutil, "which", lambda _: None)
    assert "Java is not installed" in found(name, ["a"], ["a"])[1][0]


@pytest.mark.skipif(java.lacking(java.PTB, java.METEOR) != "", reason=java.lacking(java.PTB, java.METEOR))
def test_captions_with_java() -> None:
    samples = golden("captions")["samples"][:12]
    values, notes = found("captions_ptb", [each["hyp"] for each in samples], [each["refs"] for each in samples])
    want = golden("captions")["corpora"]["first12"]["ptb"]["corpus"]
    assert not notes
    assert values["cider_d[ptb]"] == pytest.approx(want["CIDEr-D"])
    assert values["meteor[ptb]"] == pytest.approx(want["METEOR"])


def test_one_name_is_one_metric() -> None:
    metrics = [metric for name in NAMES for metric in METRICS[name].metrics]
    assert len({metric.name for metric in metrics}) == len(metrics)
