"""What `list models` and `inspect` say of an architecture, from tables of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptkit.anatomy.tables import known

TABLE = {
    "timm": {"vgg11": "forward", "resnet18": "forward", "odd": "path"},
    "transformers": {"bert": "forward", "xlm": "tree"},
}
TESTED = {"timm": ["resnet18"], "transformers": ["vgg11"]}


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "coverage.json").write_text(json.dumps(TABLE))
    (tmp_path / "conformant.json").write_text(json.dumps(TESTED))
    monkeypatch.setattr(known, "_FOLDER", tmp_path)
    for cached in (known._table, known.known_architectures):
        cached.cache_clear()
    yield
    for cached in (known._table, known.known_architectures):
        cached.cache_clear()


def test_each_architecture_has_one_word() -> None:
    assert dict(known.known_architectures("timm")) == {
        "odd": "by path only",
        "resnet18": "laws tested",
        "vgg11": "detected",
    }
    assert dict(known.known_architectures("transformers")) == {"bert": "detected", "xlm": "detected"}


def test_an_architecture_the_table_lacks_goes_by_what_was_found() -> None:
    assert known.how_known("timm", "new", named_sites=True) == "detected"
    assert known.how_known("timm", "new", named_sites=False) == "by path only"
    assert known.how_known("timm", "resnet18", named_sites=True) == "laws tested"
