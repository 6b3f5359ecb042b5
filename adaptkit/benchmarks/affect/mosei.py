"""CMU-MOSEI: sentiment of 22,856 clips of 1,000 speakers on YouTube (Zadeh et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from adaptkit.benchmarks.affect.padding import Layout
from adaptkit.benchmarks.affect.sentiment import Sentiment
from adaptkit.benchmarks.benchmark import register

GLOVE = {"text": (300,), "audio": (74,), "vision": (35,)}
RAW = {"text": (300,), "audio": (74,), "vision": (35, 713)}  # FACET, or FACET and OpenFace
BERT = {"text": (768,), "audio": (74,), "vision": (35,)}


@register("mosei")
class Mosei(Sentiment):
    """CMU-MOSEI: 22,856 utterances with words, voice and face; sentiment from -3 to 3.

    The pickles of MulT (processed by CMU), MultiBench and MMSA.
    """

    name = "mosei"
    title = "CMU-MOSEI"
    description = "Sentiment of clips of people who speak to the camera, from words, voice and face."
    url = "https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK"
    task = '[task.sentiment] kind = "regression", conventions = "mosi"'
    columns: ClassVar[Mapping[str, str]] = {
        "words": "text: the transcript (MMSA)",
        "text": "features (T, 300): GloVe, or (T, 768): BERT (MMSA)",
        "audio": "features (T, 74): COVAREP",
        "vision": "features (T, 35): FACET, or (T, 713) with OpenFace (MultiBench)",
        "sentiment": "number in [-3, 3]",
    }
    variants: ClassVar[Mapping[str, str]] = {
        "mult-aligned": "mosei_senti_data.pkl, aligned to words",
        "mult-noalign": "mosei_senti_data_noalign.pkl",
        "multibench": "mosei_raw.pkl, aligned to words; samples without text are dropped",
        "mmsa-aligned": "MOSEI/Processed/aligned_50.pkl, with transcripts and BERT",
        "mmsa-unaligned": "MOSEI/Processed/unaligned_50.pkl, with transcripts and BERT",
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "mult-aligned": Layout(("mosei_senti_data.pkl", "seq_length_50/mosei_senti_data.pkl"), "front", True, GLOVE),
        "mult-noalign": Layout(
            ("mosei_senti_data_noalign.pkl", "seq_length_50/mosei_senti_data_noalign.pkl"), "front", False, GLOVE
        ),
        "multibench": Layout(("mosei_raw.pkl",), "front", True, RAW, text_decides=True),
        "mmsa-aligned": Layout(
            ("MOSEI/Processed/aligned_50.pkl", "Processed/aligned_50.pkl", "aligned_50.pkl"), "end", True, BERT
        ),
        "mmsa-unaligned": Layout(
            ("MOSEI/Processed/unaligned_50.pkl", "Processed/unaligned_50.pkl", "unaligned_50.pkl"), "end", False, BERT
        ),
    }
    known_sums: ClassVar[Mapping[str, str]] = {  # README of github.com/thuiar/MMSA, January 2025
        "MOSEI/Processed/aligned_50.pkl": "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791",
        "MOSEI/Processed/unaligned_50.pkl": "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f",
    }
