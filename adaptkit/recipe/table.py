"""What every table of a recipe is: frozen, strict, without unknown keys, with checks of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from adaptkit.recipe.places import Finding, Path

# Names of modalities, adapters and tasks: usable as a Python name, a module name and a dotted key.
NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"


class Table(BaseModel):
    """One table of a recipe. Strict: "3" is not 3, 1.0 is not 1; an integer may stand for a float."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        """In what its keys contradict each other or the rest of the recipe.

        It reads the recipe as it was written, before its types are known to be right, so that all mistakes can be told
        at once. Where a value has the wrong type it stays silent: that mistake is told already.

        Args:
            path: of this table.
            table: its keys, with the defaults of those that are not written.
            recipe: all tables.
        """
        yield from ()


@dataclass(frozen=True, slots=True)
class IsPath:
    """Marks a key whose text is a path relative to the recipe file, so that `extends` can move it.

    Attributes:
        dotted: only where it begins with a dot; a model may as well be a name.
        absent: what a table without the key means; None where it means nothing.
    """

    dotted: bool = False
    absent: str | None = None

    def is_name(self, text: object) -> bool:
        """Whether the text is no path but a name."""
        return self.dotted and not str(text).startswith(".") and not str(text).endswith(".py")


class Written(Mapping[str, Any]):
    """The keys of one table: what is written, else the default, else None."""

    def __init__(self, raw: Mapping[str, Any], table: type[Table]) -> None:
        self.raw, self.table = raw, table

    def __getitem__(self, key: str) -> Any:
        if key in self.raw:
            return self.raw[key]
        field = self.table.model_fields[key]
        return None if field.is_required() else _plain(field.get_default(call_default_factory=True))

    def __contains__(self, key: object) -> bool:
        return key in self.raw or key in self.table.model_fields

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.table.model_fields, *self.raw)))

    def __len__(self) -> int:
        return len([*iter(self)])

    def words(self, key: str) -> list[str]:
        """A list of strings; empty where it is something else."""
        value = self.get(key)
        return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []

    def differs(self, key: str) -> bool:
        """Whether the recipe says something else than the default (which a resolved recipe writes out)."""
        value, default = self[key], Written({}, self.table)[key]
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            return any(value.get(name, other) != other for name, other in default.items())
        return value != default

    def is_written(self, key: str) -> bool:
        """Whether the recipe itself says it."""
        return self.raw.get(key) is not None


@dataclass(frozen=True, slots=True)
class WrittenRecipe:
    """All tables of a recipe as they were written.

    Attributes:
        document: as TOML gives it.
        tables: path -> table.
    """

    document: Mapping[str, Any]
    tables: Mapping[tuple[str, ...], Written]

    def named(self, key: str) -> dict[str, Written]:
        """The tables [key.NAME], by name."""
        return {path[1]: table for path, table in self.tables.items() if len(path) == 2 and path[0] == key}

    def at(self, key: str) -> Written:
        """The table [key]; an empty one where there is none."""
        return self.tables.get((key,)) or Written({}, Table)

    @property
    def modalities(self) -> dict[str, Written]:
        return self.named("modality")

    @property
    def adapters(self) -> dict[str, Written]:
        return self.named("adapter")

    @property
    def tasks(self) -> dict[str, Written]:
        return self.named("task")


def _plain(default: Any) -> Any:
    return default.model_dump() if isinstance(default, Table) else default
