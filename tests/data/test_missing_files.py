"""Half of an archive is no data set: files that are named and not there stop an import, unless they are allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptkit.benchmarks import import_benchmark
from adaptkit.benchmarks.benchmark import synthesise
from adaptkit.benchmarks.sources import Missing
from adaptkit.errors import DataError, UsageError

NAMED = [
    ("food101", "artelab", "images/train/*/*.jpg", "pictures of train_titles.csv"),
    ("food101", "artelab", "images/test/*/*.jpg", "pictures of test_titles.csv"),
    ("food101", "mmbt", "images/*/*/*.jpg", "pictures of the pages in texts_txt"),
    ("food101", "mmbt", "texts_txt/*/*.txt", "pages of the pictures of train"),
    ("mmimdb", "raw", "**/*.jpeg", "pictures"),
    ("mmimdb", "raw", "**/dataset/*.json", r"films of split.json"),
    ("mmimdb", "mmbt", "**/*.jp*g", "pictures"),
    ("moviescope", "jsonl", "**/200F_VGG16/*.p", "films' files in 200F_VGG16"),
    ("moviescope", "jsonl", "**/PosterFeatures/*.p", "films' files in PosterFeatures"),
    ("moviescope", "jsonl", "**/Raw_Poster/*.jpg", "pictures"),
]


@pytest.mark.parametrize(("benchmark", "variant", "files", "named"), NAMED)
def test_half_of_the_files_missing_is_an_error_unless_it_is_allowed(
    benchmark: str, variant: str, files: str, named: str, tmp_path: Path
) -> None:
    synthesise(benchmark, tmp_path / "download", variant=variant, samples=60)
    found = sorted((tmp_path / "download").glob(files))
    for path in found[::2]:
        path.unlink()
    with pytest.raises(DataError, match=rf"of [\d,]+ {named} do not exist.*--option missing=0\.\d") as error:
        import_benchmark(benchmark, tmp_path / "download")
    assert not (tmp_path / "download" / "adaptkit").exists()
    share = float(str(error.value).rpartition("=")[2].rstrip("."))
    store = import_benchmark(benchmark, tmp_path / "download", options={"missing": max(share, 0.55)})
    assert sum(store.meta["splits"].values()) > 0
    assert any("missing" in note or "dropped" in note or "absent" in note for note in store.meta["audit"])


def test_a_few_files_may_be_missing_and_are_counted(tmp_path: Path) -> None:
    synthesise("food101", tmp_path, variant="mmbt", samples=200)
    for path in sorted((tmp_path / "images").rglob("*.jpg"))[:3]:
        path.unlink()
    assert sum(import_benchmark("food101", tmp_path).meta["splits"].values()) == 296  # one has no page


def test_the_files_of_mmbts_lines_are_counted_too(tmp_path: Path) -> None:
    synthesise("food101", tmp_path, variant="mmbt", samples=60)
    for split in ("train", "dev", "test"):
        lines = [f'{{"id": {n}, "label": "sushi", "text": "x", "img": "images/{split}{n}.jpg"}}' for n in range(4)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"12 of 12 pictures do not exist.*missing=1\.0"):
        import_benchmark("food101", tmp_path)


def test_videos_are_named_by_the_clips(tmp_path: Path) -> None:
    synthesise("msrvtt", tmp_path, samples=20)
    for path in (*tmp_path.rglob("*.mp4"), *tmp_path.rglob("*.webm")):
        path.unlink()
    (tmp_path / "video0.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    with pytest.raises(DataError, match="videos do not exist"):
        import_benchmark("msrvtt", tmp_path)
    store = import_benchmark("msrvtt", tmp_path, options={"missing": 1.0})
    assert "video" in store.columns


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan"), 60.0])
def test_what_is_allowed_is_a_share(share: float) -> None:
    with pytest.raises(UsageError, match="a share between 0 and 1"):
        Missing(share)


def test_five_may_always_be_missing() -> None:
    Missing(0.0).check(5, 6, "files", "here")
    with pytest.raises(DataError, match=r"6 of 6 files do not exist.*missing=1\.0"):
        Missing(0.9).check(6, 6, "files", "here")
    Missing(0.05).check(500, 10_000, "files", "here")
    with pytest.raises(DataError, match=r"501 of 10,000 files do not exist.*missing=0\.06"):
        Missing(0.05).check(501, 10_000, "files", "here")
