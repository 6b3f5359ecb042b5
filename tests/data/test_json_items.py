"""Large JSON files, read an entry at a time: the same values as json has, whatever the window, in bounded memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptkit.benchmarks import json_items
from adaptkit.benchmarks.json_items import is_object, json_list, json_table
from adaptkit.errors import DataError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=6)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OBJECTS, VALUES, st.integers(1, 9), st.sampled_from([None, 1, 4]))
def test_entries_are_those_of_json_whatever_is_read_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: list[Any], other: Any, chunk: int, indent: int | None
) -> None:
    monkeypatch.setattr(json_items, "CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(entries, indent=indent), encoding="utf-8")
    assert [value for _, value in json_list(path)] == entries
    assert not is_object(path)
    path.write_text(json.dumps({"info": other, "rows": entries, "z": other}, indent=indent, ensure_ascii=True))
    assert [value for _, value in json_list(path, "rows")] == entries
    path.write_text(json.dumps({str(n): entry for n, entry in enumerate(entries)}, indent=indent))
    assert [(name, value) for _, name, value in json_table(path)] == [(str(n), v) for n, v in enumerate(entries)]
    assert is_object(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"rows": [{"a": 1}, {"a"', r"a\.json  this is not JSON: .* A download that broke off"),
        ('{"rows": [{"a": 1}', r"a\.json  the file ends where another entry is expected"),
        ('{"rows": [{"a": 1} {"a": 2}]}', r"a\.json  '{' stands where another entry is expected"),
        ('{"rows": [3]}', r"a\.json, rows\[0\]  this is a JSON int, not an object"),
        ('{"rows": {"a": 1}}', r"a\.json  '{' stands where a list 'rows' is expected"),
        ('{"other": []}', r"a\.json  an object with a list 'rows' is expected"),
        ("[]", r"a\.json  '\[' stands where an object is expected"),
        ("", r"a\.json  the file ends where an object is expected"),
        ("[" * 100_000, r"a\.json  '\[' stands where an object is expected"),
        ('{"rows": [' + "[" * 100_000, r"a\.json  this is not JSON"),
    ],
)
def test_what_is_no_list_of_objects_is_told_with_its_place(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=message):
        list(json_list(tmp_path / "a.json", "rows"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json does not exist"):
        list(json_list(tmp_path / "nowhere.json"))


def test_memory_is_that_of_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_items, "CHUNK", 1 << 14)
    with (tmp_path / "a.json").open("w") as file:
        file.write('{"rows": [' + ",".join(json.dumps({"text": "x" * 200, "n": n}) for n in range(20_000)) + "]}")
    assert (tmp_path / "a.json").stat().st_size > 4_000_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in json_list(tmp_path / "a.json", "rows")) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
