"""A table whose `kind` (or `format`, or `name`) chooses what else may stand in it."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from adaptkit.kinds import Kind, Kinds, table_of
from adaptkit.recipe.table import Table


@dataclass(frozen=True, slots=True, eq=False)
class OfKind:
    """Annotates a field that holds the table of one kind: `Annotated[AdapterTable, OfKind(ADAPTERS)]`.

    Attributes:
        kinds: what it can name.
        tag: the key that names it.
        short: a bare word is short for a table with nothing else in it: `encoder = "rows"`.
        open: names that are no kind are fine; the base table knows what to do with them.
        having: only kinds with this word in this fact: ("modality", "image").
        besides: kinds that cannot be named here, such as the one whose own table this is.
    """

    kinds: Kinds[Any]
    tag: str = "kind"
    short: bool = False
    open: bool = False
    having: tuple[str, str] | None = None
    besides: tuple[str, ...] = ()

    def kind(self, base: type[Table], written: Any) -> Kind | None:
        """The kind that a table as written names; None where it names none that there is."""
        name = written if self.short and isinstance(written, str) else None
        if isinstance(written, Mapping):
            field = base.model_fields[self.tag]
            name = written.get(self.tag, None if field.is_required() else field.default)
        return self.kinds.kinds.get(name) if isinstance(name, str) else None

    def fits(self, kind: Kind) -> bool:
        """Whether the kind has what kinds here must have."""
        known = self.having is None or self.having[1] in kind.facts.get(self.having[0], ())
        return known and kind.name not in self.besides

    def names(self) -> list[str]:
        """The kinds that can be named here."""
        return [kind.name for kind in self.kinds.kinds.values() if self.fits(kind)]

    def tables(self, base: type[Table]) -> Iterator[tuple[Kind, type[Table]]]:
        """Every kind with its table."""
        for kind in self.kinds.kinds.values():
            if self.fits(kind):
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
            if kind is not None and not self.fits(kind):
                raise self._unfit()
            table = {self.tag: value} if isinstance(value, str) else value
            return (table_of(kind, base, self.tag) if kind else base).model_validate(table)

        def dump(value: Table | None) -> Any:
            if value is None:
                return None
            table = value.model_dump()
            written = value.model_dump(exclude_defaults=True)
            return table[self.tag] if self.short and written.keys() <= {self.tag} else table

        shown = core_schema.plain_serializer_function_ser_schema(dump)
        return core_schema.no_info_plain_validator_function(
            validate, serialization=shown, metadata={"base": base}, json_schema_input_schema=core_schema.any_schema()
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        base: type[Table] = schema["metadata"]["base"]  # type: ignore[typeddict-item]
        made = [table for _, table in self.tables(base)] + ([base] if self.open else [])
        choices = [handler(table.__pydantic_core_schema__) for table in made]
        words = [{"enum": self.names()}] if self.short else []
        return {"oneOf": [*words, *choices]}

    def _unfit(self) -> PydanticCustomError:
        words = {"noun": self.kinds.noun, "known": ", ".join(self.names()) or "there is none"}
        if self.having is None:
            return PydanticCustomError("kind_unfit", "should be another {noun} ({known})", words)
        of = {**words, "of": self.having[1]}
        return PydanticCustomError("kind_unfit", "should be one of the {noun}s of {of} ({known})", of)

    def _unknown(self, base: type[Table], written: Any) -> PydanticCustomError:
        context = {"known": self.names(), "noun": self.kinds.noun, "tag": self.tag}
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
        if marker is not None:
            return _table_in(annotation.annotation), marker
        annotation = annotation.annotation
    if get_origin(annotation) in (types.UnionType, typing.Union):  # `Annotated[EncoderSpec, OfKind(...)] | None`
        return next((found for part in get_args(annotation) if (found := of_kind(part))), None)
    parts = get_args(annotation)
    marker = next((item for item in parts if isinstance(item, OfKind)), None)
    return None if marker is None else (parts[0], marker)


def _table_in(annotation: Any) -> type[Table]:
    """`Head | None` -> Head."""
    if isinstance(annotation, type):
        return annotation
    return next(part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, Table))
