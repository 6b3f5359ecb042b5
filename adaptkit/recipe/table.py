"""What every table of a recipe is: frozen, strict, without unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

# Names of modalities, adapters and tasks: usable as a Python name, a module name and a dotted key.
NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"


class Table(BaseModel):
    """One table of a recipe. Strict: "3" is not 3, 1.0 is not 1; an integer may stand for a float."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_default=True)
