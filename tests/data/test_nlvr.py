"""NLVR: a clone of its repository, six drawings to a sentence."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from adaptkit.benchmarks.benchmark import import_benchmark, synthesise
from adaptkit.data.checking import check_store
from adaptkit.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    synthesise("nlvr", tmp_path / "clone", samples=120)
    (tmp_path / "clone" / ".git").mkdir()
    return tmp_path / "clone"


def test_every_drawing_is_a_row(root: Path) -> None:
    store = import_benchmark("nlvr", root)
    assert store.meta["splits"] == {"train": 120, "validation": 24, "test": 36}
    assert not check_store(store).problems
    six = store.rows("train")[:6]
    assert [row["id"] for row in six] == [f"train-0-0-{order}" for order in range(6)]
    assert len({(row["text"], row["answer"]) for row in six}) == 1
    assert six[0]["image"] == "nlvr/train/images/0/train-0-0-0.png"
    with Image.open(root / six[0]["image"]) as picture:
        assert (picture.size, picture.mode) == ((400, 100), "RGBA")
    counts = Counter(row["answer"] for row in store.rows("train"))
    assert min(counts.values()) > 30
    one = import_benchmark("nlvr", root / "nlvr", options={"orders": 1})
    assert one.meta["splits"]["train"] == 20


def test_the_hidden_split_does_not_say_where_its_drawings_lie(root: Path) -> None:
    """Released later: no directory and no judgements."""
    hidden = root / "nlvr" / "hidden"
    shutil.copytree(root / "nlvr" / "test", hidden)
    rows = [json.loads(line) for line in (hidden / "test.json").read_text().splitlines()]
    (hidden / "test.json").unlink()
    keys = ("sentence", "identifier", "label", "structured_rep")
    (hidden / "hidden.json").write_text("".join(json.dumps({k: row[k] for k in keys}) + "\n" for row in rows))
    for path in hidden.rglob("*.png"):
        path.rename(path.with_name(path.name.replace("test-", "hidden-")))
    store = import_benchmark("nlvr", root)
    assert store.meta["splits"]["test_hidden"] == 36
    assert all(row["image"] is not None for row in store.rows("test_hidden"))


def test_a_clone_without_its_drawings_is_refused(root: Path) -> None:
    shutil.rmtree(root / "nlvr" / "train" / "images")
    with pytest.raises(DataError, match=r"120 of 180 drawings do not exist"):
        import_benchmark("nlvr", root)
    (root / "nlvr" / "train" / "train.json").unlink()
    with pytest.raises(DataError, match=r"is not NLVR: nlvr/\{train,dev,test\}.* are expected there \(found: .*nlvr\)"):
        import_benchmark("nlvr", root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "maybe"}, "label is 'maybe', not true or false"),
        ({"identifier": "../1"}, "the id '../1' would leave the data folder"),
        ({"directory": ".."}, r"the id '\.\.' would leave the data folder"),
        ({"sentence": None}, "sentence is nothing, not text"),
    ],
)
def test_wrong_values_are_told_with_their_line(root: Path, change: dict[str, object], message: str) -> None:
    path = root / "nlvr" / "dev" / "dev.json"
    lines = path.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **change})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=rf"dev\.json:2  {message}"):
        import_benchmark("nlvr", root)


@pytest.mark.parametrize("orders", [0, 7])
def test_there_are_six_orders(root: Path, orders: int) -> None:
    with pytest.raises(DataError, match=f"orders is {orders}, not 1 to 6"):
        import_benchmark("nlvr", root, options={"orders": orders})
