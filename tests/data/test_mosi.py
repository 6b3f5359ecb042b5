"""CMU-MOSI: every trap of its three pickle families, on arrays small enough to be checked by eye."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptkit.benchmarks import find_benchmark, import_benchmark, synthesise
from adaptkit.data.store import Store
from adaptkit.errors import DataError, UsageError

MULT = {"text": 300, "audio": 5, "vision": 20}
RAW = {"text": 300, "audio": 74, "vision": 35}
MMSA = {"text": 768, "audio": 5, "vision": 20}


def steps(*marks: float, width: int) -> np.ndarray:
    """(L, E): the first number of each step is its mark; a step marked 0 is zero."""
    array = np.zeros((len(marks), width), dtype=np.float32)
    array[:, 0] = marks
    return array


def split(widths: Mapping[str, int], **marks: list[list[float]]) -> dict[str, Any]:
    """The arrays of one split: modality -> for each sample the marks of its steps."""
    arrays = {name: np.stack([steps(*row, width=widths[name]) for row in rows]) for name, rows in marks.items()}
    count = len(arrays["text"])
    return {
        **{name: arrays[name] for name in ("vision", "audio", "text")},
        "labels": np.arange(count, dtype=np.float32).reshape(count, 1, 1),
        "id": np.array([[f"v{i}", "0.5", "1.5"] for i in range(count)], dtype="S"),
    }


def plain(widths: Mapping[str, int] = MULT, samples: int = 1, **changed: Any) -> dict[str, Any]:
    """A split of samples without padding, with other keys in it."""
    rows = [[1.0, 2.0]] * samples
    return split(widths, text=rows, audio=rows, vision=rows) | changed


def mmsa(samples: int = 1, **changed: Any) -> dict[str, Any]:
    """A split as MMSA lays it out."""
    content = plain(MMSA, samples)
    labels = content.pop("labels").reshape(-1)
    content["id"] = [f"v{i}$_$0" for i in range(samples)]
    content["raw_text"] = ["I LIKE IT"] * samples
    content["text_bert"] = np.ones((samples, 3, 2), dtype=np.float32)
    content["audio_lengths"] = content["vision_lengths"] = [2] * samples
    return content | {"regression_labels": labels} | changed


def written(root: Path, file: str, train: Any, *, protocol: int = 4, **others: Any) -> Path:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"train": train, "valid": train, "test": train} | others
    path.write_bytes(pickle.dumps({key: value for key, value in content.items() if value is not None}, protocol))
    return root


def read(root: Path, file: str, train: Any, options: Mapping[str, Any] | None = None, **others: Any) -> Store:
    return import_benchmark("mosi", written(root, file, train, **others), options=options)


def marks(store: Store, sample: int = 0, part: str = "train") -> dict[str, list[float] | None]:
    row = store.rows(part)[sample]
    return {name: None if row[name] is None else row[name][:, 0].tolist() for name in ("text", "audio", "vision")}


def fails(root: Path, message: str, file: str, train: Any, **others: Any) -> None:
    with pytest.raises(DataError) as caught:
        read(root, file, train, **others)
    assert message in str(caught.value)
    assert file in caught.value.problems[0].where
    assert not (root / "adaptkit").exists()


# padding


def test_aligned_sequences_lose_the_same_steps_at_the_front(tmp_path: Path) -> None:
    one = split(
        MULT,
        text=[[0, 0, 1, 2]],
        audio=[[0, 0, 0, 3]],  # the voice of the first word is zero: a step of content
        vision=[[0, 0, 5, 0]],
    )
    store = read(tmp_path, "mosi_data.pkl", one)
    assert marks(store) == {"text": [1, 2], "audio": [0, 3], "vision": [5, 0]}
    assert store.meta["audit"]["audio: steps of padding at the front stripped"] == 2 * 3


def test_unaligned_sequences_lose_each_its_own_zeros_at_the_front_alone(tmp_path: Path) -> None:
    one = plain() | split(MULT, text=[[0, 1, 0, 2]], audio=[[0, 0, 0, 0, 3, 0]], vision=[[7, 0, 0]])
    store = read(tmp_path, "mosi_data_noalign.pkl", one)
    assert marks(store) == {"text": [1, 0, 2], "audio": [3, 0], "vision": [7, 0, 0]}


def test_in_multibench_the_text_says_where_a_sample_starts_and_whether_it_stays(tmp_path: Path) -> None:
    two = split(
        RAW,
        text=[[0, 0, 1, 2], [0, 0, 0, 0]],
        audio=[[0, 8, 3, 4], [1, 2, 3, 4]],
        vision=[[0, 0, 5, 6], [1, 2, 3, 4]],
    )
    store = read(tmp_path, "mosi_raw.pkl", two)
    assert marks(store) == {"text": [1, 2], "audio": [3, 4], "vision": [5, 6]}
    assert store.meta["splits"] == {"train": 1, "validation": 1, "test": 1}
    assert store.meta["audit"]["samples whose text sums to 0, dropped as MultiBench does"] == 3


def test_other_variants_keep_samples_without_text(tmp_path: Path) -> None:
    store = read(tmp_path, "mosi_data.pkl", split(MULT, text=[[0, 0]], audio=[[0, 1]], vision=[[2, 3]]))
    assert marks(store) == {"text": None, "audio": [0, 1], "vision": [2, 3]}
    assert store.meta["audit"]["text: sequences that are zero throughout, absent"] == 3


def test_mmsa_pads_at_the_end_and_states_the_lengths(tmp_path: Path) -> None:
    mask = np.zeros((1, 3, 4), dtype=np.float32)  # integers stored as floats
    mask[0, 0], mask[0, 1, :3] = (101, 2023, 102, 0), 1
    one = mmsa() | split(MMSA, text=[[1, 2, 3, 9]], audio=[[0, 4, 0, 0, 0]], vision=[[5, 0, 0]])
    store = read(
        tmp_path,
        "MOSI/Processed/unaligned_50.pkl",
        one | {"text_bert": mask, "audio_lengths": [3], "vision_lengths": np.array([2])},
    )
    assert marks(store) == {"text": [1, 2, 3], "audio": [0, 4, 0], "vision": [5, 0]}  # zeros within stay


def test_mmsa_lengths_that_would_cut_what_is_there_are_not_used(tmp_path: Path) -> None:
    # Counted up to the first zero, sequences that are padded at the front get the length 1.
    one = mmsa() | split(MMSA, text=[[1, 2]], audio=[[0, 0, 3, 4, 0]], vision=[[5, 6, 0]])
    store = read(tmp_path, "unaligned_50.pkl", one | {"audio_lengths": [1], "vision_lengths": [2]})
    assert marks(store) == {"text": [1, 2], "audio": [3, 4], "vision": [5, 6]}
    assert store.meta["audit"]["audio: stated lengths that are too short for what is there, not used"] == 3


def test_aligned_mmsa_takes_all_lengths_from_the_mask(tmp_path: Path) -> None:
    mask = np.array([[[101, 7, 102, 0], [1, 1, 1, 0], [0, 0, 0, 0]]])
    one = mmsa() | split(MMSA, text=[[1, 2, 3, 0]], audio=[[0, 4, 0, 0]], vision=[[0, 0, 0, 6]])
    for key in ("audio_lengths", "vision_lengths"):
        del one[key]
    store = read(tmp_path, "MOSI/Processed/aligned_50.pkl", one | {"text_bert": mask})
    assert marks(store) == {"text": [1, 2, 3], "audio": [0, 4, 0], "vision": [0, 0, 0, 6]}


def test_mmsa_without_lengths_loses_the_zeros_at_the_end(tmp_path: Path) -> None:
    one = mmsa() | split(MMSA, text=[[1, 0]], audio=[[0, 4, 0]], vision=[[5, 0, 0]])
    for key in ("audio_lengths", "vision_lengths", "text_bert"):
        del one[key]
    store = read(tmp_path, "unaligned_50.pkl", one)
    assert marks(store) == {"text": [1], "audio": [0, 4], "vision": [5]}
    assert store.meta["audit"]["audio: no lengths in the source, zeros at the end stripped (splits)"] == 3


# values, labels, ids, words


def test_what_is_not_finite_becomes_zero_before_padding_is_looked_for(tmp_path: Path) -> None:
    one = split(MULT, text=[[0, 0, 1]], audio=[[-np.inf, 2, np.nan]], vision=[[0, 3, np.inf]])
    store = read(tmp_path, "mosi_data_noalign.pkl", one)
    assert marks(store) == {"text": [1], "audio": [2, 0], "vision": [3, 0]}
    assert store.meta["audit"]["NaN or infinity in audio set to 0 (values)"] == 2 * 3
    assert store.meta["audit"]["NaN or infinity in vision set to 0 (values)"] == 1 * 3


def test_float64_beyond_float32_becomes_zero(tmp_path: Path) -> None:
    one = plain()
    one["audio"] = one["audio"].astype(np.float64)
    one["audio"][0, 1, 0] = 1e300
    assert marks(read(tmp_path, "mosi_data.pkl", one))["audio"] == [1, 0]


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 1, 1)])
def test_labels_of_any_published_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    labels = np.array([-3.0, 0.0, 2.5]).reshape(shape)
    store = read(tmp_path, "mosi_data.pkl", plain(samples=3, labels=labels))
    assert [row["sentiment"] for row in store.rows("test", ["sentiment"])] == [-3.0, 0.0, 2.5]


def test_of_seven_labels_the_first_is_the_sentiment(tmp_path: Path) -> None:
    labels = np.arange(14.0).reshape(2, 1, 7) / 7
    store = read(tmp_path, "mosi_raw.pkl", plain(RAW, samples=2, labels=labels))
    assert [row["sentiment"] for row in store.rows("train")] == [0.0, 1.0]
    assert store.meta["audit"]["labels of 7 numbers: the first, sentiment, is kept"] == 6


def test_labels_that_are_no_numbers_or_out_of_range_are_reported(tmp_path: Path) -> None:
    store = read(tmp_path, "mosi_data.pkl", plain(samples=3, labels=np.array([np.nan, 3.2, 1.0])))
    assert store.meta["splits"]["train"] == 2
    assert store.meta["audit"]["samples whose label is not a finite number, dropped"] == 3
    assert store.meta["audit"]["sentiment outside [-3, 3]"] == 3
    assert [row["id"] for row in store.rows("train")] == ["v1_0.5_1.5", "v2_0.5_1.5"]  # rows still belong together


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (np.array([[b"a", b"0", b"1"], [b"b", b"0", b"1"]]), ["a_0_1", "b_0_1"]),
        (np.array([["a", "0", "1"], ["b", "0", "1"]], dtype=object), ["a_0_1", "b_0_1"]),
        (["a[0]", "a[1]"], ["a[0]", "a[1]"]),
        (["a", "a"], ["a", "a#2"]),
        (["a#2", "a", "a", "a"], ["a#2", "a", "a#3", "a#4"]),
        (None, ["train_0", "train_1"]),
    ],
)
def test_ids_of_any_published_form(tmp_path: Path, ids: Any, names: list[str]) -> None:
    store = read(tmp_path, "mosi_data.pkl", plain(samples=len(names), id=ids))
    assert [row["id"] for row in store.rows("train")] == names


def test_ids_that_are_in_two_splits_are_reported(tmp_path: Path) -> None:
    store = read(tmp_path, "mosi_data.pkl", plain(), test=plain(id=[b"other"]))
    assert store.meta["audit"]["ids that are in train and in validation (kept)"] == 1
    assert "ids that are in train and in test (kept)" not in store.meta["audit"]


def test_the_transcript_is_kept_and_an_empty_one_is_absent(tmp_path: Path) -> None:
    store = read(tmp_path, "aligned_50.pkl", mmsa(3, raw_text=["I LIKE IT", " ", b"caf\xc3\xa9"]))
    assert [row["words"] for row in store.rows("train")] == ["I LIKE IT", None, "café"]


def test_a_transcript_that_is_not_in_every_split_is_not_kept(tmp_path: Path) -> None:
    store = read(tmp_path, "aligned_50.pkl", mmsa(), test={k: v for k, v in mmsa().items() if k != "raw_text"})
    assert "words" not in store.columns
    assert store.meta["audit"]["raw_text is not in every split: words not kept"] == 1


# files


def test_the_order_of_the_modalities_in_the_file_does_not_matter(tmp_path: Path) -> None:
    one = dict(reversed(plain().items()))
    assert marks(read(tmp_path, "mosi_data.pkl", one)) == {"text": [1, 2], "audio": [1, 2], "vision": [1, 2]}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickles_of_any_protocol(tmp_path: Path, protocol: int) -> None:
    store = read(tmp_path, "mosi_data.pkl", plain(), protocol=protocol)
    assert store.rows("train")[0]["id"] == "v0_0.5_1.5"


@pytest.mark.parametrize("name", ["val", "dev", "validation"])
def test_the_validation_split_under_another_name(tmp_path: Path, name: str) -> None:
    store = read(tmp_path, "mosi_data.pkl", plain(), valid=None, **{name: plain(samples=2)})
    assert store.meta["splits"] == {"train": 1, "validation": 2, "test": 1}


def test_a_file_of_another_width_names_what_was_found(tmp_path: Path) -> None:
    wrong = "train has vectors of text 300, audio 74, vision 35; expected text 300, audio 5, vision 20"
    fails(tmp_path, wrong, "mosi_data.pkl", plain(RAW))
    swapped = plain()
    swapped["audio"], swapped["vision"] = swapped["vision"], swapped["audio"]
    fails(tmp_path, "text 300, audio 20, vision 5; expected text 300, audio 5, vision 20", "mosi_data.pkl", swapped)
    fails(tmp_path, "valid has vectors of text 300, audio 74", "mosi_data.pkl", plain(), valid=plain(RAW))


def test_features_of_ones_own_are_taken_when_asked_for(tmp_path: Path) -> None:
    store = read(tmp_path, "mosi_data.pkl", plain(RAW), {"any_width": True})
    assert store.columns["vision"]["width"] == 35
    with pytest.raises(UsageError, match="any_widht"):
        import_benchmark("mosi", tmp_path, force=True, options={"any_widht": True})


def test_a_damaged_or_foreign_pickle_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    file = "mosi_data.pkl"
    fails(tmp_path, "has no split 'valid'; it has test, train", file, plain(), valid=None)
    fails(tmp_path, "train is a list, not a dict of arrays", file, [1, 2])
    less = plain()
    del less["audio"]
    fails(tmp_path, "train has no audio; it has id, labels, text, vision", file, less)
    fails(tmp_path, "audio has 2 samples, text has 1", file, plain(audio=np.ones((2, 2, 5))))
    fails(tmp_path, "labels have shape (1, 2); 1 or 7 per sample expected", file, plain(labels=np.ones((1, 2))))
    fails(tmp_path, "not numbers", file, plain(labels=np.array(["good"])))
    fails(tmp_path, "labels is a list of arrays of different shapes", file, plain(samples=2, labels=[[1], [1, 2]]))
    fails(tmp_path, "id has 2 samples, text has 1", file, plain(id=["a", "b"]))
    fails(tmp_path, "id is a str, not a list", file, plain(id="a"))
    fails(tmp_path, "array of float64 of shape (1, 5)", file, plain(audio=np.ones((1, 5))))
    fails(tmp_path, "list of arrays of different shapes", file, plain(audio=[np.ones((2, 5)), np.ones((3, 5))]))
    fails(tmp_path, "in an aligned file all three are as long", file, plain(audio=np.ones((1, 7, 5))))


def test_mmsa_keys_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    file = "unaligned_50.pkl"
    fails(tmp_path, "train has no regression_labels", file, plain(MMSA))
    fails(tmp_path, "text_bert has shape (1, 2, 3); (1, 3, steps) expected", file, mmsa(text_bert=np.ones((1, 2, 3))))
    fails(tmp_path, "the lengths of audio do not fit", file, mmsa(audio_lengths=[3]))
    fails(tmp_path, "the lengths of vision do not fit", file, mmsa(vision_lengths=[2, 2]))
    fails(tmp_path, "audio_lengths are not one number", file, mmsa(audio_lengths=[-1]))
    fails(tmp_path, "audio_lengths are not numbers", file, mmsa(audio_lengths=["two"]))
    fails(tmp_path, "raw_text has 2 samples", file, mmsa(raw_text=["a", "b"]))


class Runs:
    """Makes a folder when a plain unpickler reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    fails(tmp_path, "mkdir", "mosi_data.pkl", plain(id=Runs(tmp_path / "made")))
    assert not (tmp_path / "made").exists()


def test_a_truncated_pickle_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "mosi_data.pkl", plain()) / "mosi_data.pkl"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"mosi_data\.pkl.*truncated"):
        import_benchmark("mosi", tmp_path)
    assert not (tmp_path / "adaptkit").exists()


def test_several_variants_in_a_folder_ask_for_one(tmp_path: Path) -> None:
    for variant in ("mult-noalign", "mmsa-aligned"):
        synthesise("mosi", tmp_path, variant=variant, samples=4, force=True)
    with pytest.raises(DataError, match=r"holds 2 variants .*MOSI/Processed/aligned_50.pkl.*--variant mult-noalign"):
        import_benchmark("mosi", tmp_path)
    store = import_benchmark("mosi", tmp_path, variant="mmsa-aligned")
    assert "words" in store.columns
    with pytest.raises(DataError, match=r"expected mosi_raw\.pkl; found MOSI, mosi_data_noalign"):
        import_benchmark("mosi", tmp_path, variant="multibench")


def test_a_folder_without_any_of_the_files_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "mosei_raw.pkl").write_bytes(b"")
    with pytest.raises(DataError, match=r"expected mosi_data\.pkl, or .*unaligned_50\.pkl; found mosei_raw\.pkl"):
        find_benchmark("mosi").find(tmp_path)
    with pytest.raises(DataError, match="found nothing"):
        find_benchmark("mosi").find(tmp_path / "nowhere")


@pytest.mark.parametrize("folder", ["", "seq_length_50"])
def test_the_folder_of_the_download_or_the_one_above_it(tmp_path: Path, folder: str) -> None:
    written(tmp_path / folder, "mosi_data.pkl", plain())
    assert find_benchmark("mosi").find(tmp_path) == "mult-aligned"


def test_mosei_in_the_place_of_mosi_is_told_by_its_widths(tmp_path: Path) -> None:
    synthesise("mosei", tmp_path, variant="mmsa-aligned", samples=4)
    with pytest.raises(DataError, match=r"audio 74, vision 35; expected text 768, audio 5, vision 20"):
        import_benchmark("mosi", tmp_path / "MOSEI")
    assert import_benchmark("mosei", tmp_path / "MOSEI").meta["variant"] == "mmsa-aligned"


@pytest.mark.parametrize("width", [35, 713])
def test_mosei_of_multibench_comes_in_two_widths(tmp_path: Path, width: int) -> None:
    written(tmp_path, "mosei_raw.pkl", plain(RAW | {"vision": width}))
    assert import_benchmark("mosei", tmp_path).columns["vision"]["width"] == width
