"""CMU-MOSI: sentiment of 2,199 clips of film reviews on YouTube (Zadeh et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from adaptkit.benchmarks.affect.padding import Layout
from adaptkit.benchmarks.affect.sentiment import Sentiment
from adaptkit.benchmarks.benchmark import register

GLOVE = {"text": (300,), "audio": (5,), "vision": (20,)}
RAW = {"text": (300,), "audio": (74,), "vision": (35, 47)}  # all of COVAREP and of FACET 4.2 or 4.1
BERT = {"text": (768,), "audio": (5,), "vision": (20,)}


@register("mosi")
class Mosi(Sentiment):
    """CMU-MOSI: 2,199 opinions with words, voice and face; sentiment from -3 to 3.

    The pickles of MulT (processed by CMU), MultiBench and MMSA.
    """

    name = "mosi"
    title = "CMU-MOSI"
    description = "Sentiment of clips from film reviews, from words, voice and face."
    url = "https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK"
    task = '[task.sentiment] kind = "regression", conventions = "mosi"'
    columns: ClassVar[Mapping[str, str]] = {
        "words": "text: the transcript (MMSA)",
        "text": "features (T, 300): GloVe, or (T, 768): BERT (MMSA)",
        "audio": "features (T, 5 or 74): COVAREP",
        "vision": "features (T, 20, 35 or 47): FACET",
        "sentiment": "number in [-3, 3]",
    }
    variants: ClassVar[Mapping[str, str]] = {
        "mult-aligned": "mosi_data.pkl, aligned to words",
        "mult-noalign": "mosi_data_noalign.pkl",
        "multibench": "mosi_raw.pkl, aligned to words; samples without text are dropped",
        "mmsa-aligned": "MOSI/Processed/aligned_50.pkl, with transcripts and BERT",
        "mmsa-unaligned": "MOSI/Processed/unaligned_50.pkl, with transcripts and BERT",
    }
    layouts: ClassVar[Mapping[str, Layout]] = {
        "mult-aligned": Layout(("mosi_data.pkl", "seq_length_50/mosi_data.pkl"), "front", True, GLOVE),
        "mult-noalign": Layout(("mosi_data_noalign.pkl", "seq_length_50/mosi_data_noalign.pkl"), "front", False, GLOVE),
        "multibench": Layout(("mosi_raw.pkl",), "front", True, RAW, text_decides=True),
        "mmsa-aligned": Layout(
            ("MOSI/Processed/aligned_50.pkl", "Processed/aligned_50.pkl", "aligned_50.pkl"), "end", True, BERT
        ),
        "mmsa-unaligned": Layout(
            ("MOSI/Processed/unaligned_50.pkl", "Processed/unaligned_50.pkl", "unaligned_50.pkl"), "end", False, BERT
        ),
    }
    known_sums: ClassVar[Mapping[str, str]] = {  # README of github.com/thuiar/MMSA, January 2025
        "MOSI/Processed/aligned_50.pkl": "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9",
        "MOSI/Processed/unaligned_50.pkl": "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524",
    }
