"""The data formats: one file each, registered by being imported here."""

from __future__ import annotations

from adaptkit.data.formats import csv_files, digit_questions, hf, jsonl, parquet, stores
from adaptkit.data.formats.format import FORMATS, Column, Format, Row, Rows, SplitRows

__all__ = [
    "FORMATS",
    "Column",
    "Format",
    "Row",
    "Rows",
    "SplitRows",
    "csv_files",
    "digit_questions",
    "hf",
    "jsonl",
    "parquet",
    "stores",
]
