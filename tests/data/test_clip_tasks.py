"""TVQA, How2QA, TVC and YC2C in VALUE's form: rows, subtitles, vectors of frames, and what is wrong with a download."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptkit.benchmarks.benchmark import import_benchmark, synthesise
from adaptkit.data.checking import check_store
from adaptkit.errors import DataError
from adaptkit.modalities.arrays import read_array

TASKS = ("tvqa", "how2qa", "tvc", "yc2c")
TRAIN = Path("video/ann/tvqa/tvqa_train.jsonl")
FRAMES = Path("video/vis_features/tv/clip-vit")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """TVQA and TVC, which share their clips."""
    for name in ("tvqa", "tvc"):
        synthesise(name, tmp_path / "d", samples=27, force=True)
    return tmp_path / "d"


def edit(path: Path, line: int, **changes: Any) -> None:
    lines = path.read_text().splitlines()
    lines[line] = json.dumps({**json.loads(lines[line]), **changes})
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", TASKS)
def test_each_task_is_written_imported_and_checked(tmp_path: Path, name: str) -> None:
    synthesise(name, tmp_path, samples=27)
    store = import_benchmark(name, tmp_path)
    assert store.folder.name == f"adaptkit-{name}"
    assert not check_store(store).problems
    assert store.columns["video"]["width"] == 512
    row = store.rows("test")[0]
    frames = read_array(tmp_path / row["video"], name="video", where="s")
    assert frames.shape[1] == 512
    assert frames.dtype == np.float32
    videos = {split: {row["video"] for row in store.rows(split)} for split in store.splits}
    assert videos["train"].isdisjoint(videos["validation"] | videos["test"])
    assert videos["validation"].isdisjoint(videos["test"])
    if name in ("tvqa", "how2qa"):
        right = row["options"].split(f"{row['answer']}: ")[1].split(".")[0]
        kinds = 5 if name == "tvqa" else 4
        assert (row["options"].count(": "), row["time"], bool(right)) == (kinds, "0.5-6.25", True)
    else:
        assert len(row["captions"]) == 3
        assert [len(row["captions"]) for row in store.rows("train")[:3]] == [1, 1, 1]
        assert row["time"] == "0.5-6.25"


def test_two_tasks_share_their_clips(root: Path) -> None:
    first, second = (import_benchmark(name, root) for name in ("tvqa", "tvc"))
    said = {row["video"]: row["subtitles"] for row in first.rows("train")}
    same = [row for row in second.rows("train") if row["video"] in said]
    assert same
    assert all(row["subtitles"] == said[row["video"]] for row in same)
    assert max(len(text or "") for text in said.values()) > 4000  # longer than a model reads


def test_subtitles_and_options_are_written_as_published(root: Path) -> None:
    said = root / "video/ann/tv_subtitles.jsonl"
    edit(said, 0, sub=[{"text": " Hi. "}, {"text": ""}, {"text": "There\n"}])
    edit(root / TRAIN, 0, a0=" he left. ", a1="A dog ..", answer_idx="1", ts=[1.5, 2])
    store = import_benchmark("tvqa", root)
    row = next(row for split in store.splits for row in store.rows(split) if row["id"] == "0")
    assert row["subtitles"] == "Hi. There"
    assert row["options"].startswith("a0: he left. a1: A dog. a2: ")
    assert (row["answer"], row["time"]) == ("a1", "1.5-2")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer_idx": 5}, "answer_idx is 5, not 0 to 4"),
        ({"answer_idx": None}, "answer_idx is None, not 0 to 4"),
        ({"a3": None}, "a3 is nothing, not text"),
        ({"ts": {"a": 1}}, "ts is .*, not a span of time"),
        ({"vid_name": "../../secret"}, "the id '../../secret' would leave the data folder"),
        ({"q": ["what"]}, "q or question is of type list, not text"),
    ],
)
def test_wrong_values_are_told_with_their_line(root: Path, changes: dict[str, Any], message: str) -> None:
    edit(root / TRAIN, 2, **changes)
    with pytest.raises(DataError, match=rf"tvqa_train\.jsonl:3  {message}"):
        import_benchmark("tvqa", root)
    assert not list(root.glob("adaptkit*"))


def test_annotations_without_descriptions_are_told(root: Path) -> None:
    edit(root / "video/ann/tvc/tvc_val_release.jsonl", 0, descs=[])
    with pytest.raises(DataError, match=r"tvc_val_release\.jsonl:1  a list `descs` of objects"):
        import_benchmark("tvc", root)
    (root / "video/ann/tv_subtitles.jsonl").unlink()
    with pytest.raises(DataError, match=r"is not TVC: video/ann/tvc/tvc_train_release\.jsonl .* are expected there"):
        import_benchmark("tvc", root)


def test_clips_without_subtitles_or_frames_are_counted_up_to_a_share(root: Path) -> None:
    said = root / "video/ann/tv_subtitles.jsonl"
    lines = said.read_text().splitlines()
    said.write_text("\n".join(lines[1:]) + "\n")
    files = sorted((root / FRAMES).iterdir())
    files[0].unlink()
    store = import_benchmark("tvqa", root)
    assert store.meta["audit"]["rows of videos without subtitles"] == 1
    assert store.meta["audit"]["image: the file is missing"] == 1
    for path in files[1:7]:
        path.unlink()
    with pytest.raises(DataError, match=r"7 of \d+ videos do not exist.* --option missing=0\."):
        import_benchmark("tvqa", root, force=True)
    assert len(import_benchmark("tvqa", root, force=True, options={"missing": 0.5}).rows("train"))
    for path in files[7:]:
        path.unlink()
    with pytest.raises(DataError, match=r"has none of: \.npz files in video/vis_features/tv/clip-vit\."):
        import_benchmark("tvqa", root, force=True)


def test_frames_are_read_as_data_and_never_unpickled(root: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (root / "exploded",)

    files = sorted((root / FRAMES).iterdir())
    np.savez(files[0], features=np.array([Bomb()], dtype=object), allow_pickle=True)
    files[1].write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"2 of \d+ videos are broken"):
        import_benchmark("tvqa", root)
    assert not (root / "exploded").exists()


def test_frames_that_are_a_link_out_of_the_folder_are_refused(root: Path) -> None:
    file = sorted((root / FRAMES).iterdir())[0]
    file.rename(root.parent / "secret.npz")
    file.symlink_to(root.parent / "secret.npz")
    with pytest.raises(DataError, match="is a link that leaves the data folder"):
        import_benchmark("tvqa", root)
