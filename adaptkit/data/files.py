"""The files that rows name, as a part of what identifies data: size and time first, content where these differ.

The record is a Parquet file: a million files take some 60 MB there, and never more than a batch of them is in memory.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from adaptkit.atomic import new_file
from adaptkit.errors import DataError, RunError

SCHEMA = pa.schema([("path", pa.string()), ("size", pa.int64()), ("time", pa.int64()), ("sha256", pa.binary(32))])
BATCH = 4096
THREADS = min(8, os.cpu_count() or 1)
SILENCE = 5.0  # seconds after which it is said what is being done


def record_files(
    files: Iterable[Path], target: Path, base: Path, tell: Callable[[str], None] = lambda text: None
) -> int:
    """Write what the files are now; nothing where there are none.

    Args:
        files: each once.
        target: the record.
        base: folder that the paths in it are relative to, so that all may move together.
        tell: gets a sentence when it takes long.

    Returns:
        How many they are.

    Raises:
        DataError: one cannot be read.
        RunError: the record cannot be written.
    """
    files, count, began, told = iter(files), 0, time.monotonic(), False
    first = list(islice(files, BATCH))
    if not first:
        return 0
    with (
        new_file(target) as temporary,
        pq.ParquetWriter(temporary, SCHEMA, compression="zstd", write_page_checksum=True) as writer,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        while first:
            rows = list(pool.map(lambda path: _row(path, base), first))
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
            count += len(first)
            if not told and time.monotonic() - began > SILENCE:
                told = True
                tell("computing the hashes of the files that the data names, once per run ...")
            first = list(islice(files, BATCH))
    return count


def changed_files(record: Path, base: Path) -> Iterator[str]:
    """`PATH is missing`, `PATH has changed`, for each that is not what it was; a mere touch is no change.

    Args:
        record: of `record_files`.
        base: as there.

    Raises:
        RunError: the record is damaged.
    """
    try:
        with pq.ParquetFile(record, page_checksum_verification=True) as file, ThreadPoolExecutor(THREADS) as pool:
            for batch in file.iter_batches(batch_size=BATCH):
                paths, *known = (batch.column(name).to_pylist() for name in SCHEMA.names)
                places = [Path(os.path.normpath(base / path)) for path in paths]
                found = pool.map(_difference, places, *known)
                yield from (f"{place} {what}" for place, what in zip(places, found, strict=True) if what)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        hint = "Delete it to continue without knowing whether these files are still the same."
        raise RunError(f"is not readable: {error}.", where=str(record), hint=hint) from None


def _row(path: Path, base: Path) -> dict[str, object]:
    try:
        found = path.stat()
        digest = _digest(path)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}.", where=str(path)) from None
    try:
        name = os.path.relpath(path, base)
    except ValueError:  # another drive of Windows
        name = str(path)
    return {"path": name, "size": found.st_size, "time": found.st_mtime_ns, "sha256": digest}


def _difference(path: Path, size: int, time: int, digest: bytes) -> str:
    try:
        found = path.stat()
        same = found.st_size == size and (found.st_mtime_ns == time or _digest(path) == digest)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return "" if same else "has changed"


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
