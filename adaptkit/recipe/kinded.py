"""A table whose `kind` (or `format`, or `name`) chooses what else may stand in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from adaptkit.kinds import Kind, Kinds, table_of
from adaptkit.recipe.table import Table


@dataclass(frozen=True, slots=True)
class OfKind:
    """Annotates a field that holds the table of one kind: `Annotated[AdapterTable, OfKind(ADAPTERS)]`.

    Attributes:
        kinds: what it can name.
        tag: the key that names it.
        short: a bare word is short for a table with nothing else in it: `encoder = "rows"`.
        open: names that are no kind are fine; the base table knows what to do with them.
    """

    kinds: Kinds[Any]
    tag: str = "kind"
    short: bool = False
    open: bool = False

    def kind(self, base: type[Table], written: Any) -> Kind | None:
        """The kind that a table as written names; None where it names none that there is."""
        name = written if self.short and isinstance(written, str) else None
        if isinstance(written, Mapping):
            field = base.model_fields[self.tag]
            name = written.get(self.tag, None if field.is_required() else field.default)
        return self.kinds.kinds.get(name) if isinstance(name, str) else None

    def tables(self, base: type[Table]) -> Iterator[tuple[Kind, type[Table]]]:
        """Every kind with its table."""
        for kind in self.kinds.kinds.values():
            yield kind, table_of(kind, base, self.tag)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        base = _table_in(source)
        optional = base is not source  # `LossSpec | None`

        def validate(value: Any) -> Table | None:
            if value is None and optional:
                return None
            if isinstance(value, base):
                kind = self.kind(base, {self.tag: getattr(value, self.tag)})
                if type(value) is (table_of(kind, base, self.tag) if kind else base if self.open else None):
                    return value
                value = value.model_dump()  # a default that names its kind only, or a table made in Python
            if not isinstance(value, Mapping) and not (self.short and isinstance(value, str)):
                raise PydanticCustomError("table", "should be a table")
            kind = self.kind(base, value)
            if kind is None and not self.open:
                raise self._unknown(base, value)
            table = {self.tag: value} if isinstance(value, str) else value
            return (table_of(kind, base, self.tag) if kind else base).model_validate(table)

        def dump(value: Table | None) -> Any:
            if value is None:
                return None
            table = value.model_dump()
            return table[self.tag] if self.short and value == type(value)(**{self.tag: table[self.tag]}) else table

        shown = core_schema.plain_serializer_function_ser_schema(dump)
        return core_schema.no_info_plain_validator_function(
            validate, serialization=shown, metadata={"base": base}, json_schema_input_schema=core_schema.any_schema()
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        base: type[Table] = schema["metadata"]["base"]  # type: ignore[typeddict-item]
        choices = [handler(table.__pydantic_core_schema__) for _, table in self.tables(base)]
        words = [{"enum": [*self.kinds.kinds]}] if self.short else []
        return {"oneOf": [*words, *choices]}

    def _unknown(self, base: type[Table], written: Any) -> PydanticCustomError:
        context = {"known": [*self.kinds.kinds], "noun": self.kinds.noun, "tag": self.tag}
        if isinstance(written, Mapping) and self.tag not in written:
            return PydanticCustomError("kind_missing", "names no kind", context)
        name = written if isinstance(written, str) else written[self.tag]
        if not isinstance(name, str):
            return PydanticCustomError("kind_type", "should be text in quotes", {**context, "name": name})
        return PydanticCustomError("kind_unknown", "unknown kind", {**context, "name": name})


def of_kind(annotation: Any) -> tuple[type[Table], OfKind] | None:
    """The base table and the marker of a field, or of an annotation such as the values of a dict; None for others."""
    if isinstance(annotation, FieldInfo):
        marker = next((item for item in annotation.metadata if isinstance(item, OfKind)), None)
        return None if marker is None else (_table_in(annotation.annotation), marker)
    parts = get_args(annotation)
    marker = next((item for item in parts if isinstance(item, OfKind)), None)
    return None if marker is None else (parts[0], marker)


def _table_in(annotation: Any) -> type[Table]:
    """`Head | None` -> Head."""
    if isinstance(annotation, type):
        return annotation
    return next(part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, Table))
