"""The campaign of damaged stores: each is refused in words, or gives the very same rows."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from adaptkit.benchmarks import import_benchmark
from adaptkit.benchmarks.benchmark import synthesise
from adaptkit.data.store import open_store
from adaptkit.errors import DataError
from tests.fuzz.bytewise import damaged_copy
from tests.fuzz.campaign import Campaign, Case

BENCHMARKS = ("mosi", "mmimdb")  # vectors, numbers and texts; paths and lists of labels


@cache
def imported(folder: Path, benchmark: str) -> tuple[Path, Any]:
    """A store, made once for all processes of a campaign, and everything in it."""
    download = folder / benchmark
    if not download.exists():
        synthesise(benchmark, download, samples=12)
        shutil.copytree(import_benchmark(benchmark, download).folder, download / "copy")
    expected = contents(download / "adaptkit")
    assert contents(download / "copy") == expected, "a copy that nobody damaged gives its rows"
    return download / "adaptkit", expected


def contents(folder: Path) -> Any:
    """All that is read of a store."""
    store = open_store(folder)
    rows = {split: [plain(row) for row in store.rows(split)] for split in store.splits}
    return store.meta["classes"], {name: column["kind"] for name, column in store.columns.items()}, rows


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def edited(folder: Path, chance: Random) -> str:
    """A key of meta.json is deleted or of another type, as an editor leaves it."""
    meta = json.loads((folder / "meta.json").read_text())
    key = chance.choice(sorted(meta))
    if chance.random() < 0.5:
        del meta[key]
    else:
        meta[key] = chance.choice((None, 3, "", [], {"x": 1}, {"train": {"kind": "text"}}))
    (folder / "meta.json").write_text(json.dumps(meta))
    return f"{key} of meta.json"


def read(seed: str, folder: Path) -> Case:
    chance = Random(seed)
    source, expected = imported(folder, chance.choice(BENCHMARKS))
    target = source.parent / "damaged"  # beside it, so that its paths stay where they are
    what = damaged_copy(source, target, chance)
    if chance.random() < 0.1 and (target / "meta.json").is_file():
        try:
            what += f", {edited(target, chance)}"
        except ValueError:  # damaged already
            what += ", no JSON"
    try:
        found = contents(target)
    except DataError as error:
        return Case("refused", "" if str(target) in str(error) else f"{what}: does not say where: {error}")
    except Exception as error:
        return Case("fault", f"{what}: {type(error).__name__}: {error}"[:300])
    return Case("the same" if found == expected else "fault", "" if found == expected else f"{what}: other rows")


CAMPAIGNS = (Campaign("stores: read", full=1_000, short=60, try_case=read),)
