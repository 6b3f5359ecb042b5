"""`jsonl`: one JSON object per line whose columns are text, numbers, or paths of images and arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit.data.formats.format import FORMATS, Column, Row, Table
from adaptkit.errors import DataError
from adaptkit.registry import nearest

if TYPE_CHECKING:
    from adaptkit.recipe.data import Jsonl

SPLITS = ("train", "validation", "test")


@FORMATS.register("jsonl")
def read_jsonl(data: Jsonl, base: Path, columns: tuple[Column, ...]) -> Table:
    """One .jsonl file per split; columns hold text, labels, vectors, or paths relative to data.root.

    A text column holds strings; an image column a path or a nested array; a features column a vector, a list
    of vectors or the path of an .npy file. null or nothing: the modality is absent. `id` is optional.

    Raises:
        DataError: naming `file:line` for whatever is wrong there.
    """
    root = (base / data.root).resolve() if data.root else base.resolve()
    if not root.is_dir():
        raise DataError(f"the folder {root} does not exist.", where="data.root")
    splits, digest = {}, hashlib.sha256()
    for split in SPLITS:
        path = root / getattr(data, split)
        splits[split] = read_manifest(path, root, columns)
        digest.update(f"{split}\n".encode() + path.read_bytes())
    counts = ", ".join(f"{split} {len(rows):,}" for split, rows in splits.items())
    return Table(splits, f"sha256:{digest.hexdigest()}", f"jsonl manifests in {root} ({counts})")


def read_manifest(path: Path, root: Path, columns: tuple[Column, ...]) -> list[Row]:
    """The rows of one manifest; paths in it are resolved against `root` and may not leave it.

    Raises:
        DataError: a missing or unreadable file, a line that is not a JSON object, a required value that is
            absent, a value of the wrong type, a path that leaves the root or does not exist, a column that no
            row has.
    """
    rows, named = [], set()
    for where, record in _records(path):
        named |= record.keys()
        values = {column.name: _value(record.get(column.name), column, root, where) for column in columns}
        rows.append(Row(str(record.get("id", where)), values, where))
    if not rows:
        raise DataError("the file has no rows.", where=str(path))
    for column in columns:
        if column.name not in named:
            raise DataError(
                f"no row has the column {column.name!r}.", where=path.name, hint=nearest(column.name, named)
            )
    return _check_required(rows, columns)


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines would cut at U+2028
    except FileNotFoundError:
        raise DataError(f"the file {path} does not exist.", where=path.name) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the file {path} cannot be read: {error}.", where=path.name) from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"this is not JSON: {error.msg} at column {error.colno}.", where=where) from None
        if not isinstance(record, dict):
            raise DataError(
                f"this is a JSON {type(record).__name__}.",
                where=where,
                hint='Write one object: {"text": "..."}.',
            )
        yield where, record


def _value(value: Any, column: Column, root: Path, where: str) -> Any:
    if value is None:
        return None
    if column.kind == "text" and not isinstance(value, str):
        raise _wrong_type(value, column, where, "a string")
    if column.kind in ("image", "features"):
        if isinstance(value, str):
            return _inside(root, value, column, where)
        if not isinstance(value, list):
            raise _wrong_type(value, column, where, "a path or an array")
    return value


def _wrong_type(value: Any, column: Column, where: str, wanted: str) -> DataError:
    return DataError(f"{column.name} is {json.dumps(value)[:60]}, not {wanted}.", where=where)


def _inside(root: Path, relative: str, column: Column, where: str) -> Path:
    path = (root / relative).resolve()  # follows links, so that none leads out of the root
    if not path.is_relative_to(root):
        raise DataError(f"{column.name} = {relative!r} leaves the data folder {root}.", where=where)
    if not path.is_file():
        raise DataError(f"{column.name} = {relative!r} does not exist in {root}.", where=where)
    return path


def _check_required(rows: list[Row], columns: tuple[Column, ...]) -> list[Row]:
    for row in rows:
        for column in columns:
            if column.required and row.values[column.name] is None:
                hint = "" if column.kind == "target" else 'Or say what to do: missing = "zero", "mean" or "learned".'
                raise DataError(f"{column.name} is absent.", where=row.where, hint=hint)
    return rows
