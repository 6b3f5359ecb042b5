"""TVQA and How2QA: which of several answers to a question about a clip is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.benchmarks.benchmark import register
from adaptkit.benchmarks.clips.synthesis import Clips
from adaptkit.benchmarks.clips.value import COLUMNS, ClipTask, Files, Row, span
from adaptkit.benchmarks.json_items import id_of, text_of
from adaptkit.errors import DataError

ASKED = ("subtitles", "question", "time", "options", "video", "answer")


class ClipAnswers(ClipTask):
    """A question about a clip with some answers, of which one is right.

    Attributes:
        choices: how many answers.
    """

    choices: int
    kinds: Mapping[str, str] = {"question": "text", "time": "text", "options": "text", "answer": "label"}
    columns: Mapping[str, str] = {name: COLUMNS[name] for name in ASKED}

    def rows(self, record: Mapping[str, Any], where: str, *, train: bool) -> Iterator[Row]:
        right = record.get("answer_idx")
        if isinstance(right, str) and right.isdigit():
            right = int(right)
        if not isinstance(right, int) or isinstance(right, bool) or not 0 <= right < self.choices:
            raise DataError(f"answer_idx is {right!r}, not 0 to {self.choices - 1}.", where=where)
        options = (f"a{n}: {text_of(record, where, f'a{n}').strip('. ')}." for n in range(self.choices))
        values = {"question": text_of(record, where, "q", "question"), "time": span(record, where)}
        yield id_of(record, where, "qid"), {**values, "options": " ".join(options), "answer": f"a{right}"}


@register("tvqa")
class TVQA(ClipAnswers):
    """TVQA: 152,545 questions about clips of six TV shows, with five answers each (Lei et al. 2018).

    As the VALUE benchmark distributes it: subtitles, and CLIP vectors of the frames.
    """

    name = "tvqa"
    title = "TVQA"
    description = "Which of five answers to a question about a TV clip is right."
    task = 'kind = "generation", column = "answer", decode = { choices = ["a0", "a1", "a2", "a3", "a4"] }'
    variants: Mapping[str, str] = {
        "value": "video/ann/tvqa/*.jsonl, video/ann/tv_subtitles.jsonl, video/vis_features/tv"
    }
    files = Files(
        "ann/tvqa/tvqa_train.jsonl", "ann/tvqa/tvqa_val.jsonl", "ann/tv_subtitles.jsonl", "vis_features/tv/clip-vit"
    )
    choices = 5
    planted = Clips("tvqa", "tvqa_train", "tvqa_val", "tv", choices=5)


@register("how2qa")
class How2QA(ClipAnswers):
    """How2QA: 44,007 questions about clips of instructional videos, with four answers each (Li et al. 2020).

    As the VALUE benchmark distributes it: subtitles, and CLIP vectors of the frames.
    """

    name = "how2qa"
    title = "How2QA"
    description = "Which of four answers to a question about an instructional clip is right."
    task = 'kind = "generation", column = "answer", decode = { choices = ["a0", "a1", "a2", "a3"] }'
    variants: Mapping[str, str] = {
        "value": "video/ann/how2qa/*.jsonl, video/ann/how2_subtitles.jsonl, video/vis_features/how2"
    }
    files = Files(
        "ann/how2qa/how2qa_train_release.jsonl",
        "ann/how2qa/how2qa_val_release.jsonl",
        "ann/how2_subtitles.jsonl",
        "vis_features/how2/clip-vit",
    )
    choices = 4
    planted = Clips("how2qa", "how2qa_train_release", "how2qa_val_release", "how2", choices=4)
