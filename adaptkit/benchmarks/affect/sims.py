"""CH-SIMS: sentiment of 2,281 clips of Chinese films and shows, rated as a whole and by modality (Yu et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from adaptkit.benchmarks.affect.padding import Layout
from adaptkit.benchmarks.affect.sentiment import Sentiment
from adaptkit.benchmarks.benchmark import register

BERT = {"text": (768,), "audio": (33,), "vision": (709,)}


@register("sims")
class Sims(Sentiment):
    """CH-SIMS: 2,281 Chinese clips with words, voice and face; sentiment from -1 to 1, also of each modality.

    The pickle of MMSA.
    """

    name = "sims"
    title = "CH-SIMS"
    description = "Sentiment of clips of Chinese films and shows, with ratings of each modality by itself."
    url = "https://github.com/thuiar/MMSA"
    task = '[task.sentiment] kind = "regression", conventions = "sims"'
    limit = 1.0
    ratings: ClassVar[Mapping[str, str]] = {
        "regression_labels": "sentiment",
        "regression_labels_T": "sentiment_text",
        "regression_labels_A": "sentiment_audio",
        "regression_labels_V": "sentiment_vision",
    }
    columns: ClassVar[Mapping[str, str]] = {
        "words": "text: the transcript, in Chinese",
        "text": "features (T, 768): BERT",
        "audio": "features (T, 33): pitch, MFCC and CQT by LibROSA",
        "vision": "features (T, 709): OpenFace 2",
        "sentiment": "number in [-1, 1]",
        "sentiment_text": "number in [-1, 1]: by those who read the text alone",
        "sentiment_audio": "number in [-1, 1]: by those who heard the voice alone",
        "sentiment_vision": "number in [-1, 1]: by those who saw the silent video alone",
    }
    variants: ClassVar[Mapping[str, str]] = {
        "mmsa-unaligned": "SIMS/Processed/unaligned_39.pkl, with transcripts and BERT"
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "mmsa-unaligned": Layout(
            ("SIMS/Processed/unaligned_39.pkl", "Processed/unaligned_39.pkl", "unaligned_39.pkl"), "end", False, BERT
        )
    }
    known_sums: ClassVar[Mapping[str, str]] = {  # README of github.com/thuiar/MMSA, January 2025
        "SIMS/Processed/unaligned_39.pkl": "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f"
    }
