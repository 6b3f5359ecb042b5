"""The recipe reference of the documentation, generated from the schema and from the adapters' signatures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast, get_args, get_origin

from pydantic.fields import FieldInfo

from adaptkit.recipe.adapter import AdapterSpec
from adaptkit.recipe.fusion import FusionSpec
from adaptkit.recipe.schema import Recipe
from adaptkit.recipe.shape import tables_of, tag_of
from adaptkit.recipe.signatures import AdapterSignature, Signature, adapter_signatures, fusion_signatures
from adaptkit.recipe.table import Table
from adaptkit.recipe.words import in_toml, in_words

_INTRODUCTION = """\
# Recipe reference

<!-- Generated from the schema by adaptkit.recipe.reference; edit the descriptions there. -->

A recipe is a TOML file. Unknown keys are errors, and all errors are told at once, each with its file and
line. Paths are relative to the recipe file.

- `extends = "base.toml"` starts from another recipe (a file relative to this one, or a bundled name). Tables
  are laid over each other key by key; a table whose `kind`, `format` or `name` changes is replaced whole.
- `--set train.epochs=5` on the command line changes one key. The value is TOML; a bare word is text.
- `adaptkit schema` prints this as JSON schema for a TOML editor.
- Names of modalities, adapters and tasks have letters, digits and `_`.
"""

_HEADER = "| key | value | default | meaning |\n|---|---|---|---|"


def reference_markdown() -> str:
    """The whole reference as Markdown: one section per table, one row per key."""
    plain = {name: field for name, field in _fields(Recipe).items() if not _tables_under(field)}
    parts = [_INTRODUCTION, "## Recipe\n", f"{_summary(Recipe)}\n", _rows(plain)]
    for name, field in Recipe.model_fields.items():
        tables = _tables_under(field)
        if tables:
            header = f"[{name}.NAME]" if get_origin(field.annotation) is dict else f"[{name}]"
            parts += [f"## `{header}`\n", f"{field.description}\n"]
            parts += _kinds(tables) if len(tables) > 1 else _keys(_fields(tables[0]))
        if AdapterSpec in tables:
            parts += [part for signature in adapter_signatures().values() for part in _adapter(signature)]
        if FusionSpec in tables:
            parts += [part for signature in fusion_signatures().values() for part in _fusion(signature)]
    return "\n".join(parts).rstrip() + "\n"


def _tables_under(field: FieldInfo) -> list[type[Table]]:
    """The classes of a table, or of the entries of a table of tables."""
    named = get_origin(field.annotation) is dict
    return tables_of(get_args(field.annotation)[1] if named else field.annotation)


def _kinds(tables: Sequence[type[Table]]) -> Iterator[str]:
    """The keys that all kinds have, then the keys of each."""
    shared = _fields(cast(type[Table], tables[0].__base__))
    yield from _keys(shared)
    for table in tables:
        key, tag = tag_of(table)
        own = {name: field for name, field in _fields(table).items() if name not in shared}
        yield f"### `{key} = {in_toml(tag)}`\n"
        yield f"{_summary(table)}\n"
        yield from _keys(own)


def _keys(fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    """The rows of a table, then those of the tables nested in it."""
    if fields:
        yield _rows(fields)
    for name, field in fields.items():
        for nested in tables_of(field.annotation):
            yield f"`{name} = {{ ... }}`: {_summary(nested)[0].lower()}{_summary(nested)[1:]}\n"
            yield _rows(_fields(nested))


def _fields(table: type[Table]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in table.model_fields.items() if name != "options"}


def _summary(table: type[Table]) -> str:
    return (table.__doc__ or "").partition("\n")[0]


def _rows(fields: Mapping[str, FieldInfo]) -> str:
    return "\n".join([_HEADER, *(_row(name, field) for name, field in fields.items())]) + "\n"


def _row(key: str, field: FieldInfo) -> str:
    value = "a table, see below" if tables_of(field.annotation) else in_words(field.annotation)
    if field.is_required():
        default = "required"
    elif field.default is None or isinstance(field.default, Table):
        default = ""
    else:
        default = _code(field.default)
    return _cells(f"`{key}`", value, default, field.description or "")


def _adapter(signature: AdapterSignature) -> Iterator[str]:
    least, most = signature.needs_sides
    sides = "none" if most == 0 else f"{least} or more" if most is None else f"{least} to {most}"
    yield f'### `kind = "{signature.kind}"`\n'
    yield f"{signature.doc_first_line}\n"
    merge = "can be merged into its host's weight" if signature.mergeable else "cannot be merged"
    yield f"Sides: {sides}; {merge}. Parameters: {signature.formula}. Source: {signature.paper}.\n"
    yield _keyword_rows(signature)


def _fusion(signature: Signature) -> Iterator[str]:
    yield f'### `[fusion] kind = "{signature.kind}"`\n'
    yield f"{signature.doc_first_line}\n"
    yield f"Parameters: {signature.formula}. Source: {signature.paper}.\n"
    yield _keyword_rows(signature)


def _keyword_rows(signature: Signature) -> str:
    rows = [
        _cells(
            f"`{name}`",
            in_words(parameter.type),
            "required" if parameter.required else "" if parameter.default is None else _code(parameter.default),
            parameter.doc,
        )
        for name, parameter in signature.parameters.items()
    ]
    return "\n".join([_HEADER, *rows]) + "\n"


def _code(value: Any) -> str:
    return f"`{in_toml(value)}`"


def _cells(*texts: str) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in texts) + " |"
