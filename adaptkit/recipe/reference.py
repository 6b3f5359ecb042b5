"""The recipe reference of the documentation, generated from the tables of all kinds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_origin

from annotated_types import Interval
from pydantic.fields import FieldInfo

from adaptkit.kinds import Kind
from adaptkit.kinds.words import in_toml, in_words
from adaptkit.recipe.kinded import OfKind, of_kind
from adaptkit.recipe.schema import Recipe
from adaptkit.recipe.shape import kinded_entries, plain_tables
from adaptkit.recipe.table import Table

_INTRODUCTION = """\
# Recipe reference

<!-- Generated from the schema by adaptkit.recipe.reference; edit the descriptions there. -->

A recipe is a TOML file. Unknown keys are errors, and all errors are told at once, each with its file and
line. Paths are relative to the recipe file.

- `extends = "base.toml"` starts from another recipe (a file relative to this one, or a bundled name). Tables
  are laid over each other key by key.
- `--set train.epochs=5` on the command line changes one key. The value is TOML; a bare word is text.
- Where either changes the `kind`, `format` or `name` of a table, the keys that only the old kind has go; those that all
  kinds share (`at`, `sides`, `route`, `lr`, ...) stay.
- `adaptkit schema` prints this as JSON schema for a TOML editor.
- `plugins = ["film.py"]` brings your own kinds (a file relative to this one, or a module); see extending.md.
- Names of modalities, adapters and tasks have letters, digits and `_`.
"""

_HEADER = "| key | value | default | meaning |\n|---|---|---|---|"


def reference_markdown() -> str:
    """The whole reference as Markdown: one section per table, one row per key."""
    plain = {name: field for name, field in _fields(Recipe).items() if not _is_table(field)}
    parts = [_INTRODUCTION, "## Recipe\n", f"{_summary(Recipe)}\n", _rows(plain)]
    for name, field in Recipe.model_fields.items():
        if not _is_table(field):
            continue
        header = f"[{name}.NAME]" if get_origin(field.annotation) is dict else f"[{name}]"
        parts += [f"## `{header}`\n", f"{field.description}\n"]
        kinded = kinded_entries(field)
        parts += _kinds(header, *kinded) if kinded else _keys(_fields(plain_tables(field.annotation)[0]))
    return "\n".join(parts).rstrip() + "\n"


def _is_table(field: FieldInfo) -> bool:
    return kinded_entries(field) is not None or bool(plain_tables(field.annotation))


def _kinds(header: str, base: type[Table], marker: OfKind) -> Iterator[str]:
    """The keys that all kinds have, then the keys of each."""
    shared = _fields(base)
    yield from _keys(shared)
    for kind, table in marker.tables(base):
        own = {name: field for name, field in _fields(table).items() if name not in shared}
        prefix = "" if header.endswith("NAME]") or marker.tag != "kind" else f"{header} "
        yield f"### `{prefix}{marker.tag} = {in_toml(kind.name)}`\n"
        yield f"{_summary(table) if kind.table else kind.summary}\n"
        yield from _said(kind)
        yield from _keys(own, always=not kind.table)


def _said(kind: Kind) -> Iterator[str]:
    """What a class declares of its method: sides, merging, size, source."""
    facts = kind.facts
    if not facts.get("paper"):
        return
    said = [f"Parameters: {facts['formula']}. Source: {facts['paper']}."]
    if "needs_sides" in facts:
        least, most = facts["needs_sides"]
        sides = "none" if most == 0 else f"{least} or more" if most is None else f"{least} to {most}"
        merge = "can be merged into its host's weight" if facts["mergeable"] else "cannot be merged"
        said = [f"Sides: {sides}; {merge}.", *said]
    yield f"{' '.join(said)}\n"


def _keys(fields: Mapping[str, FieldInfo], *, always: bool = False) -> Iterator[str]:
    """The rows of a table, then those of the tables nested in it."""
    if fields or always:
        yield _rows(fields)
    for name, field in fields.items():
        kinded = of_kind(field)
        if kinded is not None:
            yield from _nested_kinds(name, *kinded)
        for nested in () if kinded else plain_tables(field.annotation):
            yield f"`{name} = {{ ... }}`: {_lowered(_summary(nested))}\n"
            yield _rows(_fields(nested))


def _nested_kinds(name: str, base: type[Table], marker: OfKind) -> Iterator[str]:
    yield f"`{name} = {{ ... }}`: {_lowered(_summary(base))}\n"
    yield _rows(_fields(base))
    for kind, table in marker.tables(base):
        own = {key: field for key, field in _fields(table).items() if key not in base.model_fields}
        yield f"With `{marker.tag} = {in_toml(kind.name)}`: {_lowered(kind.summary)}\n"
        if own:
            yield _rows(own)


def _lowered(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"


def _fields(table: type[Table]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in table.model_fields.items()}


def _summary(table: type[Table]) -> str:
    return (table.__doc__ or "").partition("\n")[0]


def _rows(fields: Mapping[str, FieldInfo]) -> str:
    return "\n".join([_HEADER, *(_row(name, field) for name, field in fields.items())]) + "\n"


def _row(key: str, field: FieldInfo) -> str:
    value = "a table, see below" if _is_table(field) else in_words(_whole_type(field), bounds=True)
    if field.is_required():
        default = "required"
    elif field.default is None or field.default_factory is not None or isinstance(field.default, Table):
        default = ""
    else:
        default = f"`{in_toml(field.default)}`"
    return _cells(f"`{key}`", value, default, field.description or "")


def _whole_type(field: FieldInfo) -> Any:
    """Its annotation with the bounds that pydantic keeps apart."""
    bounds = [item for item in field.metadata if isinstance(item, Interval)]
    return Annotated[field.annotation, *bounds] if bounds else field.annotation


def _cells(*texts: Any) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in texts) + " |"
