"""A recipe while it is read: its tables so far, and where each key was written."""

from __future__ import annotations

import copy
import functools
import operator
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptkit.errors import UsageError
from adaptkit.recipe.locate import read_key
from adaptkit.recipe.places import Finding, Places
from adaptkit.recipe.schema import Recipe
from adaptkit.recipe.shape import kinded_at, written_recipe
from adaptkit.recipe.table import IsPath, Table


@dataclass(frozen=True, slots=True)
class Draft:
    """Tables as TOML gives them, where each key stands, and what is wrong already."""

    document: Mapping[str, Any]
    places: Places
    findings: tuple[Finding, ...] = ()

    def over(self, below: Draft) -> Draft:
        """This draft's keys laid over another one's. Where it changes a kind, the keys of the old one go."""
        replaced: list[tuple[str, ...]] = []
        document = _merged(below.document, self.document, (), replaced, below.document)
        own, others = self.document.get("plugins"), below.document.get("plugins")
        if isinstance(own, list) and isinstance(others, list):  # each file brings its own
            document["plugins"] = [*others, *(name for name in own if name not in others)]
        kept = {key: place for key, place in below.places.items() if not any(key[: len(r)] == r for r in replaced)}
        return Draft(document, Places(kept | self.places), below.findings + self.findings)

    def rebased(self, old: Path, new: Path) -> Draft:
        """The same, with the relative paths of a file in `old` written as seen from `new`."""
        if old.resolve() == new.resolve():
            return self
        document = copy.deepcopy(dict(self.document))
        for path, written in written_recipe(document, Recipe).tables.items():
            table: Any = functools.reduce(operator.getitem, path, document)
            if isinstance(table, dict):
                table.update(_moved_paths(table, written.table, old, new))
        return Draft(document, self.places, self.findings)

    def with_sets(self, texts: Sequence[str]) -> Draft:
        """With every `--set`, in order. Where one changes a kind, the keys that the file wrote for the old one go.

        Raises:
            UsageError: one is not KEY=VALUE.
        """
        draft = self
        for text in texts:
            draft = draft.with_set(text)
        if draft is self:
            return self
        document = copy.deepcopy(dict(draft.document))
        for path, written in written_recipe(self.document, Recipe).tables.items():
            table = _at(document, path)
            if path and isinstance(table, dict):
                for key in _of_old_kind(self.document, path, written.raw, table):
                    if not draft.places.of((*path, key)).startswith("--set"):
                        table.pop(key, None)
        return Draft(document, draft.places, draft.findings)

    def with_set(self, text: str) -> Draft:
        """With one `--set a.b.c=value`.

        Raises:
            UsageError: it is not written so.
        """
        key, value = parse_set(text)
        place = f"--set {text}"
        document = dict(self.document)
        table = document
        for depth, part in enumerate(key[:-1]):
            inner = table.get(part, {})
            if not isinstance(inner, dict):
                here = key[: depth + 1]
                finding = Finding(here, "is no table, so it has no keys.", "Set the whole value.")
                return Draft(self.document, Places(self.places | {here: place}), (*self.findings, finding))
            table[part] = dict(inner)
            table = table[part]
        table[key[-1]] = value
        around = {key[:length]: place for length in range(1, len(key))}
        kept = {old: its for old, its in self.places.items() if old[: len(key)] != key}
        return Draft(document, Places(around | kept | {key: place}), self.findings)


def _moved_paths(table: Mapping[str, Any], kind: type[Table], old: Path, new: Path) -> Iterator[tuple[str, Any]]:
    """The keys of one table that are paths, as seen from another folder."""
    for name, field in kind.model_fields.items():
        mark = next((mark for mark in field.metadata if isinstance(mark, IsPath)), None)
        if mark is None or (name not in table and mark.absent is None):
            continue
        value = table.get(name, mark.absent)
        each = value if isinstance(value, list) else [value]
        moved = [path if mark.is_name(path) else _seen_from(path, old, new) for path in each]
        yield name, moved if isinstance(value, list) else moved[0]


def _seen_from(path: Any, old: Path, new: Path) -> Any:
    """A relative path of the folder `old` as seen from `new`; anything else stays as it is."""
    if not isinstance(path, str) or Path(path).expanduser().is_absolute():
        return path
    moved = Path(os.path.relpath(old / path, new)).as_posix()
    return moved if moved.startswith(".") else f"./{moved}"


def _merged(
    below: Mapping[str, Any],
    above: Mapping[str, Any],
    path: tuple[str, ...],
    replaced: list[tuple[str, ...]],
    root: Mapping[str, Any],
) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old, here = below.get(key), (*path, key)
        if isinstance(old, dict) and isinstance(value, dict):
            gone = _of_old_kind(root, here, old, value)
            replaced += [(*here, own) for own in gone]
            kept = {own: item for own, item in old.items() if own not in gone}
            merged[key] = _merged(kept, value, here, replaced, root)
        else:
            merged[key] = value
            replaced.append(here)
    return merged


def _of_old_kind(
    root: Mapping[str, Any], path: tuple[str, ...], old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[str]:
    """The keys of a table that belong to its kind alone, where the new one names another kind; else none."""
    kinded = kinded_at(Recipe, root, path)
    if kinded is None:
        return []
    base, marker = kinded
    named = base.model_fields[marker.tag].default
    if marker.tag not in new or new[marker.tag] == old.get(marker.tag, named):
        return []
    return [key for key in old if key not in base.model_fields]


def _at(document: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What stands at a path; None where a part of it is no table, or absent."""
    found: Any = document
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def parse_set(text: str) -> tuple[tuple[str, ...], Any]:
    """`a.b.c=value` -> (("a", "b", "c"), value). A value that is no TOML but a bare word is text.

    Raises:
        UsageError: there is no key, no "=", or a value that is neither.
    """
    try:
        key, position = read_key(text, 0)
    except ValueError:
        key, position = (), 0
    if not key or not text.startswith("=", position):
        raise UsageError("is not KEY=VALUE.", where=f"--set {text}", hint="Write --set train.epochs=5.")
    value = text[position + 1 :].strip()
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{too_much(error)}.", where=f"--set {text[:60]}...") from None
    if set(parsed) == {"value"}:
        return key, parsed["value"]
    if not value or value[0] in "\"'[{" or "\n" in value:
        hint = "Lists are [1, 2], text is a bare word or in quotes: 'a.b=\"x\"'."
        raise UsageError("the value is no TOML.", where=f"--set {text}", hint=hint)
    return key, value


def too_much(error: ValueError | RecursionError) -> str:
    """What was more than Python reads."""
    deep = isinstance(error, RecursionError)
    return "tables or lists are nested too deeply" if deep else "a number has too many digits"
