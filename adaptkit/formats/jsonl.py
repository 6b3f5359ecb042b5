"""`jsonl`: one JSON object per line whose columns are text, numbers, or paths of images and arrays."""

from __future__ import annotations

import codecs
import hashlib
import json
import mmap
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from reprlib import repr
from typing import Any

from adaptkit.data.rows import FORMATS, Column, Row, Rows, SplitRows
from adaptkit.errors import DataError
from adaptkit.formats.tables import Jsonl
from adaptkit.formats.values import Presence, checked, manifest_of, root_of

Lay = Callable[[Mapping[str, Any], str], Mapping[str, Any] | None]  # (record, where) -> it by its columns
SPLITS = ("train", "validation", "test")
LONGEST_LINE = 2**25  # bytes of one line, at most


@FORMATS.register("jsonl", table=Jsonl)
def read_jsonl(data: Jsonl, base: Path, columns: tuple[Column, ...]) -> SplitRows:
    """One .jsonl file per split; columns hold text, labels, vectors, or paths relative to data.root.

    A text column holds strings; an image column a path or a nested array; a features column a vector, a list
    of vectors or the path of an .npy file. null or nothing: the modality is absent. `id` is optional.

    Raises:
        DataError: naming `file:line` for whatever is wrong there.
    """
    splits, digest = manifests(data, base, columns)
    counts = ", ".join(f"{split} {len(rows):,}" for split, rows in splits.items())
    return SplitRows(splits, digest, f"jsonl manifests in {root_of(data.root, base)} ({counts})")


def manifests(
    data: Jsonl, base: Path, columns: tuple[Column, ...], lay: Lay | None = None
) -> tuple[dict[str, JsonLines], str]:
    """Split -> the rows of its manifest, and the hash of them all; `lay` as of `read_manifest`."""
    root, splits, digest = root_of(data.root, base), {}, hashlib.sha256()
    for split in SPLITS:
        digest.update(f"{split}\n".encode())
        splits[split] = read_manifest(manifest_of(data, split, root), root, columns, digest, lay=lay)
    return splits, f"sha256:{digest.hexdigest()}"


def read_manifest(
    path: Path, root: Path, columns: tuple[Column, ...], digest: Any = None, *, lay: Lay | None = None
) -> JsonLines:
    """The rows of one manifest; paths in it are resolved against `root` and may not leave it.

    One pass checks every line and remembers where it starts; the rows are read when they are asked for.

    Args:
        path: of the manifest.
        root: resolved folder.
        columns: what is read of each row.
        digest: a hash that the content is added to.
        lay: (record, `file:line`) -> the record by its columns, or None for one that is left out; by default its keys
            are the columns.

    Raises:
        DataError: a missing or unreadable file, a line that is not a JSON object, a required value that is
            absent, a value of the wrong type, a path that leaves the root or does not exist, a column that no
            row has.
    """
    starts, numbers, named, left_out = array("q"), array("q"), set(), 0
    presence = Presence(columns)
    for number, start, where, written in _records(path, digest):
        record = written if lay is None else lay(written, where)
        if record is None:
            left_out += 1
            continue
        named |= record.keys()
        presence.see({c.name: checked(record.get(c.name), c, root, where) for c in columns}, where)
        starts.append(start)
        numbers.append(number)
    if not starts:
        raise DataError("the file has no rows.", where=str(path))
    presence.check_columns(named, path.name)
    presence.check_required()
    return JsonLines(path, root, columns, starts, numbers, lay=lay, left_out=left_out)


def jsonl_rows(
    lines: Iterable[bytes], name: str, root: Path, columns: tuple[Column, ...], *, lay: Lay | None = None
) -> Iterator[Row]:
    """Rows of lines that come one by one, each read when it is asked for.

    Args:
        lines: of a manifest.
        name: of their source.
        root: resolved folder that paths are relative to.
        columns: what is read of each row.
        lay: as of `read_manifest`.

    Raises, while iterating:
        DataError: as `read_manifest`; that no row has a column is known at the end.
    """
    named, presence, empty = set(), Presence(columns), True
    for _, _, where, written in _parsed(lines, name, None):
        record = written if lay is None else lay(written, where)
        if record is None:
            continue
        row = _row(record, columns, root, where)
        presence.see(row.values, where)
        presence.check_required()
        named |= record.keys()
        empty = False
        yield row
    if empty:
        raise DataError("there are no rows.", where=name)
    presence.check_columns(named, name)


class JsonLines(Rows):
    """Lines of a checked manifest, parsed when they are asked for; only where they start is in memory.

    Attributes:
        left_out: how many lines of it are not among them.
    """

    def __init__(
        self,
        path: Path,
        root: Path,
        columns: tuple[Column, ...],
        starts: array[int],
        numbers: array[int],
        *,
        lay: Lay | None = None,
        left_out: int = 0,
    ) -> None:
        self.path, self.root, self.columns, self.left_out = path, root, columns, left_out
        self._starts, self._numbers, self._lay = starts, numbers, lay
        with path.open("rb") as file:
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._starts)

    def row(self, index: int) -> Row:
        """Parsed anew each time."""
        return _row(self._record(index), self.columns, self.root, f"{self.path.name}:{self._numbers[index]}")

    def column(self, name: str) -> Iterator[Any]:
        """The values of one column; paths are not looked at."""
        return (self._record(index).get(name) for index in range(len(self)))

    def _record(self, index: int) -> Mapping[str, Any]:
        start = self._starts[index]
        end = self._content.find(b"\n", start)
        record = json.loads(self._content[start : len(self._content) if end < 0 else end])
        found = record if self._lay is None else self._lay(record, f"{self.path.name}:{self._numbers[index]}")
        assert found is not None, "what is left out is no row"
        return found

    def __reduce__(self) -> Any:
        how = {"lay": self._lay, "left_out": self.left_out}
        return partial(JsonLines, **how), (self.path, self.root, self.columns, self._starts, self._numbers)


def _records(path: Path, digest: Any) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
    """`_parsed` of a file."""
    try:
        with path.open("rb") as file:
            yield from _parsed(iter(lambda: file.readline(LONGEST_LINE + 1), b""), path.name, digest)
    except FileNotFoundError:
        raise DataError(f"the file {path} does not exist.", where=path.name) from None
    except OSError as error:
        raise DataError(f"the file {path} cannot be read: {error}.", where=path.name) from None


def _parsed(lines: Iterable[bytes], name: str, digest: Any) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
    """Line number, byte where it starts, `file:line`, and the object, of every line that is not empty."""
    start = 0
    for number, line in enumerate(lines, start=1):  # only at \n: U+2028 is a character like others
        if digest is not None:
            digest.update(line)
        where = f"{name}:{number}"
        if len(line) > LONGEST_LINE:
            hint = "Write large arrays to files of their own, and their paths here."
            raise DataError(f"the line has more than {LONGEST_LINE:,} bytes.", where=where, hint=hint)
        mark = len(codecs.BOM_UTF8) if number == 1 and line.startswith(codecs.BOM_UTF8) else 0
        try:
            text = line[mark:].decode("utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(error, where, line) from None
        if text.strip():
            yield number, start + mark, where, _object(text.rstrip("\r\n"), where)
        start += len(line)


def not_utf8(error: UnicodeDecodeError, where: str, line: bytes = b"") -> DataError:
    """The error of text in another encoding, with the command that changes it."""
    wide = line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    hint = f"For example: iconv -f {'UTF-16' if wide else 'LATIN1'} -t UTF-8 OLD > NEW."
    return DataError(f"this is not UTF-8: {error.reason} at byte {error.start}.", where=where, hint=hint)


def _row(record: Mapping[str, Any], columns: tuple[Column, ...], root: Path, where: str) -> Row:
    values = {column.name: checked(record.get(column.name), column, root, where) for column in columns}
    named = record.get("id")
    return Row(where if named is None else str(named), values, where)


class _TwiceError(Exception):
    """Carries the key; of two values JSON would silently take the last."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise _TwiceError(next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1))
    return record


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(text, object_pairs_hook=_unique)
    except _TwiceError as error:
        raise DataError(f"the key {repr(error.args[0])} is there twice.", where=where) from None
    except json.JSONDecodeError as error:
        raise DataError(f"this is not JSON: {error.msg} at column {error.colno}.", where=where) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise DataError(f"this is not JSON that can be read: {error}.", where=where) from None
    if not isinstance(record, dict):
        raise DataError(
            f"this is a JSON {type(record).__name__}.",
            where=where,
            hint='Write one object: {"text": "..."}.',
        )
    return record
