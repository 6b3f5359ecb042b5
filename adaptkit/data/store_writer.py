"""Writing a store: rows to Parquet, vectors to safetensors, and a meta.json that says where they come from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adaptkit.atomic import new_folder, write_json
from adaptkit.data.lazy_arrow import BATCH
from adaptkit.data.lazy_features import FeatureWriter
from adaptkit.data.paths import digest_of, inside
from adaptkit.errors import DataError, UsageError

VERSION = 2
META = "meta.json"
SPLITS = ("train", "validation", "test")

ARROW = {
    "text": pa.string(),
    "path": pa.string(),
    "array": pa.string(),  # FILE, or FILE::KEY for one of the arrays in it
    "arrays": pa.list_(pa.string()),  # several of them, whose vectors come one after the other
    "texts": pa.list_(pa.string()),
    "target": pa.string(),  # what a task learns, of any form: plain values as JSON
    "label": pa.string(),
    "labels": pa.list_(pa.string()),
    "number": pa.float64(),
    "numbers": pa.list_(pa.float64()),
    "ints": pa.list_(pa.int64()),
}
KINDS = (*ARROW, "features")
FILES = ("path", "array", "arrays")  # kinds whose values name files below the root


class StoreWriter:
    """Fills a store, which takes its place only when the `with` block ends without an error.

    Args:
        folder: of the store; it must not exist, or be a store and `force` be given.
        format: name of the benchmark.
        variant: which of its published layouts was read.
        sources: files whose SHA-256 is recorded; also `source`.
        root: folder that values of kind "path" are relative to. Default: the folder above.
        force: replace a store that is there.

    Raises:
        UsageError: the folder exists (without `force`), or is something else than a store.
    """

    def __init__(
        self,
        folder: Path,
        *,
        format: str,
        variant: str = "",
        sources: Sequence[Path] = (),
        root: Path | None = None,
        force: bool = False,
    ) -> None:
        self.folder, self.root = folder.absolute(), (root or folder.parent).resolve()
        self.format, self.variant, self.force = format, variant, force
        self.classes: dict[str, list[str]] = {}
        self._columns: dict[str, dict[str, Any]] = {}
        self._audit: dict[str, int] = {}
        self._sources: dict[str, str] = {}
        self._splits: dict[str, _SplitWriter] = {}
        self._early = tuple(sources)
        self._stack = ExitStack()
        check_target(folder, force=force)

    def __enter__(self) -> StoreWriter:
        self._temporary = self._stack.enter_context(new_folder(self.folder, replace=self.force))
        (self._temporary / "features").mkdir()
        for path in self._early:
            self.source(path)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        if error is None:
            try:
                self._finish()
            except BaseException as failure:
                self._abandon()
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        else:
            self._abandon()
        return self._stack.__exit__(kind, error, trace)

    def column(self, name: str, kind: str, *, width: int | None = None, description: str = "") -> None:
        """Declare a column, before the first sample. `width`: of features, else that of the first sample."""
        assert kind in KINDS, kind
        assert not self._splits, "declare all columns before the first sample"
        self._columns[name] = {"kind": kind, "width": width, "description": description}

    def add(self, split: str, id: str, values: Mapping[str, Any]) -> None:
        """Append a sample; None or nothing: absent. Features are (E,) or (T, E); what is not finite becomes 0.

        Raises:
            DataError: a value that does not fit its column, or a path that leaves the root or does not exist.
        """
        assert values.keys() <= self._columns.keys(), f"undeclared: {values.keys() - self._columns.keys()}"
        if split not in self._splits:
            self._splits[split] = _SplitWriter(self._temporary, split, self._columns)
        where = f"{split}, sample {id}"
        checked: dict[str, Any] = {"id": str(id)}
        for name, column in self._columns.items():
            value = values.get(name)
            if column["kind"] == "features":
                checked[name] = None if value is None else self._finite(value, name, where)
            elif column["kind"] == "target" and value is not None:
                checked[name] = json.dumps(value, ensure_ascii=False)
            elif column["kind"] in FILES and value is not None:
                checked[name] = self._named(value, column["kind"], name, where)
            else:
                checked[name] = value
        self._splits[split].add(checked, where)

    def note(self, text: str, count: int = 1) -> None:
        """Record what was dropped or changed; counts of the same text are summed."""
        if count:
            self._audit[text] = self._audit.get(text, 0) + count

    def source(self, path: Path) -> str:
        """Record a source file with its SHA-256, a folder with that of its list of names and sizes; returns it."""
        resolved = path.resolve()
        name = os.path.relpath(resolved, self.root) if resolved.is_relative_to(self.root) else path.name
        self._sources[Path(name).as_posix()] = found = digest_of(resolved)
        return found

    def _named(self, value: Any, kind: str, name: str, where: str) -> str | list[str]:
        """The files that a value names, relative to the root."""
        if kind == "arrays":
            return [str(self._named(entry, "array", name, where)) for entry in value]
        file, mark, key = str(value).partition("::") if kind == "array" else (str(value), "", "")
        return inside(self.root, file, name, where).relative_to(self.root).as_posix() + mark + key

    def _finite(self, value: Any, name: str, where: str) -> np.ndarray:
        try:
            with np.errstate(over="ignore"):  # beyond float32 is infinite
                array = np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError):
            raise DataError(f"{name} is not an array of numbers.", where=where) from None
        bad = ~np.isfinite(array)
        if bad.any():
            self.note(f"NaN or infinity in {name} set to 0 (values)", int(bad.sum()))
            array = np.where(bad, np.float32(0), array)
        return array

    def _abandon(self) -> None:
        """Close what will be deleted; what went wrong before is what counts."""
        for split in self._splits.values():
            with suppress(Exception):
                split.close()

    def _finish(self) -> None:
        for split in self._splits.values():
            split.close()
        if not self._splits:
            raise DataError("no sample was found.", where=str(self.root))
        columns = {
            name: {**column, "width": column["width"] or _width(self._splits.values(), name)}
            for name, column in self._columns.items()
        }
        classes = {
            name: sorted(self.classes.get(name) or set().union(*(s.seen[name] for s in self._splits.values())))
            for name, column in columns.items()
            if column["kind"] in ("label", "labels")
        }
        files = [path for path in sorted(self._temporary.rglob("*")) if path.is_file()]
        for path in files:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        order = [split for split in SPLITS if split in self._splits]
        order += [split for split in self._splits if split not in order]
        named = {path.relative_to(self._temporary).as_posix(): path for path in files}
        meta = {
            "adaptkit_store": VERSION,
            "format": self.format,
            "variant": self.variant,
            "root": os.path.relpath(self.root, self.folder.resolve()),
            "splits": {split: self._splits[split].count for split in order},
            "columns": columns,
            "classes": classes,
            "sources": dict(sorted(self._sources.items())),
            "audit": self._audit,
            "files": {name: digest_of(path) for name, path in named.items()},
            "stats": {name: [path.stat().st_size, path.stat().st_mtime_ns] for name, path in named.items()},
        }
        write_json(self._temporary / META, {**meta, "sha256": seal(meta)})


class _SplitWriter:
    """The files of one split."""

    def __init__(self, folder: Path, split: str, columns: Mapping[str, Mapping[str, Any]]) -> None:
        plain = {name: column["kind"] for name, column in columns.items() if column["kind"] != "features"}
        self.schema = pa.schema([("id", pa.string()), *((name, ARROW[kind]) for name, kind in plain.items())])
        self.features = {
            name: FeatureWriter(folder / "features" / f"{name}.{split}.safetensors", column["width"])
            for name, column in columns.items()
            if column["kind"] == "features"
        }
        self.seen: dict[str, set[str]] = {name: set() for name, kind in plain.items() if kind in ("label", "labels")}
        self.count, self._rows = 0, []
        self._file = pq.ParquetWriter(folder / f"{split}.parquet", self.schema, compression="zstd")
        self._open = True

    def add(self, values: Mapping[str, Any], where: str) -> None:
        for name, writer in self.features.items():
            writer.add(values[name], f"{where}, {name}")
        for name, seen in self.seen.items():
            value = values[name]
            seen.update([] if value is None else [value] if isinstance(value, str) else value)
        self._rows.append({name: values[name] for name in self.schema.names})
        self.count += 1
        if len(self._rows) >= BATCH:
            self._flush()

    def close(self) -> None:
        if self._open:
            self._open = False
            for writer in self.features.values():
                writer.close()
            self._flush()
            self._file.close()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        try:
            self._file.write_table(pa.Table.from_pylist(rows, schema=self.schema))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise DataError(f"a value does not fit its column: {error}.") from None


def seal(meta: Mapping[str, Any]) -> str:
    """SHA-256 of all that a meta.json says besides."""
    content = {key: value for key, value in meta.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_target(folder: Path, *, force: bool) -> None:
    """A store may be written there.

    Raises:
        UsageError: something is there, and either `force` is not given or it is no store.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not force:
        raise UsageError("exists already.", where=str(folder), hint="Give --force to replace it, or --to FOLDER.")
    if not (folder / META).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("is not a store, so it is not replaced.", where=str(folder), hint="Choose another folder.")


def _width(splits: Iterable[_SplitWriter], name: str) -> int | None:
    """Of a column of features: that of the first split that has any."""
    widths = {split.features[name].width for split in splits if name in split.features} - {None}
    if len(widths) > 1:
        raise DataError(f"{name} has vectors of widths {sorted(map(str, widths))} in different splits.")
    return next(iter(widths), None)
