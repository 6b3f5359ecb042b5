"""The sets of metrics of texts that a recipe names: `metrics = ["vqa"]`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from adaptkit.errors import UnavailableError
from adaptkit.tasks.metric import METRICS, Metric, MetricSet, Values
from adaptkit.tasks.text_metrics import answers, java
from adaptkit.tasks.text_metrics.captions import bleu, cider_d, rouge_l
from adaptkit.tasks.text_metrics.references import answers_of, field_of, scores_of
from adaptkit.tasks.text_metrics.tokens import simple
from adaptkit.tasks.text_metrics.vqa import Version, vqa_scores

# N samples of a split

Found = tuple[Values, list[str]]
ANSWER_TYPES = {"yes/no": "yes_no", "number": "number", "other": "other"}
PARTS = ("accuracy", *ANSWER_TYPES.values())


class TextMetrics(MetricSet):
    """Scores of generated texts against the targets as the data holds them."""

    tasks: ClassVar[tuple[str, ...]] = ("generation",)

    def compute(self, scores: Any, targets: Any, task: Any) -> Found:
        """As of every set, with the generated texts (N,) and the raw targets (N,) in the place of numbers."""
        return self.of_texts(scores, targets)

    def of_texts(self, texts: Sequence[str], targets: Sequence[Any]) -> Found:
        """A value for every metric, None where it is undefined, and why."""
        raise NotImplementedError


def _vqa_metrics(version: Version, words: str) -> tuple[Metric, ...]:
    of = ("", *(f" of answer type {each}" for each in ANSWER_TYPES))
    return tuple(
        Metric(_vqa_name(part, version), f"VQA v2: soft accuracy{what}, official code {words}")
        for part, what in zip(PARTS, of, strict=True)
    )


def _vqa_name(part: str, version: Version) -> str:
    return f"vqa_{part}" if version == "official" else f"vqa_{part}_{version}"


@METRICS.register("vqa")
class VqaMetrics(TextMetrics):
    """VQA v2: soft accuracy over ten annotators, leaving out one each, under both versions of the official code."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        *_vqa_metrics("official", "since 2021"),
        *_vqa_metrics("pre2021", "before 2021, which most copy"),
    )

    def of_texts(self, texts: Sequence[str], targets: Sequence[Any]) -> Found:
        values: Values = {metric.name: None for metric in self.metrics}
        if any(scores_of(target) is not None or not answers_of(target) for target in targets):
            return values, ["the VQA accuracies are undefined: a target is no list of the annotators' answers"]
        types = [field_of(target, "answer_type") for target in targets]
        notes = [] if any(types) else ["VQA accuracies by answer type are undefined: no target has an answer_type"]
        for version in ("official", "pre2021"):
            scores = vqa_scores(texts, [answers_of(target) for target in targets], version)
            values[_vqa_name("accuracy", version)] = _mean(scores)
            for written, part in ANSWER_TYPES.items():
                values[_vqa_name(part, version)] = _mean(_where(scores, [each == written for each in types]))
        return values, notes


@METRICS.register("soft_labels")
class SoftLabelMetrics(TextMetrics):
    """Targets that are tables answer -> score, as LXMERT and VL-T5 have those of VQA."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("label_score", "score of the answer in the table answer -> score of its sample, 0 of one not in it"),
    )

    def of_texts(self, texts: Sequence[str], targets: Sequence[Any]) -> Found:
        known = [scores_of(target) for target in targets]
        found = [scores.get(text, 0.0) for text, scores in zip(texts, known, strict=True) if scores is not None]
        if len(found) < len(texts):
            return {"label_score": None}, ["label_score is undefined: a target is no table answer -> score"]
        return {"label_score": _mean(found)}, []


@METRICS.register("squad")
class SquadMetrics(TextMetrics):
    """SQuAD 2.0: exact match and F1 of the words, without case, punctuation and articles."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("squad_exact_match", "share of texts that equal an answer, normalised as in SQuAD"),
        Metric("squad_f1", "F1 of the words, normalised as in SQuAD, of the best answer each"),
    )

    def of_texts(self, texts: Sequence[str], targets: Sequence[Any]) -> Found:
        wanted = [answers_of(target) for target in targets]
        exact, f1 = answers.exact_match(texts, wanted), answers.token_f1(texts, wanted)
        return {"squad_exact_match": _mean(exact), "squad_f1": _mean(f1)}, []


@METRICS.register("gqa")
class GqaMetrics(TextMetrics):
    """GQA: accuracy to the letter over the balanced questions; fields types, isBalanced, question_id, entailed."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("gqa_accuracy", "GQA: share of answers that are right to the letter"),
        Metric("gqa_binary", "GQA: accuracy of the questions of another structural type than query"),
        Metric("gqa_open", "GQA: accuracy of the questions of structural type query"),
        Metric(
            "gqa_consistency", "GQA: accuracy of the questions that a right answer entails, mean over right answers"
        ),
    )

    def of_texts(self, texts: Sequence[str], targets: Sequence[Any]) -> Found:
        scores = answers.same(texts, [answers_of(target) for target in targets])
        balanced = [field_of(target, "isBalanced") is not False for target in targets]
        types = [(field_of(target, "types") or {}).get("structural") for target in targets]
        binary = [count and kind not in (None, "query") for count, kind in zip(balanced, types, strict=True)]
        free = [count and kind == "query" for count, kind in zip(balanced, types, strict=True)]
        names = [str(field_of(target, "question_id")) for target in targets]
        entailed = [field_of(target, "entailed") or () for target in targets]
        followed = [each if count else () for each, count in zip(entailed, balanced, strict=True)]
        values: Values = {
            "gqa_accuracy": _mean(_where(scores, balanced)),
            "gqa_binary": _mean(_where(scores, binary)),
            "gqa_open": _mean(_where(scores, free)),
            "gqa_consistency": answers.gqa_consistency(scores, names, followed) if any(followed) else None,
        }
        absent = [name for name, there in (("types", any(types)), ("entailed", any(followed))) if not there]
        return values, [f"a part of GQA's metrics is undefined: no target has {each}" for each in absent]


@METRICS.register("nlvr2")
class Nlvr2Metrics(TextMetrics):
    """NLVR2: accuracy, and the share of sentences right with all their pairs of pictures; the field identifier."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("nlvr2_accuracy", "NLVR2: share of right answers, in any case of letters"),
        Metric("nlvr2_consistency", "NLVR2: share of sentences that are judged right with all their pairs of pictures"),
    )

    def of_texts(self, texts: Sequence[str], targets: Sequence[Any]) -> Found:
        scores = answers.nlvr2_scores(texts, [answers_of(target)[0] for target in targets])
        names = [field_of(target, "identifier") for target in targets]
        known = all(isinstance(name, str) for name in names)
        values: Values = {
            "nlvr2_accuracy": _mean(scores),
            "nlvr2_consistency": answers.nlvr2_consistency(scores, names) if known else None,
        }
        return values, [] if known else ["nlvr2_consistency is undefined: not every target has an identifier"]


@METRICS.register("options")
class OptionMetrics(TextMetrics):
    """The letter of an option that a text names, as in ScienceQA; the field options says how many there are."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("option_accuracy", 'share of texts that name the right option: "B", "B. ...", "The answer is B."'),
    )

    def of_texts(self, texts: Sequence[str], targets: Sequence[Any]) -> Found:
        counts = [len(field_of(target, "options") or answers.LETTERS) for target in targets]
        right = [
            answers.option_said(each[0], len(answers.LETTERS)) if each else None for each in map(answers_of, targets)
        ]
        if None in right:
            return {"option_accuracy": None}, ["option_accuracy is undefined: a target names no option by its letter"]
        said = [answers.option_said(text, count) for text, count in zip(texts, counts, strict=True)]
        return {"option_accuracy": _mean([float(a == b) for a, b in zip(said, right, strict=True)])}, []


def _caption_metrics(tokenizer: str) -> tuple[Metric, ...]:
    return (
        *(Metric(f"bleu_{n}[{tokenizer}]", f"BLEU-{n} of the split, as in the COCO evaluation") for n in (1, 2, 3, 4)),
        Metric(f"rouge_l[{tokenizer}]", "ROUGE-L, as in the COCO evaluation"),
        Metric(f"cider_d[{tokenizer}]", "CIDEr-D, 0 to 10: what the COCO evaluation calls CIDEr"),
    )


class CaptionMetrics(TextMetrics):
    """Captions against one or more references each."""

    def of_texts(self, texts: Sequence[str], targets: Sequence[Any]) -> Found:
        pairs = [(text, refs) for text, target in zip(texts, targets, strict=True) if (refs := answers_of(target))]
        notes = (
            []
            if len(pairs) == len(texts)
            else [f"{len(texts) - len(pairs):,} captions without a reference do not count"]
        )
        if not pairs:
            return {metric.name: None for metric in self.metrics}, notes
        try:
            return self.scores([text for text, _ in pairs], [refs for _, refs in pairs]), notes
        except UnavailableError as error:
            return {metric.name: None for metric in self.metrics}, [
                *notes,
                f"{self.metrics[0].name} and others: {error}",
            ]

    def scores(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> Values:
        """A value for every metric of captions that all have references."""
        raise NotImplementedError


Tokens = list[list[str]]


def _tokenised(
    texts: Sequence[str], references: Sequence[Sequence[str]], tokenize: Callable[[Sequence[str]], Tokens]
) -> tuple[Tokens, list[Tokens]]:
    """The tokens of all captions, which a tokenizer gets at once."""
    flat = iter(tokenize([*texts, *(ref for refs in references for ref in refs)]))
    return [next(flat) for _ in texts], [[next(flat) for _ in refs] for refs in references]


def _scores(tokens: Tokens, references: list[Tokens], tokenizer: str) -> Values:
    found: Values = {f"bleu_{n}[{tokenizer}]": value for n, value in enumerate(bleu(tokens, references), 1)}
    found[f"rouge_l[{tokenizer}]"] = _mean(rouge_l(tokens, references))
    found[f"cider_d[{tokenizer}]"] = _mean(cider_d(tokens, references))
    return found


@METRICS.register("captions")
class SimpleCaptionMetrics(CaptionMetrics):
    """BLEU, ROUGE-L and CIDEr-D of captions, with a tokenizer in Python that is near to that of the COCO evaluation."""

    metrics: ClassVar[tuple[Metric, ...]] = _caption_metrics("simple")

    def scores(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> Values:
        return _scores(*_tokenised(texts, references, lambda each: [simple(text) for text in each]), "simple")


@METRICS.register("captions_ptb")
class PtbCaptionMetrics(CaptionMetrics):
    """The COCO evaluation of captions with its own tokenizer, and METEOR: with Java and the extra "captions"."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        *_caption_metrics("ptb"),
        Metric("meteor[ptb]", "METEOR 1.5 of the split, as in the COCO evaluation"),
    )

    def lacking(self) -> str:
        return java.lacking(java.PTB, java.METEOR)

    def scores(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> Values:
        tokens, known = _tokenised(texts, references, java.ptb)
        meteor, _ = java.meteor(*_joined(tokens, known))
        return {**_scores(tokens, known, "ptb"), "meteor[ptb]": meteor}


@METRICS.register("spice")
class SpiceMetrics(CaptionMetrics):
    """SPICE of captions: with Java, the extra "captions", and the models of CoreNLP 3.6.0, which do not come along."""

    metrics: ClassVar[tuple[Metric, ...]] = (Metric("spice[ptb]", "SPICE: F1 of scene graphs, mean over captions"),)

    def lacking(self) -> str:
        return java.lacking(java.PTB, java.SPICE, *java.MODELS)

    def scores(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> Values:
        return {"spice[ptb]": java.spice(*_joined(*_tokenised(texts, references, java.ptb)))}


def _joined(tokens: Tokens, references: list[Tokens]) -> tuple[list[str], list[list[str]]]:
    return [" ".join(each) for each in tokens], [[" ".join(ref) for ref in refs] for refs in references]


def _where(scores: Sequence[float], chosen: Sequence[bool]) -> list[float]:
    return [score for score, one in zip(scores, chosen, strict=True) if one]


def _mean(scores: Sequence[float]) -> float | None:
    return sum(scores) / len(scores) if scores else None
