"""The data formats: one file each, registered by being imported here."""

from __future__ import annotations

from adaptkit.data.formats import csv_files, digit_questions, hf, jsonl, parquet, stores
from adaptkit.data.formats.format import FORMATS, Column, Format, Row, Rows, Table

__all__ = [
    "FORMATS",
    "Column",
    "Format",
    "Row",
    "Rows",
    "Table",
    "csv_files",
    "digit_questions",
    "hf",
    "jsonl",
    "parquet",
    "stores",
]
