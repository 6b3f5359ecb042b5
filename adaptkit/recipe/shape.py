"""Which keys may stand where in a recipe, each with an example of its value: what error messages offer."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from adaptkit.kinds import table_of
from adaptkit.recipe.kinded import OfKind, of_kind
from adaptkit.recipe.table import Table, Written, WrittenRecipe

_EXAMPLES: dict[Any, Any] = {int: 1, float: 0.1, str: "...", bool: True}


def keys_at(root: type[Table], document: Mapping[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    """The keys of the table at this path -> an example of their value; empty where names are free."""
    table = table_at(root, document, path)
    if table is None:
        return {}
    return {field.alias or name: example_of(field) for name, field in table.model_fields.items()}


def table_at(root: type[Table], document: Mapping[str, Any], path: tuple[Any, ...]) -> type[Table] | None:
    """The class of the table at this path; None where there is none. Of an unknown kind, what all kinds have."""
    found = _field_at(root, document, path)
    return None if found is None else table_of_value(*found)


def kinds_with(
    root: type[Table], document: Mapping[str, Any], path: tuple[Any, ...], key: str
) -> tuple[str, list[str]]:
    """("kind", names) of the other kinds that the table at this path could have, of those that have this key."""
    kinded = kinded_at(root, document, path)
    if kinded is None:
        return "", []
    base, marker = kinded
    return marker.tag, [kind.name for kind, table in marker.tables(base) if key in table.model_fields]


def kinded_at(
    root: type[Table], document: Mapping[str, Any], path: tuple[Any, ...]
) -> tuple[type[Table], OfKind] | None:
    """The base table and marker of the table at this path, where a kind chooses what may stand in it."""
    found = _field_at(root, document, path)
    return of_kind(found[0]) if found else None


def _field_at(root: Any, document: Any, path: tuple[Any, ...]) -> tuple[Any, Any] | None:
    """(annotation, value) of the table at this path; None where there is no table."""
    here, value = root, document
    for key in path:
        entries = _entries(here)
        table = None if entries is not None else table_of_value(here, value)
        value = _value(value, key)
        if entries is not None:
            here = entries
        elif table is not None:
            here = next((field for name, field in table.model_fields.items() if key == (field.alias or name)), None)
        else:
            return None
    return None if here is None or _entries(here) is not None else (here, value)


def written_recipe(document: Mapping[str, Any], root: type[Table]) -> WrittenRecipe:
    """All tables of a recipe, each with its class. One of an unknown kind has the keys that all kinds have."""
    return WrittenRecipe(document, dict(_tables(root, document, ())))


def _tables(table: type[Table], raw: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[Any, Written]]:
    yield path, Written(raw, table)
    for name, field in table.model_fields.items():
        key = field.alias or name
        for below, annotation, value in values_of_named(field, raw.get(key)):
            found = table_of_value(annotation, value)
            if found is not None and isinstance(value, Mapping):
                yield from _tables(found, value, (*path, key, *below))


def values_of_named(field: FieldInfo, value: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """(path below the field, annotation, value) of a table, or of every table of named ones."""
    entries = _entries(field)
    if entries is None:
        yield (), field, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield (name,), entries, item


def table_of_value(annotation: Any, value: Any) -> type[Table] | None:
    """The table class that a value must have: that of its kind, or the only one there is."""
    kinded = of_kind(annotation)
    if kinded is not None:
        base, marker = kinded
        kind = marker.kind(base, value if value is not None else {})
        return base if kind is None else table_of(kind, base, marker.tag)
    tables = plain_tables(annotation.annotation if isinstance(annotation, FieldInfo) else annotation)
    return tables[0] if tables else None


def plain_tables(annotation: Any) -> list[type[Table]]:
    """The table classes an annotation allows, in order."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return [annotation]
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        return plain_tables(get_args(annotation)[0])
    if origin in (types.UnionType, typing.Union):
        return [table for part in get_args(annotation) for table in plain_tables(part)]
    return []


def kinded_entries(field: FieldInfo) -> tuple[type[Table], OfKind] | None:
    """The base table and marker of a field whose table, or whose named tables, are of kinds."""
    entries = _entries(field)
    return of_kind(field if entries is None else entries)


def example_of(field: FieldInfo) -> Any:
    """A value of the field: its example, its default, or anything of its type."""
    if field.examples:
        return field.examples[0]
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if default is not None:
        return default.model_dump(exclude_none=True) if isinstance(default, Table) else default
    return _example_of_type(field.annotation)


def _example_of_type(annotation: Any) -> Any:
    if annotation in _EXAMPLES:
        return _EXAMPLES[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is typing.Literal:
        return args[0]
    if origin in (types.UnionType, typing.Union, typing.Annotated):
        return _example_of_type(args[0])
    if origin in (list, tuple):
        return [_example_of_type(args[0])]
    return None


def _entries(field: Any) -> Any:
    """The annotation of named tables, `dict[str, ...]` of tables; None for other fields."""
    annotation = field.annotation if isinstance(field, FieldInfo) else field
    if get_origin(annotation) is not dict:
        return None
    inner = get_args(annotation)[1]
    return inner if of_kind(inner) or plain_tables(inner) else None


def _value(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get(key)
    return value[key] if isinstance(value, list) and isinstance(key, int) and key < len(value) else None
