"""TVC and YC2C: captions of clips, from their frames and what is said in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.benchmarks.benchmark import register
from adaptkit.benchmarks.clips.synthesis import Clips
from adaptkit.benchmarks.clips.value import COLUMNS, ClipTask, Files, Row, span
from adaptkit.benchmarks.json_items import id_of, texts_of

TOLD = ("subtitles", "time", "video", "captions")


class ClipCaptions(ClipTask):
    """What happens in a span of a clip: a row to train with has one description, one to evaluate with all of them."""

    kinds: Mapping[str, str] = {"time": "text", "captions": "texts"}
    columns: Mapping[str, str] = {name: COLUMNS[name] for name in TOLD}
    task = 'kind = "generation", column = "captions"'

    def rows(self, record: Mapping[str, Any], where: str, *, train: bool) -> Iterator[Row]:
        clip, values = id_of(record, where, "clip_id"), {"time": span(record, where)}
        captions = texts_of(record, where, "descs", "desc")
        if not train:
            yield clip, {**values, "captions": captions}
            return
        for number, caption in enumerate(captions):
            yield f"{clip}#{number}", {**values, "captions": [caption]}


@register("tvc")
class TVC(ClipCaptions):
    """TVC: 261,510 captions of spans of clips of six TV shows (Lei et al. 2020).

    As the VALUE benchmark distributes it: subtitles, and CLIP vectors of the frames.
    """

    name = "tvc"
    title = "TVC"
    description = "What happens in a span of a TV clip, in a sentence."
    variants: Mapping[str, str] = {
        "value": "video/ann/tvc/*.jsonl, video/ann/tv_subtitles.jsonl, video/vis_features/tv"
    }
    files = Files(
        "ann/tvc/tvc_train_release.jsonl",
        "ann/tvc/tvc_val_release.jsonl",
        "ann/tv_subtitles.jsonl",
        "vis_features/tv/clip-vit",
    )
    planted = Clips("tvc", "tvc_train_release", "tvc_val_release", "tv")


@register("yc2c")
class YC2C(ClipCaptions):
    """YC2C: 13,912 captions of spans of cooking videos (Zhou et al. 2018).

    As the VALUE benchmark distributes it: subtitles, and CLIP vectors of the frames.
    """

    name = "yc2c"
    title = "YouCook2 captions (YC2C)"
    description = "What is done in a span of a cooking video, in a sentence."
    variants: Mapping[str, str] = {
        "value": "video/ann/yc2c/*.jsonl, video/ann/yc2_subtitles.jsonl, video/vis_features/yc2"
    }
    files = Files(
        "ann/yc2c/yc2c_train_release.jsonl",
        "ann/yc2c/yc2c_val_release.jsonl",
        "ann/yc2_subtitles.jsonl",
        "vis_features/yc2/clip-vit",
    )
    planted = Clips("yc2c", "yc2c_train_release", "yc2c_val_release", "yc2")
