"""A format: one JSON object per line in NAME.SPLIT, the split of every file in its suffix."""

import hashlib
import json
from pathlib import Path

from pydantic import Field

from adaptkit.data.rows import FORMATS, Column, Row, SplitRows
from adaptkit.recipe import DataTable
from adaptkit.recipe.data import Root


class Spaced(DataTable):
    """One JSON object per line in SPLIT.SUFFIX."""

    root: Root = None
    suffix: str = Field(default="jsonl", description="Of the files.")


@FORMATS.register("spaced", table=Spaced)
def read_spaced(data: Spaced, base: Path, columns: tuple[Column, ...]) -> SplitRows:
    """SPLIT.SUFFIX of every split."""
    splits, digest = {}, hashlib.sha256()
    for split in ("train", "validation", "test"):
        content = (base / (data.root or ".") / f"{split}.{data.suffix}").read_text()
        digest.update(content.encode())
        records = [json.loads(line) for line in content.splitlines()]
        splits[split] = [Row(f"{split}/{n}", {c.name: r.get(c.name) for c in columns}) for n, r in enumerate(records)]
    return SplitRows(splits, f"sha256:{digest.hexdigest()}", "spaced")
