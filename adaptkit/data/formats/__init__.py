"""The data formats: one file each, registered by being imported here."""

from __future__ import annotations

from adaptkit.data.formats import digit_questions, jsonl
from adaptkit.data.formats.format import FORMATS, Column, Format, Row, Table

__all__ = ["FORMATS", "Column", "Format", "Row", "Table", "digit_questions", "jsonl"]
