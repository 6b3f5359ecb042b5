"""Which keys may stand where in a recipe, each with an example of its value: what error messages offer."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from adaptkit.recipe.keyword_table import KeywordTable
from adaptkit.recipe.schema import Recipe
from adaptkit.recipe.table import Table

_EXAMPLES: dict[Any, Any] = {int: 1, float: 0.1, str: "...", bool: True}


def keys_at(document: Mapping[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    """The keys of the table at this path -> an example of their value; empty where names are free."""
    table = table_at(document, path)
    if table is None:
        return {}
    examples = {
        field.alias or name: example_of(field) for name, field in table.model_fields.items() if name != "options"
    }
    if issubclass(table, KeywordTable):
        default = None if table.model_fields["kind"].is_required() else table.model_fields["kind"].default
        kind = _value_at(document, (*path, "kind")) or default
        signature = table.signatures().get(kind) if isinstance(kind, str) else None
        for name, parameter in signature.parameters.items() if signature else ():
            examples[name] = _example_of_type(parameter.type) if parameter.required else parameter.default
    return examples


def table_at(document: Mapping[str, Any], path: tuple[Any, ...]) -> type[Table] | None:
    """The class of the table at this path; None where there is none, or its kind is not known."""
    annotation: Any = Recipe
    for depth, key in enumerate(path):
        annotation = _inner(annotation, key)
        annotation = _chosen(annotation, _value_at(document, path[: depth + 1]))
    return annotation if isinstance(annotation, type) and issubclass(annotation, Table) else None


def tables_of(annotation: Any) -> list[type[Table]]:
    """The table classes an annotation allows, in order."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return [annotation]
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        return tables_of(get_args(annotation)[0])
    if origin in (types.UnionType, typing.Union):
        return [table for part in get_args(annotation) for table in tables_of(part)]
    return []


def tag_of(table: type[Table]) -> tuple[str, Any]:
    """("kind", "text") of a class that its `kind` (or `format`) tells from its siblings."""
    key = "format" if "format" in table.model_fields else "kind"
    return key, get_args(table.model_fields[key].annotation)[0]


def example_of(field: FieldInfo) -> Any:
    """A value of the field: its example, its default, or anything of its type."""
    if field.examples:
        return field.examples[0]
    if not field.is_required() and field.default is not None:
        default = field.default
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


def _inner(annotation: Any, key: Any) -> Any:
    """The annotation of a key of a table, or of the entries of a dict."""
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    if isinstance(annotation, type) and issubclass(annotation, Table):
        for name, field in annotation.model_fields.items():
            if key == (field.alias or name):
                return field.annotation
    return None


def _chosen(annotation: Any, value: Any) -> Any:
    """Out of several table classes the one whose tag the value bears."""
    tables = tables_of(annotation)
    if not tables:
        return annotation
    if len(tables) == 1:
        return tables[0]
    for table in tables:
        key, tag = tag_of(table)
        if isinstance(value, Mapping) and value.get(key) == tag:
            return table
    return None


def _value_at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        if isinstance(document, Mapping):
            document = document.get(key)
        elif isinstance(document, list) and isinstance(key, int) and key < len(document):
            document = document[key]
        else:
            return None
    return document
