"""Scores of texts against those of the field's reference implementations (tests/goldens/metrics)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from adaptkit.errors import UnavailableError
from adaptkit.tasks.text_metrics import java
from adaptkit.tasks.text_metrics.answers import (
    exact_match,
    gqa_consistency,
    nlvr2_consistency,
    nlvr2_scores,
    option_chosen,
    option_said,
    same,
    squad_normalised,
    token_f1,
)
from adaptkit.tasks.text_metrics.captions import bleu, cider_d, rouge_l
from adaptkit.tasks.text_metrics.tokens import simple
from adaptkit.tasks.text_metrics.vqa import PERIOD, compared, normalised, vqa_scores, without_punctuation

GOLDENS = Path(__file__).parents[2] / "goldens" / "metrics"
PUBLISHED_LIMIT = 32  # periods that the official code deletes of one answer; ours has none


def golden(name: str) -> dict[str, Any]:
    return json.loads((GOLDENS / f"{name}.json").read_text(encoding="utf-8"))


VQA, CAPTIONS, EDGE = golden("vqa"), golden("captions"), golden("captions_edge")
CORPORA = {name: (CAPTIONS["samples"], found) for name, found in CAPTIONS["corpora"].items()}
CORPORA |= {name: (found["samples"], found) for name, found in EDGE["edge"].items()}


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("case", VQA["normalisation"], ids=lambda case: repr(case["in"]))
def test_answers_of_vqa_are_normalised_as_officially(case: dict[str, str]) -> None:
    text = case["in"].replace("\n", " ").replace("\t", " ").strip()
    if len(PERIOD.findall(text)) > PUBLISHED_LIMIT:
        assert case["out"].count(".") == len(PERIOD.findall(text)) - PUBLISHED_LIMIT
        assert "." not in normalised(text)
    else:
        assert (without_punctuation(text), normalised(text)) == (case["after_punctuation"], case["out"])


def test_contractions_get_their_apostrophe_back_and_capitals_never_did() -> None:
    told = "whos theyd've they'dve y'alld've ow's'at twas somebody'd im ive id well wed shed lets"
    want = "who's they'd've they'd've y'all'd've 'ow's'at 'twas somebodyd im ive id well wed shed lets"
    assert normalised(told) == want


@pytest.mark.parametrize(("version", "key"), [("official", "accuracy"), ("pre2021", "accuracy_pre2021")])
def test_vqa_accuracy_is_that_of_both_official_versions(version: Any, key: str) -> None:
    cases = VQA["cases"]
    found = vqa_scores([case["answer"] for case in cases], [case["answers"] for case in cases], version)
    assert found == pytest.approx([case[key] for case in cases], abs=1e-9)
    corpus = VQA["corpus"]["official" if version == "official" else "official_pre2021"]
    assert round(100 * mean(found), 2) == corpus["overall"]
    for kind, value in corpus["perAnswerType"].items():
        of_kind = [score for score, case in zip(found, cases, strict=True) if case["answer_type"] == kind]
        assert round(100 * mean(of_kind), 2) == value


def test_what_vqa_compares_is_what_the_official_code_compares() -> None:
    for case in VQA["cases"]:
        if max(each.count(".") for each in [case["answer"], *case["answers"]]) > PUBLISHED_LIMIT:
            continue
        assert compared(case["answer"], case["answers"], "official") == (
            case["compared_answer"],
            case["compared_answers"],
        )


@pytest.mark.parametrize("matches", range(11))
def test_ten_annotators_give_five_values(matches: int) -> None:
    answers = ["red"] * matches + [f"other {n}" for n in range(10 - matches)]
    for version in ("official", "pre2021"):
        assert vqa_scores(["red"], [answers], version)[0] == pytest.approx(min(1, 0.3 * matches))


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("tokenizer", ["ptb", "whitespace"])
def test_captions_score_as_in_the_coco_evaluation(corpus: str, tokenizer: str) -> None:
    samples, golden = CORPORA[corpus]
    want = golden[tokenizer]
    texts = {s["id"]: s["ptb"] if tokenizer == "ptb" else s for s in samples}
    chosen = [texts[name] for name in want["per_sample"]]

    def tokens(blank: str | None) -> tuple[list[list[str]], list[list[list[str]]]]:
        return [s["hyp"].split(blank) for s in chosen], [[ref.split(blank) for ref in s["refs"]] for s in chosen]

    predictions, references = tokens(None)
    cider = cider_d(predictions, references)
    rouge = rouge_l(*tokens(None if tokenizer == "ptb" else " "))  # there two blanks are a token
    for number, each in enumerate(want["per_sample"].values()):
        assert cider[number] == pytest.approx(each["CIDEr-D"], abs=1e-9)
        assert rouge[number] == pytest.approx(each["ROUGE-L"], abs=1e-9)
        alone = bleu([predictions[number]], [references[number]])
        assert alone == pytest.approx([each[f"BLEU-{n}"] for n in (1, 2, 3, 4)], abs=1e-9)
    corpus_wide = want["corpus"]
    assert bleu(predictions, references) == pytest.approx([corpus_wide[f"BLEU-{n}"] for n in (1, 2, 3, 4)], abs=1e-9)
    assert (mean(cider), mean(rouge)) == pytest.approx((corpus_wide["CIDEr-D"], corpus_wide["ROUGE-L"]), abs=1e-9)


def test_the_tokenizer_in_python_is_near_to_that_of_coco() -> None:
    pairs = [(s["hyp"], s["ptb"]["hyp"]) for s in CAPTIONS["samples"]]
    pairs += [pair for s in CAPTIONS["samples"] for pair in zip(s["refs"], s["ptb"]["refs"], strict=True)]
    assert [" ".join(simple(text)) for text, _ in pairs] == [want for _, want in pairs]  # 152 captions, all alike
    odd = [" ".join(simple(case["in"])) == case["kept"] for case in EDGE["tokeniser"]]
    assert 60 <= sum(odd) < len(odd) == 85  # it has a name of its own, because of the rest


def test_squad() -> None:
    cases = golden("squad")["cases"]
    told, wanted = [case["prediction"] for case in cases], [case["answers"] for case in cases]
    assert [squad_normalised(each) for each in told] == [case["normalised_prediction"] for case in cases]
    assert exact_match(told, wanted) == [case["v2.0"]["exact"] for case in cases]
    assert token_f1(told, wanted) == pytest.approx([case["v2.0"]["f1"] for case in cases], abs=1e-9)
    older = [case for case in cases if case["v1.1"] is not None]
    found = token_f1([case["prediction"] for case in older], [case["answers"] for case in older])
    differ = {case["id"] for case, f1 in zip(older, found, strict=True) if abs(f1 - case["v1.1"]["f1"]) > 1e-9}
    assert differ == {"p009", "p012", "p040"}  # both are nothing once they are normalised


@pytest.mark.parametrize("form", ["strict", "llava"])
def test_gqa(form: str) -> None:
    told = golden("gqa")
    questions, want = told["questions"], told["results"][form]
    said = {each["questionId"]: each["prediction"] for each in told["predictions"]}
    if form == "llava":
        said = {name: text.rstrip(".").lower() for name, text in said.items()}
    scores = same([said[name] for name in questions], [[each["answer"]] for each in questions.values()])
    balanced = {name: score for name, score in zip(questions, scores, strict=True) if questions[name]["isBalanced"]}
    assert balanced == want["per_question"]
    assert 100 * mean([*balanced.values()]) == pytest.approx(want["accuracy"])
    # only balanced questions are followed, also to others
    followed = [each["entailed"] if each["isBalanced"] else [] for each in questions.values()]
    assert 100 * (gqa_consistency(scores, [*questions], followed) or 0) == pytest.approx(want["consistency"])
    assert gqa_consistency(scores, [*questions], [[name] for name in questions]) is None


def test_nlvr2() -> None:
    for each in golden("nlvr2")["sets"]:
        items = each["items"]
        scores = nlvr2_scores([item["prediction"] for item in items], [item["label"] for item in items])
        assert mean(scores) == pytest.approx(each["accuracy"])
        assert nlvr2_consistency(scores, [item["identifier"] for item in items]) == pytest.approx(each["consistency"])


def test_options_are_read_and_chosen_as_by_the_published_scripts() -> None:
    told = golden("options")
    for case in told["letters"]:
        assert option_said(case["text"], case["n_options"]) == (
            None if case["parsed_index"] == -1 else case["parsed_index"]
        ), case
    for case in told["scored"]:
        for per, key in (("sum", "sum"), ("token", "per_token"), ("byte", "per_byte"), ("character", "per_char")):
            assert option_chosen(case["logprob_sum"], case["options"], case["tokens"], per) == case[f"pred_{key}"]


needs_java = pytest.mark.skipif(java.lacking(java.PTB, java.METEOR) != "", reason=java.lacking(java.PTB, java.METEOR))


@needs_java
def test_ptb_tokens() -> None:
    texts = [case["in"] for case in EDGE["tokeniser"]]
    assert [" ".join(tokens) for tokens in java.ptb(texts)] == [case["kept"] for case in EDGE["tokeniser"]]
    assert java.ptb(["a\rb", "c\u2028d\x0be", "", "f"]) == [["a", "b"], ["c", "d", "e"], [], ["f"]]


@needs_java
def test_meteor() -> None:
    for name, some in (("empty_vs_punct", 3), ("first12", 12)):
        samples, found = CORPORA[name][0][:some], CORPORA[name][1]
        corpus, each = java.meteor([s["ptb"]["hyp"] for s in samples], [s["ptb"]["refs"] for s in samples])
        want = found["ptb"]
        assert corpus == pytest.approx(want["corpus"]["METEOR"], abs=1e-9)
        assert each == pytest.approx([want["per_sample"][s["id"]]["METEOR"] for s in samples], abs=1e-9)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `java` that repeats its input file or does as the test says, and a folder with empty jars."""
    home = tmp_path / "home"
    for jar in (java.PTB, java.METEOR, java.SPICE, *java.MODELS):
        (home / jar).parent.mkdir(parents=True, exist_ok=True)
        (home / jar).touch()
    monkeypatch.setattr(java, "_home", lambda: home)
    command = tmp_path / "bin" / "java"
    command.parent.mkdir()
    monkeypatch.setenv("PATH", str(command.parent))
    return command


def program(command: Path, text: str) -> None:
    command.write_text(f"#!{sys.executable}\nimport json, pathlib, sys\n{text}\n", encoding="utf-8")
    command.chmod(0o755)


def test_every_caption_is_one_line_for_java(stand_in: Path) -> None:
    program(stand_in, "print(pathlib.Path(sys.argv[-1]).read_text(encoding='utf-8'), end='')")
    assert java.ptb(["a\nb", "c \u2028 .", "", "d\r\n"]) == [["a", "b"], ["c"], [], ["d"]]


def test_java_that_fails_is_one_clear_error(stand_in: Path) -> None:
    with pytest.raises(UnavailableError, match="Java is not installed"):
        java.ptb(["a"])
    program(stand_in, "sys.exit('no memory')")
    with pytest.raises(UnavailableError, match=r"stanford-corenlp-3.4.1.jar ended with 1: no memory"):
        java.ptb(["a"])
    with pytest.raises(UnavailableError, match=r"meteor-1.5.jar ended before it gave a score"):
        java.meteor(["a"], [["a"]])
    program(stand_in, "")
    with pytest.raises(UnavailableError, match="0 lines for 1 captions"):
        java.ptb(["a"])
    (java._home() or stand_in).joinpath(java.MODELS[0]).unlink()
    with pytest.raises(UnavailableError, match=r"stanford-corenlp-3.6.0.jar is not in .*spice"):
        java.spice(["a"], [["a"]])


def test_spice_reads_the_f1_of_every_caption(stand_in: Path) -> None:
    program(
        stand_in,
        "asked = json.loads(pathlib.Path(sys.argv[5]).read_text())\n"
        "told = pathlib.Path(sys.argv[sys.argv.index('-out') + 1])\n"
        "told.write_text(json.dumps([{'scores': {'All': {'f': len(each['refs']) / 4}}} for each in asked]))",
    )
    assert java.spice(["a", "b"], [["a"], ["b", "c"]]) == (0.25 + 0.5) / 2
