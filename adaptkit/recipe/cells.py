"""What the cells of a column may hold: declared by the modality that reads them, obeyed by every format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class CellForm:
    """What one cell of a column may be.

    Attributes:
        holds: "text"; a "file", given as its path, its bytes, or the array in it; a "value" of any type; or a "target".
        folders: a path may be that of a folder.
        keys: a path may name one of the arrays in the file, FILE::KEY.
        mappings: a mapping is a value; otherwise it is Hugging Face's form of a file, {"bytes": ..., "path": ...}.
    """

    holds: Literal["text", "file", "value", "target"] = "value"
    folders: bool = False
    keys: bool = False
    mappings: bool = False


TEXT, FILE, VALUE, TARGET = CellForm("text"), CellForm("file"), CellForm("value"), CellForm("target")
ARRAY = CellForm("file", keys=True)
CONVERSATION = "messages"  # the column that a conversation is in, unless a recipe says so
