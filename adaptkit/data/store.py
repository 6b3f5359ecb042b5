"""A store: a data set converted once, to `<split>.parquet`, `features/<column>.<split>.safetensors` and a meta.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from adaptkit.data.lazy_arrow import ArrowRows, unpacked_parquet
from adaptkit.data.lazy_features import Features
from adaptkit.data.paths import array_inside, digest_of, inside
from adaptkit.data.store_writer import KINDS, META, VERSION, StoreWriter, seal
from adaptkit.errors import DataError, nearest

__all__ = ["FOLDER", "Store", "StoreRows", "StoreWriter", "find_store", "open_store"]

ALWAYS = 64 << 20  # bytes of a file that are hashed whenever it is opened
FOLDER = "adaptkit"  # name of a store below the data it was made of


class Store:
    """A store that is there.

    Attributes:
        folder: it.
        meta: what its meta.json says: format, variant, splits, columns, classes, sources, audit.
        within: the folder that the paths in it may not leave.
    """

    def __init__(self, folder: Path, meta: Mapping[str, Any], within: Path) -> None:
        self.folder, self.meta, self.within = folder, meta, within.resolve()

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, in order."""
        return tuple(self.meta["splits"])

    @property
    def columns(self) -> Mapping[str, Mapping[str, Any]]:
        """Column -> kind, width and description."""
        return self.meta["columns"]

    @cached_property
    def root(self) -> Path:
        """The folder that paths are relative to.

        Raises:
            DataError: it lies outside the folder that the user named; a store may come from anyone.
        """
        found = (self.folder / self.meta["root"]).resolve()
        if not found.is_relative_to(self.within):
            raise DataError(
                f"the paths of the store start from {found}, outside {self.within}.",
                where=str(self.folder / META),
                hint=f'Where that is right, write data.download = "{found}" in the recipe.',
            )
        return found

    @property
    def reaches_files(self) -> bool:
        """The paths in it stay where they may lie."""
        try:
            return bool(self.root)
        except DataError:
            return False

    def rows(self, split: str, columns: Iterable[str] | None = None) -> StoreRows:
        """The samples of a split as dicts with `id` and these columns (all where None), read when asked for.

        Raises:
            DataError: no such split or column, or a damaged file.
        """
        wanted = tuple(columns) if columns is not None else tuple(self.columns)
        for name in wanted:
            if name not in self.columns:
                raise DataError(
                    f"{self.meta['format']} has no column {name!r}.",
                    where=str(self.folder),
                    hint=nearest(name, self.columns),
                )
        if split not in self.meta["splits"]:
            raise DataError(f"no split {split!r}.", where=str(self.folder), hint=nearest(split, self.splits))
        kinds = {name: self.columns[name]["kind"] for name in wanted}
        scalars = _parquet(self._file(f"{split}.parquet"), ["id", *(n for n in wanted if kinds[n] != "features")])
        ragged = {
            name: Features(self._file(f"features/{name}.{split}.safetensors"))
            for name in wanted
            if kinds[name] == "features"
        }
        count = self.meta["splits"][split]
        for name, found in (("rows", len(scalars)), *((name, len(part)) for name, part in ragged.items())):
            if found != count:
                raise DataError(f"{split} has {found:,} {name}, not {count:,}.", where=str(self.folder))
        return StoreRows(wanted, scalars, ragged, tuple(name for name in wanted if kinds[name] == "target"))

    def _file(self, name: str) -> Path:
        """One of its files, which is what was written.

        Those above `ALWAYS` bytes are believed where size and time are those of the import; `verify` believes nothing.
        """
        path = inside(self.folder.resolve(), name, "file", str(self.folder))
        found = path.stat()
        believed = found.st_size > ALWAYS and self.meta["stats"].get(name) == [found.st_size, found.st_mtime_ns]
        if not believed and _digest(path, found.st_size, found.st_mtime_ns) != self.meta["files"].get(name):
            raise DataError("was changed after the import.", where=str(path), hint="Import the data again.")
        return path


class StoreRows(Sequence[dict[str, Any]]):
    """Rows of one split: scalars from Arrow, features from safetensors, both memory-mapped."""

    def __init__(
        self, columns: tuple[str, ...], scalars: ArrowRows, features: Mapping[str, Features], targets: tuple[str, ...]
    ) -> None:
        self.columns, self.scalars, self.features, self.targets = columns, scalars, dict(features), targets

    def __len__(self) -> int:
        return len(self.scalars)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        scalars = self.scalars[index]
        for name in self.targets:
            scalars[name] = _decoded(scalars[name])
        return scalars | {name: part[index] for name, part in self.features.items()}

    def column(self, name: str) -> Iterator[Any]:
        """The values of one column; nothing else is read."""
        if name in self.features:
            return iter(self.features[name])
        values = self.scalars.column(name)
        return map(_decoded, values) if name in self.targets else values


def _decoded(cell: str | None) -> Any:
    return None if cell is None else json.loads(cell)


def placed(root: Path, cell: Any, kind: str, name: str, where: str) -> Any:
    """What a cell of a column that names files stands for: a path, an array of a file, or a list of these.

    Raises:
        DataError: it leaves the root, or does not exist.
    """
    if kind == "arrays":
        return [array_inside(root, entry, name, where) for entry in cell]
    return (array_inside if kind == "array" else inside)(root, cell, name, where)


def open_store(folder: Path, within: Path | None = None) -> Store:
    """The store in this folder.

    Args:
        folder: it.
        within: the folder that the paths in it may not leave. Default: the one that the store lies in.

    Raises:
        DataError: there is none, it is damaged, or a newer adaptkit wrote it.
    """
    path = folder / META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("there is no store.", where=str(folder), hint='"adaptkit data import" makes one.') from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot be read: {error}.", where=str(path)) from None
    if not isinstance(meta, dict) or "adaptkit_store" not in meta:
        raise DataError("does not describe a store.", where=str(path))
    if meta["adaptkit_store"] != VERSION:
        raise DataError(
            f"a store of version {meta['adaptkit_store']}; this adaptkit reads {VERSION}.",
            where=str(path),
            hint="Import the data again.",
        )
    if meta.get("sha256") != seal(meta) or not _is_whole(meta):
        raise DataError("is damaged.", where=str(path), hint="Import the data again.")
    return Store(folder, meta, within or folder.absolute().parent)


def _is_whole(meta: Mapping[str, Any]) -> bool:
    """Everything that is read later is there, of its type; names of splits and columns are names of files."""
    texts = all(isinstance(meta.get(key), str) for key in ("format", "variant", "root"))
    tables = all(
        isinstance(meta.get(key), dict)
        for key in ("splits", "columns", "classes", "sources", "audit", "files", "stats")
    )
    return (
        texts
        and tables
        and all(isinstance(count, int) for count in (*meta["splits"].values(), *meta["audit"].values()))
        and all(isinstance(column, dict) and column.get("kind") in KINDS for column in meta["columns"].values())
        and all(isinstance(found, list) for found in meta["classes"].values())
        and all(re.fullmatch(r"\w[\w .-]*", name) for name in (*meta["splits"], *meta["columns"]))
        and not any(".." in Path(name).parts or Path(name).is_absolute() for name in meta["files"])
    )


def find_store(root: Path, format: str, variant: str = "", download: Path | None = None) -> Store:
    """The store of a benchmark: the folder itself, or one below it that `adaptkit data import` wrote.

    Args:
        root: the folder.
        format: name of the benchmark.
        variant: which, of several.
        download: the folder that the paths in the store may not leave. Default: `root`.

    Raises:
        DataError: none, one of another format, or several of which none was chosen.
    """
    if not root.is_dir():
        raise DataError(
            f"the folder {root} does not exist.",
            where="data.root",
            hint=f"Download it (docs/datasets.md says where), or invent some: adaptkit data synth {format} {root}. "
            f"Then: adaptkit data import {format} {root}",
        )
    folders = [root, root / FOLDER, *sorted(root.glob(f"{FOLDER}-*"))]
    stores = [open_store(folder, download or root) for folder in folders if (folder / META).is_file()]
    fitting = [s for s in stores if s.meta["format"] == format and variant in ("", s.meta["variant"])]
    if not fitting:
        wanted = f"{format} {variant}".rstrip()
        others = ", ".join(f"{s.meta['format']} {s.meta['variant']}".rstrip() for s in stores)
        raise DataError(
            f"{root} has not been imported as {wanted}{f' (but as {others})' if others else ''}.",
            where="data.root",
            hint=f"Run: adaptkit data import {format} {root}{f' --variant {variant}' if variant else ''}",
        )
    if len(fitting) > 1 and fitting[0].folder != root and not variant:
        names = ", ".join(store.meta["variant"] for store in fitting)
        raise DataError(f"{root} has several stores: {names}.", where="data.variant", hint="Say which: variant = ...")
    return fitting[0]


def verify(store: Store) -> None:
    """The files are those that were written.

    Raises:
        DataError: one is missing or was changed.
    """
    for name, digest in store.meta["files"].items():
        path = store.folder / name
        if not path.is_file():
            raise DataError("the file is missing.", where=str(path), hint="Import the data again.")
        inside(store.folder.resolve(), name, "files", str(store.folder / META))
        if digest_of(path) != digest:
            raise DataError("was changed after the import.", where=str(path), hint="Import the data again.")


@lru_cache(maxsize=1024)
def _digest(path: Path, size: int, time: int) -> str:
    """SHA-256 of the file as it is at this size and time; a store is opened several times in a command."""
    return digest_of(path)


def _parquet(path: Path, columns: list[str]) -> ArrowRows:
    def wanted(schema: pa.Schema) -> list[str]:
        if missing := [name for name in columns if name not in schema.names]:
            raise DataError(f"has no column {missing[0]!r}.", where=str(path))
        return columns

    return unpacked_parquet(path, wanted)
