"""MM-IMDb in its three forms: hdf5, raw files, and what MMBT's script makes of them."""

from __future__ import annotations

import builtins
import json
import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from adaptkit.benchmarks import import_benchmark
from adaptkit.benchmarks.mmimdb.importer import HDF5, MMIMDb, longest
from adaptkit.errors import DataError, UnavailableError

SIZES = {"train": 20, "validation": 4, "test": 6}


def made(root: Path, variant: str, samples: int = 20) -> Path:
    MMIMDb().synth(root, variant=variant, samples=samples, seed=0)
    return root


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return made(tmp_path / "raw", "raw")


@pytest.fixture
def mmbt(tmp_path: Path) -> Path:
    return made(tmp_path / "mmbt", "mmbt")


@pytest.fixture
def hdf5(tmp_path: Path) -> Path:
    return made(tmp_path / "hdf5", "hdf5")


def edit_film(root: Path, split: str, number: int, **changes: Any) -> str:
    id = json.loads((root / "mmimdb" / "split.json").read_text())[split][number]
    path = root / "mmimdb" / "dataset" / f"{id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return id


def edit_line(root: Path, split: str, number: int, **changes: Any) -> None:
    path = root / f"{split}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[number] |= changes
    path.write_text("\n".join(json.dumps(line) for line in lines))


def test_raw_takes_the_longest_plot_and_23_genres(raw: Path) -> None:
    store = import_benchmark("mmimdb", raw)
    assert store.meta["variant"] == "raw"
    assert store.meta["splits"] == SIZES
    assert len(store.meta["classes"]["genres"]) == 23
    assert store.meta["classes"]["genres"] == sorted(store.meta["classes"]["genres"])
    id = json.loads((raw / "mmimdb" / "split.json").read_text())["dev"][2]
    film = json.loads((raw / "mmimdb" / "dataset" / f"{id}.json").read_text())
    row = store.rows("validation")[2]
    assert row == {
        "id": id,
        "plot": max(film["plot"], key=len),
        "poster": f"mmimdb/dataset/{id}.jpeg",
        "genres": film["genres"],
    }
    assert store.meta["audit"] == {"the genre News is left out: it is not one of the 23 most frequent": 1}


def test_the_folder_mmimdb_itself_is_fine_too(raw: Path) -> None:
    assert import_benchmark("mmimdb", raw / "mmimdb").meta["splits"] == SIZES


@pytest.mark.parametrize(
    ("plots", "found"),
    [
        (["a", "ccc", "bbb"], "ccc"),
        ("alone", "alone"),
        ([" \n", ""], None),
        ([], None),
        (None, None),
        ([3, "x"], "x"),
    ],
)
def test_the_longest_plot(plots: Any, found: str | None) -> None:
    assert longest(plots) == found


def test_raw_films_that_lack_something(raw: Path) -> None:
    edit_film(raw, "train", 1, plot=[])
    edit_film(raw, "train", 2, genres=["Talk-Show"])
    (raw / "mmimdb" / "dataset" / f"{edit_film(raw, 'train', 3)}.json").unlink()
    (raw / "mmimdb" / "dataset" / f"{edit_film(raw, 'train', 4)}.jpeg").unlink()
    store = import_benchmark("mmimdb", raw)
    assert store.meta["splits"]["train"] == 18
    rows = store.rows("train")
    assert rows[1]["plot"] is None
    assert rows[2]["poster"] is None
    audit = store.meta["audit"]
    assert audit["films without a readable .json or without one of the genres are dropped"] == 2
    assert audit["films without a plot"] == 1
    assert audit["poster: the file is missing"] == 1


@pytest.mark.parametrize("id", ["../../../etc/passwd", "/etc/passwd", ["a"]])
def test_raw_ids_that_lead_elsewhere_are_errors(raw: Path, id: Any) -> None:
    path = raw / "mmimdb" / "split.json"
    split = json.loads(path.read_text())
    split["test"][0] = id
    path.write_text(json.dumps(split))
    with pytest.raises(DataError, match=r"split\.json"):
        import_benchmark("mmimdb", raw)
    assert not (raw / "adaptkit").exists()


@pytest.mark.parametrize("content", ["[]", '{"train": [], "dev": []}', '{"train"'])
def test_a_wrong_split_file_is_an_error(raw: Path, content: str) -> None:
    (raw / "mmimdb" / "split.json").write_text(content)
    with pytest.raises(DataError, match=r"split\.json"):
        import_benchmark("mmimdb", raw)


def test_a_jpeg_that_is_none_is_absent(raw: Path) -> None:
    id = edit_film(raw, "test", 0)
    (raw / "mmimdb" / "dataset" / f"{id}.jpeg").write_bytes(b"<html>404</html>")
    store = import_benchmark("mmimdb", raw)
    assert store.rows("test")[0]["poster"] is None
    assert store.meta["audit"][f"poster: broken pictures count as absent, such as mmimdb/dataset/{id}.jpeg"] == 1


def test_mmbt_files_go_before_the_raw_ones_they_were_made_of(mmbt: Path) -> None:
    (mmbt / "mmimdb" / "split.json").write_text("{}")
    store = import_benchmark("mmimdb", mmbt)
    assert store.meta["variant"] == "mmbt"
    assert store.meta["splits"] == SIZES | {"train": 19}
    assert len(store.meta["classes"]["genres"]) == 23
    assert store.meta["audit"] == {"films with the genre News are dropped, as MMBT does": 1}


def test_mmbt_reads_the_key_img_as_well_as_image(mmbt: Path) -> None:
    expected = [row["poster"] for row in import_benchmark("mmimdb", mmbt).rows("test")]
    path = mmbt / "test.jsonl"
    path.write_text(path.read_text().replace('"image":', '"img":'))
    found = import_benchmark("mmimdb", mmbt, to=mmbt / "again").rows("test")
    assert [row["poster"] for row in found] == expected
    assert all(expected)


def test_mmbt_drops_films_with_genres_that_train_lacks(mmbt: Path) -> None:
    edit_line(mmbt, "dev", 0, label=["Drama", "Talk-Show"])
    store = import_benchmark("mmimdb", mmbt)
    assert store.meta["splits"]["validation"] == 3
    assert "Talk-Show" not in store.meta["classes"]["genres"]
    assert store.meta["audit"]["films of validation with a genre that train lacks are dropped, as MMBT does"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "../outside.jpeg"}, "leaves the data folder"),
        ({"image": "/etc/passwd"}, "leaves the data folder"),
        ({"image": 3}, "not a path"),
        ({"label": 3}, "not a list of names"),
        ({"text": 3}, "not a string"),
        ({"id": "../x"}, "would leave"),
    ],
)
def test_mmbt_mistakes_name_the_line(mmbt: Path, changes: dict[str, Any], message: str) -> None:
    edit_line(mmbt, "train", 2, **changes)
    with pytest.raises(DataError, match=rf"train\.jsonl:3.*{message}"):
        import_benchmark("mmimdb", mmbt)


def test_hdf5_keeps_vectors_and_rebuilds_the_plots(hdf5: Path, raw: Path) -> None:
    store = import_benchmark("mmimdb", hdf5)
    assert store.meta["variant"] == "hdf5"
    assert store.meta["splits"] == SIZES
    assert {n: c["width"] for n, c in store.columns.items()} == {
        "vgg": 4096,
        "word2vec": 300,
        "plot": None,
        "genres": None,
    }
    plain = import_benchmark("mmimdb", raw)  # of the same seed: the same films
    with h5py.File(hdf5 / HDF5) as file:
        for split, first in (("train", 0), ("validation", 20), ("test", 24)):
            for i, (row, other) in enumerate(zip(store.rows(split), plain.rows(split), strict=True)):
                assert row["id"] == other["id"]
                assert sorted(row["genres"]) == sorted(other["genres"])
                assert row["plot"].split() == other["plot"].lower().replace(".", " .").split()
                np.testing.assert_array_equal(row["vgg"][0], file["vgg_features"][first + i])
                np.testing.assert_array_equal(row["word2vec"][0], file["features"][first + i])
    assert any("posters are left in the hdf5 file" in note for note in store.meta["audit"])


def test_hdf5_posters_are_written_where_asked_for(hdf5: Path) -> None:
    row = import_benchmark("mmimdb", hdf5, options={"images": True}).rows("train")[0]
    shown = np.asarray(Image.open(hdf5 / row["poster"]), dtype=float)
    with h5py.File(hdf5 / HDF5) as file:
        stored = file["images"][0]  # (3, 256, 160), blue first, mean subtracted
    assert shown.shape == (256, 160, 3)
    np.testing.assert_allclose(shown[..., 0], np.clip(stored[2] + 123.68, 0, 255), atol=1)
    np.testing.assert_allclose(shown[..., 2], np.clip(stored[0] + 103.939, 0, 255), atol=1)


def test_hdf5_posters_of_0_to_255_are_taken_as_they_are(hdf5: Path) -> None:
    with h5py.File(hdf5 / HDF5, "r+") as file:
        file["images"][...] = np.full(file["images"].shape, 7, dtype="int32")
    row = import_benchmark("mmimdb", hdf5, options={"images": True}).rows("train")[0]
    assert (np.asarray(Image.open(hdf5 / row["poster"])) == 7).all()


def test_hdf5_without_metadata_has_no_plots_and_says_so(hdf5: Path) -> None:
    (hdf5 / "metadata.npy").unlink()
    store = import_benchmark("mmimdb", hdf5)
    assert "plot" not in store.columns
    assert any("plots are left out: metadata.npy" in note for note in store.meta["audit"])


def test_metadata_that_runs_code_is_refused(hdf5: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {hdf5}/ran",)

    np.save(hdf5 / "metadata.npy", np.array({"ix_to_word": Bomb()}, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="system"):
        import_benchmark("mmimdb", hdf5)
    assert not (hdf5 / "ran").exists()
    np.save(hdf5 / "metadata.npy", np.zeros(3))
    with pytest.raises(DataError, match="ix_to_word"):
        import_benchmark("mmimdb", hdf5)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_hdf5_is_an_error(hdf5: Path, share: float) -> None:
    path = hdf5 / HDF5
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match="cannot be read as hdf5"):
        import_benchmark("mmimdb", hdf5)
    assert not (hdf5 / "adaptkit").exists()


def test_a_damaged_chunk_is_an_error(hdf5: Path) -> None:
    with h5py.File(hdf5 / HDF5, "r+") as file:
        values = file["vgg_features"][...]
        del file["vgg_features"]
        packed = file.create_dataset("vgg_features", data=values, compression="gzip", chunks=(len(values), 4096))
        place = packed.id.get_chunk_info(0)
    content = bytearray((hdf5 / HDF5).read_bytes())
    content[place.byte_offset : place.byte_offset + 64] = b"\0" * 64
    (hdf5 / HDF5).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as hdf5"):
        import_benchmark("mmimdb", hdf5)


def test_hdf5_without_the_attribute_needs_the_published_size(hdf5: Path) -> None:
    with h5py.File(hdf5 / HDF5, "r+") as file:
        del file.attrs["split"]
    with pytest.raises(DataError, match="does not name rows of train, dev and test"):
        import_benchmark("mmimdb", hdf5)


def test_hdf5_of_the_published_size_has_the_published_splits(tmp_path: Path) -> None:
    with h5py.File(tmp_path / HDF5, "w") as file:
        genres = file.create_dataset("genres", data=np.ones((25959, 1), dtype="int32"))
        genres.attrs["target_names"] = json.dumps(["Drama"])
    store = import_benchmark("mmimdb", tmp_path)
    assert store.meta["splits"] == {"train": 15552, "validation": 2608, "test": 7799}


@pytest.mark.parametrize("rows", [(0, 99), (25, 30), (-5, 3)])
def test_hdf5_splits_that_do_not_fit_are_errors(hdf5: Path, rows: tuple[int, int]) -> None:
    with h5py.File(hdf5 / HDF5, "r+") as file:
        table = file.attrs["split"]
        table["start"][:8], table["stop"][:8] = rows
        file.attrs["split"] = table
    with pytest.raises(DataError, match="does not name rows"):
        import_benchmark("mmimdb", hdf5)


def test_a_split_attribute_of_another_kind_is_an_error(hdf5: Path) -> None:
    with h5py.File(hdf5 / HDF5, "r+") as file:
        file.attrs["split"] = np.arange(6)
    with pytest.raises(DataError, match="does not name rows"):
        import_benchmark("mmimdb", hdf5)


def test_hdf5_arrays_must_be_of_one_length(hdf5: Path) -> None:
    with h5py.File(hdf5 / HDF5, "r+") as file:
        values = file["features"][:-1]
        del file["features"]
        file.create_dataset("features", data=values)
    with pytest.raises(DataError, match="features has 29 rows, genres 30"):
        import_benchmark("mmimdb", hdf5)


def test_hdf5_genres_need_their_names(hdf5: Path) -> None:
    with h5py.File(hdf5 / HDF5, "r+") as file:
        file["genres"].attrs["target_names"] = json.dumps(["Drama"])
    with pytest.raises(DataError, match="target_names"):
        import_benchmark("mmimdb", hdf5)


def test_a_word2vec_of_no_word_is_absent(hdf5: Path) -> None:
    with h5py.File(hdf5 / HDF5, "r+") as file:
        file["features"][1] = np.nan
        file["features"][2, 5] = np.nan
    store = import_benchmark("mmimdb", hdf5)
    assert store.rows("train")[1]["word2vec"] is None
    assert store.rows("train")[2]["word2vec"][0, 5] == 0
    assert store.meta["audit"]["word2vec: vectors that are NaN throughout count as absent"] == 1
    assert store.meta["audit"]["NaN or infinity in word2vec set to 0 (values)"] == 1


def test_without_h5py_the_extra_is_named(hdf5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **keywords: Any) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return real(name, *args, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnavailableError, match=r"adaptkit\[hdf5\]"):
        import_benchmark("mmimdb", hdf5)
    with pytest.raises(UnavailableError, match=r"adaptkit\[hdf5\]"):
        MMIMDb().synth(hdf5 / "new", variant="hdf5", samples=3)


def test_several_forms_in_one_folder_must_be_told_apart(hdf5: Path) -> None:
    made(hdf5, "raw", samples=3)
    with pytest.raises(DataError, match="--variant hdf5 or --variant raw"):
        import_benchmark("mmimdb", hdf5)
    assert import_benchmark("mmimdb", hdf5, variant="raw").meta["splits"]["train"] == 3


def test_another_folder_is_told_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"multimodal_imdb\.hdf5, mmimdb/split\.json or train\.jsonl are expected"):
        import_benchmark("mmimdb", tmp_path)
    for variant in MMIMDb.variants:
        with pytest.raises(DataError):
            import_benchmark("mmimdb", tmp_path, variant=variant)


def test_pickled_python_2_text_is_read_as_latin1(hdf5: Path) -> None:
    """The published metadata.npy comes from Python 2, whose strings are bytes."""
    words = {0: b"_UNK_", 1: "caf\xe9".encode("latin1")}
    np.save(hdf5 / "metadata.npy", np.array({"ix_to_word": words}, dtype=object), allow_pickle=True)
    with h5py.File(hdf5 / HDF5, "r+") as file:
        file["sequences"][0] = np.array([1, 0, 1, 77], dtype="int32")
    assert import_benchmark("mmimdb", hdf5).rows("train")[0]["plot"] == "café café"
    assert pickle.loads(pickle.dumps(words)) == words


@pytest.mark.parametrize("variant", ["raw", "hdf5"])
def test_neither_the_plot_nor_the_poster_suffices(tmp_path: Path, variant: str) -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.metrics import average_precision_score
    from sklearn.preprocessing import MultiLabelBinarizer

    from adaptkit.benchmarks.mmimdb.synthesis import READ

    store = import_benchmark("mmimdb", made(tmp_path, variant, samples=200))
    train, test = (list(store.rows(split)) for split in ("train", "test"))
    classes = store.meta["classes"]["genres"]
    labels = MultiLabelBinarizer(classes=classes)
    y, z = (labels.fit_transform([row["genres"] for row in rows]) for rows in (train, test))
    words = CountVectorizer(binary=True).fit([row["plot"] for row in train])
    text = [words.transform([row["plot"] for row in rows]).toarray() for rows in (train, test)]

    def seen(row: Any) -> np.ndarray:
        if variant == "hdf5":
            return row["vgg"][0]
        return np.asarray(Image.open(tmp_path / row["poster"]).resize((4, 33)), dtype=float).reshape(-1) / 255

    rest = [np.stack([seen(row) for row in rows]) for rows in (train, test)]
    told = np.isin(classes, READ)
    for (x, q), readable in ((text, told), (rest, ~told)):
        scores = Ridge(alpha=3.0).fit(x, y).predict(q)
        ap = np.array([average_precision_score(z[:, c], scores[:, c]) for c in range(len(classes))])
        assert ap[readable].min() > 0.85
        assert ap[~readable].mean() < 0.45


def test_an_array_that_lies_in_another_file_is_refused(hdf5: Path) -> None:
    path = next(hdf5.rglob("multimodal_imdb.hdf5"))
    path.with_name("other.hdf5").write_bytes(path.read_bytes())
    with h5py.File(path, "a") as file:
        del file["vgg_features"]
        file["vgg_features"] = h5py.ExternalLink("other.hdf5", "vgg_features")
    with pytest.raises(DataError, match="'vgg_features' lies in another file"):
        import_benchmark("mmimdb", hdf5)
    assert not (hdf5 / "adaptkit").exists()
