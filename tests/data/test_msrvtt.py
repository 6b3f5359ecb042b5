"""MSR-VTT: its three splits, captions, videos and expert vectors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptkit.benchmarks import import_benchmark
from adaptkit.benchmarks.msrvtt.importer import MSRVTT, read_csv
from adaptkit.errors import DataError

TEST = "MSRVTT_JSFUSION_test.csv"


def made(root: Path, variant: str, samples: int = 20) -> Path:
    MSRVTT().synth(root, variant=variant, samples=samples, seed=0)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """1k-A: 20 clips of train and 4 of dev are the 24 to train with, 6 the test."""
    return made(tmp_path / "msrvtt", "1k-A")


def edit(path: Path, change: Any) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_1k_a_has_a_row_for_each_caption_and_the_given_sentences(root: Path) -> None:
    store = import_benchmark("msrvtt", root)
    assert store.meta["variant"] == "1k-A"
    assert store.meta["splits"] == {"train": 22 * 4, "validation": 2, "test": 6}
    test = [row for _, row in read_csv(root / TEST, ())]
    assert [(row["video_id"], row["caption"]) for row in store.rows("test")] == [
        (row["video_id"], row["sentence"]) for row in test
    ]
    first = store.rows("train")[:4]
    assert [row["id"] for row in first] == [f"video0#{n}" for n in range(4)]
    sentences = json.loads((root / "MSRVTT_data.json").read_text())["sentences"]
    assert [row["caption"] for row in first] == [s["caption"] for s in sentences if s["video_id"] == "video0"]
    clips = {split: {row["video_id"] for row in store.rows(split)} for split in store.splits}
    assert clips["train"].isdisjoint(clips["validation"] | clips["test"])
    assert clips["validation"].isdisjoint(clips["test"])
    assert store.meta["audit"]["validation: clips drawn from train, seed 0, the first caption of each"] == 2


def test_7k_reads_the_other_list(tmp_path: Path) -> None:
    store = import_benchmark("msrvtt", made(tmp_path, "7k"))
    assert store.meta["variant"] == "7k"
    assert store.meta["splits"] == {"train": 88, "validation": 2, "test": 6}


def test_official_has_all_captions_of_all_splits(tmp_path: Path) -> None:
    store = import_benchmark("msrvtt", made(tmp_path, "official"))
    assert store.meta["variant"] == "official"
    assert store.meta["splits"] == {"train": 80, "validation": 16, "test": 24}
    assert set(store.meta["audit"]) == {f"{name}: the file is missing" for name in ("face", "speech", "ocr")}


def test_official_may_be_in_two_files(tmp_path: Path) -> None:
    whole = json.loads((made(tmp_path, "official") / "videodatainfo_2016.json").read_text())
    (tmp_path / "videodatainfo_2016.json").unlink()
    for name, splits in (
        ("train_val_videodatainfo.json", ("train", "validate")),
        ("test_videodatainfo.json", ("test",)),
    ):
        clips = [video for video in whole["videos"] if video["split"] in splits]
        names = {clip["video_id"] for clip in clips}
        lines = [line for line in whole["sentences"] if line["video_id"] in names]
        (tmp_path / name).write_text(json.dumps({"videos": clips, "sentences": lines}))
    store = import_benchmark("msrvtt", tmp_path)
    assert store.meta["splits"] == {"train": 80, "validation": 16, "test": 24}
    assert {"train_val_videodatainfo.json", "test_videodatainfo.json"} <= store.meta["sources"].keys()


def test_a_clip_in_two_files_counts_once(tmp_path: Path) -> None:
    content = (made(tmp_path, "official") / "videodatainfo_2016.json").read_text()
    (tmp_path / "videodatainfo_2017.json").write_text(content)
    store = import_benchmark("msrvtt", tmp_path)
    assert store.meta["splits"] == {"train": 80, "validation": 16, "test": 24}


def test_the_archive_with_all_lists_is_1k_a_unless_asked(root: Path) -> None:
    made(root, "7k")
    folder = root / "msrvtt_data"
    folder.mkdir()
    for name in ("MSRVTT_data.json", "MSRVTT_train.9k.csv", "MSRVTT_train.7k.csv", TEST):
        (root / name).rename(folder / name)
    assert import_benchmark("msrvtt", root).meta["variant"] == "1k-A"
    official = import_benchmark("msrvtt", root, variant="official", to=root / "store")
    assert official.meta["splits"] == {"train": 80, "validation": 16, "test": 24}


def test_vectors_of_experts_stay_where_they_are(root: Path) -> None:
    store = import_benchmark("msrvtt", root)
    assert {n: c["width"] for n, c in store.columns.items() if c["width"]} == {
        "appearance": 2048,
        "motion": 1024,
        "scene": 2208,
        "audio": 128,
        "face": 512,
        "speech": 300,
        "ocr": 300,
    }
    row = store.rows("test")[0]
    for name, shape in (("appearance", (4, 2048)), ("motion", (4, 1024)), ("scene", (2208,))):
        assert row[name] == f"features/{name}/{row['video_id']}.npy"
        assert np.load(root / row[name]).shape == shape


def test_missing_and_broken_vectors_are_absent(root: Path) -> None:
    folder = root / "features" / "motion"
    (folder / "video0.npy").unlink()
    np.save(folder / "video25.npy", np.full((4, 1024), np.nan, np.float32))
    store = import_benchmark("msrvtt", root)
    assert store.rows("train")[0]["motion"] is None
    assert store.rows("train")[0]["audio"] is not None
    assert [row["video_id"] for row in store.rows("test") if row["motion"] is None] == ["video25"]
    assert store.meta["audit"]["motion: the file is missing"] == 1
    named = "motion: broken vectors count as absent, such as features/motion/video25.npy"
    assert store.meta["audit"][named] == 1
    (folder / "video26.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match="2 of 29 vectors are broken"):
        import_benchmark("msrvtt", root, to=root / "again")


def test_vectors_of_another_width_are_an_error(root: Path) -> None:
    np.save(root / "features" / "motion" / "video3.npy", np.zeros((4, 100), np.float32))
    with pytest.raises(DataError, match=r"video3\.npy has shape \(4, 100\), not \(T, 1024\)"):
        import_benchmark("msrvtt", root)


def test_a_pickle_in_an_npy_is_never_loaded(root: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {root}/ran",)

    np.save(root / "features" / "motion" / "video3.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    store = import_benchmark("msrvtt", root)
    assert not (root / "ran").exists()
    assert any("motion: broken vectors" in note for note in store.meta["audit"])


def test_an_expert_may_not_be_called_like_another_column(root: Path) -> None:
    (root / "features" / "motion").rename(root / "features" / "video")
    with pytest.raises(DataError, match="cannot be called 'video'"):
        import_benchmark("msrvtt", root)


def test_videos_are_mp4_or_else_webm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptkit.benchmarks.msrvtt.synthesis._write_videos", lambda *_: None)
    root = made(tmp_path, "1k-A", samples=60)
    assert "video" not in import_benchmark("msrvtt", root, to=root / "without").columns
    folder = root / "videos" / "all"
    folder.mkdir(parents=True)
    mp4, webm = b"\0\0\0\x20ftypisom", b"\x1a\x45\xdf\xa3 matroska"
    for number in range(90):
        (folder / f"video{number}.webm").write_bytes(webm)
    for number in range(1, 60):
        (folder / f"video{number}.mp4").write_bytes(mp4)
    (folder / "video75.webm").write_bytes(b"<html>")
    store = import_benchmark("msrvtt", root)
    found = {row["video_id"]: row["video"] for split in store.splits for row in store.rows(split)}
    assert found["video0"] == "videos/all/video0.webm"
    assert found["video1"] == "videos/all/video1.mp4"
    assert found["video75"] is None
    assert any(note.startswith("video: broken videos count as absent") for note in store.meta["audit"])


def test_synthetic_videos_are_videos(root: Path) -> None:
    av = pytest.importorskip("av")
    row = import_benchmark("msrvtt", root).rows("test")[0]
    with av.open(str(root / row["video"])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 8


def test_clips_of_the_test_are_never_trained_with(root: Path) -> None:
    with (root / "MSRVTT_train.9k.csv").open("a") as file:
        file.write("video25\r\nvideo9999\r\nvideo0\r\n")
    store = import_benchmark("msrvtt", root)
    assert store.meta["splits"] == {"train": 88, "validation": 2, "test": 6}
    assert store.meta["audit"]["clips of the test split are left out of train"] == 1
    assert store.meta["audit"]["clips of train without a caption are dropped"] == 1


def test_the_validation_split_is_seeded(root: Path) -> None:
    def drawn(**options: int) -> list[str]:
        store = import_benchmark("msrvtt", root, to=root / "store", options=options, force=True)
        return [row["video_id"] for row in store.rows("validation")]

    assert drawn(validation=5) == drawn(validation=5, seed=0)
    assert drawn(validation=5) != drawn(validation=5, seed=1)
    with pytest.raises(DataError, match="24 validation clips cannot be drawn from 24"):
        drawn(validation=24)


def test_a_csv_with_semicolons_is_read(root: Path) -> None:
    path = root / TEST
    path.write_text(path.read_text().replace(",", ";"))
    assert import_benchmark("msrvtt", root).meta["splits"]["test"] == 6


def test_odd_rows_of_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeffvideo_id, sentence\r\nvideo1,"a, ""b"""\r\n\r\nvideo2,c, d, e\r\nvideo3\r\n')
    assert read_csv(path, ("video_id", "sentence")) == [
        ("a.csv:2", {"video_id": "video1", "sentence": 'a, "b"'}),
        ("a.csv:4", {"video_id": "video2", "sentence": "c, d, e"}),
        ("a.csv:5", {"video_id": "video3", "sentence": ""}),
    ]
    for content in ("", "x" * 200_000):
        path.write_text(content)
        with pytest.raises(DataError, match=r"a\.csv"):
            read_csv(path, ("video_id",))


def test_a_csv_without_its_columns_is_an_error(root: Path) -> None:
    (root / TEST).write_text("clip,text\nvideo1,hello\n")
    with pytest.raises(DataError, match="no column 'video_id'"):
        import_benchmark("msrvtt", root)


def test_a_clip_that_leads_elsewhere_is_an_error(root: Path) -> None:
    edit(root / "MSRVTT_data.json", lambda data: data["videos"][2].update(video_id="../../etc/passwd"))
    with pytest.raises(DataError, match=r"videos\[2\].*would leave"):
        import_benchmark("msrvtt", root)
    assert not (root / "adaptkit").exists()
    with (root / "MSRVTT_train.9k.csv").open("a") as file:
        file.write("../x\n")
    edit(root / "MSRVTT_data.json", lambda data: data["videos"][2].update(video_id="video2"))
    with pytest.raises(DataError, match=r"train\.9k\.csv:26.*would leave"):
        import_benchmark("msrvtt", root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["videos"][1].pop("video_id"), r"videos\[1\].*'video_id' is expected"),
        (lambda data: data["videos"][1].update(split="holdout"), "the split 'holdout'"),
        (lambda data: data["sentences"][3].update(video_id="video9999"), r"sentences\[3\].*unknown clip"),
        (lambda data: data["sentences"][3].update(caption=None), r"sentences\[3\]"),
        (lambda data: data.pop("sentences"), "a list 'sentences' is expected"),
    ],
)
def test_mistakes_in_the_json_are_named(root: Path, change: Any, message: str) -> None:
    edit(root / "MSRVTT_data.json", change)
    with pytest.raises(DataError, match=message):
        import_benchmark("msrvtt", root)


def test_a_truncated_json_is_an_error(root: Path) -> None:
    path = root / "MSRVTT_data.json"
    path.write_text(path.read_text()[:-50])
    with pytest.raises(DataError, match="not JSON"):
        import_benchmark("msrvtt", root)


def test_another_folder_is_told_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"MSRVTT_data\.json or videodatainfo_2016\.json is expected"):
        import_benchmark("msrvtt", tmp_path)
    (made(tmp_path, "1k-A", samples=2) / "MSRVTT_train.9k.csv").unlink()
    assert import_benchmark("msrvtt", tmp_path).meta["variant"] == "official"
    for variant in ("1k-A", "7k"):
        with pytest.raises(DataError, match="does not exist"):
            import_benchmark("msrvtt", tmp_path, variant=variant)


def test_captions_match_what_the_experts_saw_and_no_expert_suffices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A linear map from the words to the vectors finds the clip; with one expert alone it is one of many."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge

    monkeypatch.setattr("adaptkit.benchmarks.msrvtt.synthesis._write_videos", lambda *_: None)
    root = made(tmp_path, "1k-A", samples=150)
    store = import_benchmark("msrvtt", root)
    train, test = list(store.rows("train"))[::4], list(store.rows("test"))
    words = CountVectorizer(binary=True).fit([row["caption"] for row in train])
    x, q = (words.transform([row["caption"] for row in rows]).toarray() for rows in (train, test))

    def recall(*names: str) -> float:
        def vectors(row: Any) -> np.ndarray:
            return np.concatenate([np.atleast_2d(np.load(root / row[name])).mean(axis=0) for name in names])

        y, z = (np.stack([vectors(row) for row in rows]) for rows in (train, test))
        near = Ridge(alpha=1.0).fit(x, y).predict(q)
        closeness = near @ z.T - (z**2).sum(axis=1) / 2  # largest where the distance is smallest
        return float((closeness.argmax(axis=1) == np.arange(len(z))).mean())

    assert recall("appearance", "motion", "scene") > 0.9
    for name in ("appearance", "motion", "scene", "audio"):
        assert recall(name) < 0.4
