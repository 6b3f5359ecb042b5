"""Moviescope: what is read of the published layout, every trap of it, and the signal in the synthetic one."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from adaptkit.benchmarks import BENCHMARKS, import_benchmark
from adaptkit.benchmarks.moviescope.importer import Moviescope
from adaptkit.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """12 training films, 2 of dev, 4 of test, with two frames each."""
    folder = tmp_path / "moviescope"
    Moviescope().synth(folder, samples=12, seed=0, frames=2)
    return folder


def films(root: Path, split: str) -> list[dict]:
    return [json.loads(line) for line in (root / f"{split}.jsonl").read_text().splitlines()]


def write_films(root: Path, split: str, records: list[dict]) -> None:
    (root / f"{split}.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")


def test_the_splits_the_columns_and_the_classes(root: Path) -> None:
    store = import_benchmark("moviescope", root)
    assert store.meta["variant"] == "jsonl"
    assert store.meta["splits"] == {"train": 12, "validation": 2, "test": 4}
    kinds = {name: (column["kind"], column["width"]) for name, column in store.columns.items()}
    assert kinds == {
        "plot": ("text", None),
        "trailer": ("features", 4096),
        "poster": ("features", 4096),
        "audio": ("features", 128),
        "metadata": ("features", 312),
        "genres": ("labels", None),
        "poster_image": ("path", None),
    }
    classes = store.meta["classes"]["genres"]
    assert classes == sorted(classes)
    assert set(kinds) == set(BENCHMARKS["moviescope"].columns)


def test_each_modality_of_a_film_is_squeezed_as_published(root: Path) -> None:
    film = films(root, "train")[3]
    row = import_benchmark("moviescope", root).rows("train")[3]
    load = lambda folder: pickle.loads((root / folder / f"{film['id']}.p").read_bytes())  # noqa: E731
    assert row["id"] == str(film["id"])
    assert row["plot"] == film["synopsis"]
    assert row["genres"] == film["label"]
    np.testing.assert_array_equal(row["trailer"], load("200F_VGG16")[0])  # (1, 2, 4096)
    np.testing.assert_array_equal(row["poster"], load("PosterFeatures"))  # (1, 4096)
    mel = load("MelgramPorcessed")[0]  # (5, 128, 24): the first four, one after another
    np.testing.assert_array_equal(row["audio"], np.concatenate([mel[i].T for i in range(4)]))
    rows = pickle.loads((root / "Metadata_matrices" / "train_ids.pickle").read_bytes())
    matrix = np.load(root / "Metadata_matrices" / "train_metadata.npy")
    np.testing.assert_allclose(row["metadata"][0], matrix[rows[film["id"]]], rtol=1e-6)


def test_the_metadata_of_dev_is_called_val(root: Path) -> None:
    film = films(root, "dev")[1]
    matrix = np.load(root / "Metadata_matrices" / "val_metadata.npy")
    rows = pickle.loads((root / "Metadata_matrices" / "val_ids.pickle").read_bytes())
    found = import_benchmark("moviescope", root).rows("validation")[1]["metadata"][0]
    np.testing.assert_allclose(found, matrix[rows[film["id"]]], rtol=1e-6)
    (root / "Metadata_matrices" / "val_metadata.npy").rename(root / "Metadata_matrices" / "dev_metadata.npy")
    with pytest.raises(DataError, match=r"val_metadata\.npy"):
        import_benchmark("moviescope", root, to=root / "again")


def test_ids_may_be_text_in_one_file_and_numbers_in_the_other(root: Path) -> None:
    expected = import_benchmark("moviescope", root).rows("train")[0]["metadata"]
    for split in ("train", "dev", "test"):
        write_films(root, split, [film | {"id": str(film["id"])} for film in films(root, split)])
    ids = root / "Metadata_matrices" / "train_ids.pickle"
    rows = {np.int64(id): np.int64(row) for id, row in pickle.loads(ids.read_bytes()).items()}
    ids.write_bytes(pickle.dumps(rows))
    found = import_benchmark("moviescope", root, to=root / "again").rows("train")[0]
    np.testing.assert_array_equal(found["metadata"], expected)


def test_the_folder_above_is_fine_too(root: Path) -> None:
    store = import_benchmark("moviescope", root.parent)
    assert store.rows("test")[0]["poster_image"].startswith("moviescope/Raw_Poster/")


def test_a_missing_file_is_an_absent_modality_and_is_counted(root: Path) -> None:
    first, second = (film["id"] for film in films(root, "train")[:2])
    (root / "200F_VGG16" / f"{first}.p").unlink()
    (root / "200F_VGG16" / f"{second}.p").unlink()
    (root / "Raw_Poster" / f"{first}.jpg").unlink()
    ids = root / "Metadata_matrices" / "train_ids.pickle"
    rows = pickle.loads(ids.read_bytes())
    del rows[first]
    ids.write_bytes(pickle.dumps(rows))
    store = import_benchmark("moviescope", root)
    row = store.rows("train")[0]
    assert row["trailer"] is None
    assert row["metadata"] is None
    assert row["poster_image"] is None
    assert row["poster"] is not None
    audit = store.meta["audit"]
    assert audit["trailer: 200F_VGG16/<id>.p is missing, the modality is absent"] == 2
    assert audit["metadata: films without a row, the modality is absent"] == 1
    assert audit["poster_image: the file is missing"] == 1


def test_folders_that_are_not_there_are_no_columns(root: Path) -> None:
    for name in ("MelgramPorcessed", "Raw_Poster", "Metadata_matrices"):
        (root / name).rename(root / f"away_{name}")
    assert set(import_benchmark("moviescope", root).columns) == {"plot", "trailer", "poster", "genres"}


def test_infinities_become_zero_and_are_counted(root: Path) -> None:
    id = films(root, "test")[0]["id"]
    path = root / "MelgramPorcessed" / f"{id}.p"
    mel = pickle.loads(path.read_bytes())
    mel[0, 0, 0, :3] = -np.inf
    path.write_bytes(pickle.dumps(mel, protocol=2))
    for mean in (False, True):
        store = import_benchmark("moviescope", root, to=root / f"store{mean}", options={"mean": mean})
        assert store.meta["audit"]["NaN or infinity in audio set to 0 (values)"] == 3
        assert np.isfinite(store.rows("test")[0]["audio"]).all()


def test_the_mean_over_frames_can_be_stored_instead(root: Path) -> None:
    whole = import_benchmark("moviescope", root, to=root / "whole").rows("train")[5]
    store = import_benchmark("moviescope", root, to=root / "mean", options={"mean": True})
    for name in ("trailer", "audio"):
        np.testing.assert_allclose(store.rows("train")[5][name][0], whole[name].mean(axis=0), rtol=1e-5)
    assert store.meta["audit"]["trailer: stored as the mean over time"] == 18


@pytest.mark.parametrize(
    ("folder", "value", "message"),
    [
        ("200F_VGG16", np.zeros((2, 3, 4096), np.float32), r"shape \(2, 3, 4096\), not \(1, 200, 4096\)"),
        ("200F_VGG16", np.zeros((1, 2, 512), np.float32), r"vectors of 512, the other films of 4096"),
        ("PosterFeatures", np.zeros((2, 4096), np.float32), r"not \(1, 4096\)"),
        ("MelgramPorcessed", np.zeros((2, 2, 128, 4), np.float32), "not .1, segments"),
        ("PosterFeatures", np.zeros(0, np.float32), r"shape \(0,\)"),
        ("PosterFeatures", {"a": 1}, "holds a dict"),
        ("PosterFeatures", np.array(["a"]), "not an array of numbers"),
    ],
)
def test_a_wrong_array_is_an_error_that_names_the_file(root: Path, folder: str, value: object, message: str) -> None:
    path = max((root / folder).glob("*.p"))  # not the first one, which gives the width
    path.write_bytes(pickle.dumps(value, protocol=2))
    with pytest.raises(DataError, match=message) as caught:
        import_benchmark("moviescope", root)
    assert path.name in str(caught.value)
    assert not (root / "adaptkit").exists()


def test_a_pickle_that_runs_code_is_refused_and_nothing_runs(root: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {root}/ran",)

    max((root / "PosterFeatures").glob("*.p")).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="system"):
        import_benchmark("moviescope", root)
    assert not (root / "ran").exists()
    assert not (root / "adaptkit").exists()


def test_a_truncated_pickle_is_an_error(root: Path) -> None:
    path = max((root / "200F_VGG16").glob("*.p"))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match="truncated"):
        import_benchmark("moviescope", root)


@pytest.mark.parametrize("id", ["../../etc/passwd", "/etc/passwd", "..", "", "a\0b", "a\\b", None, True, 1.5, ["x"]])
def test_an_id_that_is_no_file_name_is_an_error(root: Path, id: object) -> None:
    records = films(root, "train")
    write_films(root, "train", [records[0] | {"id": id}, *records[1:]])
    with pytest.raises(DataError, match=r"train\.jsonl:1"):
        import_benchmark("moviescope", root)


def test_a_poster_that_leads_out_of_the_folder_is_an_error(root: Path, tmp_path: Path) -> None:
    poster = next((root / "Raw_Poster").glob("*.jpg"))
    outside = tmp_path / "outside.jpg"
    poster.rename(outside)
    poster.symlink_to(outside)
    with pytest.raises(DataError, match="leaves the data folder"):
        import_benchmark("moviescope", root)


def test_one_broken_poster_is_absent_and_named(root: Path) -> None:
    id = films(root, "train")[1]["id"]
    (root / "Raw_Poster" / f"{id}.jpg").write_bytes(b"<html>not found</html>")
    store = import_benchmark("moviescope", root)
    assert store.rows("train")[1]["poster_image"] is None
    text = f"poster_image: broken pictures count as absent, such as Raw_Poster/{id}.jpg"
    assert store.meta["audit"][text] == 1


def test_many_broken_posters_stop_the_import(root: Path) -> None:
    for film in films(root, "train")[:2]:
        (root / "Raw_Poster" / f"{film['id']}.jpg").write_bytes(b"GIF")
    with pytest.raises(DataError, match=r"2 of 18 pictures are broken \(not a picture\)"):
        import_benchmark("moviescope", root)


def test_films_that_come_again_are_kept_once(root: Path) -> None:
    train, dev = films(root, "train"), films(root, "dev")
    write_films(root, "train", [*train, train[0]])
    write_films(root, "dev", [*dev, train[1]])
    store = import_benchmark("moviescope", root)
    assert store.meta["splits"] == {"train": 12, "validation": 2, "test": 4}
    assert store.meta["audit"]["films of train that come again in train: the first is kept"] == 1
    assert store.meta["audit"]["films of train that come again in validation: the first is kept"] == 1


def test_a_genre_that_training_lacks_is_a_class_and_is_told(root: Path) -> None:
    test = films(root, "test")
    write_films(root, "test", [test[0] | {"label": ["Western", "Western"]}, *test[1:]])
    store = import_benchmark("moviescope", root)
    assert "Western" in store.meta["classes"]["genres"]
    assert store.rows("test")[0]["genres"] == ["Western"]
    assert store.meta["audit"]["the genre Western is in test but never in train"] == 1


@pytest.mark.parametrize("label", [None, 3, [3], {"Drama": 1}])
def test_a_label_that_is_no_list_of_names_is_an_error(root: Path, label: object) -> None:
    records = films(root, "train")
    write_films(root, "train", [records[0] | {"label": label}, *records[1:]])
    with pytest.raises(DataError, match=r"train\.jsonl:1.*not a list of names"):
        import_benchmark("moviescope", root)


def test_metadata_whose_row_does_not_exist_is_an_error(root: Path) -> None:
    ids = root / "Metadata_matrices" / "test_ids.pickle"
    ids.write_bytes(pickle.dumps(dict.fromkeys(pickle.loads(ids.read_bytes()), 99)))
    with pytest.raises(DataError, match="row 99"):
        import_benchmark("moviescope", root)


def test_the_authors_splits_give_the_same_store(root: Path, tmp_path: Path) -> None:
    """Python 2 pickles: marks for the genres, UTF-8 that was read as Latin-1 in the plots, val for dev."""
    other = tmp_path / "original"
    Moviescope().synth(other, variant="original", samples=12, seed=0, frames=2)
    (other / "trailers").mkdir()
    for name in ("train", "val", "test"):
        (other / f"raw_data_{name}.p").rename(other / "trailers" / f"raw_data_{name}.p")
    store = import_benchmark("moviescope", other)
    expected = import_benchmark("moviescope", root)
    assert store.meta["variant"] == "original"
    assert store.meta["splits"] == expected.meta["splits"]
    mended = 0
    for split in store.splits:
        for row, same in zip(store.rows(split), expected.rows(split), strict=True):
            assert row["id"] == same["id"]
            assert row["plot"] == same["plot"]
            assert row["genres"] == sorted(same["genres"])
            np.testing.assert_array_equal(row["metadata"], same["metadata"])
            mended += "é" in row["plot"]
    assert store.meta["audit"]["plots in UTF-8 that had been read as Latin-1 are mended"] == mended > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"newGenreLabels": "01"}, "not 13 marks"),
        ({"newGenreLabels": "2" * 13}, "not 13 marks"),
        ({"newGenreLabels": 7}, "not 13 marks"),
        ({"plot": 7}, "the plot is a int"),
        ({"movie_id": "../../x"}, "would leave"),
    ],
)
def test_mistakes_in_the_authors_splits_are_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    Moviescope().synth(tmp_path, variant="original", samples=4, seed=0, frames=1)
    path = tmp_path / "raw_data_val.p"
    records = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps([records[0] | changes], protocol=2))
    with pytest.raises(DataError, match=rf"raw_data_val\.p, film 0.*{message}"):
        import_benchmark("moviescope", tmp_path)
    path.write_bytes(pickle.dumps([{"plot": "x"}], protocol=2))
    with pytest.raises(DataError, match="movie_id, plot and newGenreLabels"):
        import_benchmark("moviescope", tmp_path)
    path.write_bytes(pickle.dumps({}, protocol=2))
    with pytest.raises(DataError, match="a list of films"):
        import_benchmark("moviescope", tmp_path)


def test_marks_may_be_numbers_and_ids_numpy(tmp_path: Path) -> None:
    Moviescope().synth(tmp_path, variant="original", samples=4, seed=0, frames=1)
    expected = list(import_benchmark("moviescope", tmp_path, to=tmp_path / "first").rows("train"))
    path = tmp_path / "raw_data_train.p"
    records = [
        film
        | {"movie_id": np.int64(film["movie_id"]), "newGenreLabels": np.array([int(m) for m in film["newGenreLabels"]])}
        for film in pickle.loads(path.read_bytes())
    ]
    path.write_bytes(pickle.dumps(records, protocol=2))
    found = import_benchmark("moviescope", tmp_path).rows("train")
    assert [(row["id"], row["genres"]) for row in found] == [(row["id"], row["genres"]) for row in expected]


def test_both_forms_in_one_folder_must_be_told_apart(root: Path) -> None:
    Moviescope().synth(root, variant="original", samples=12, seed=0, frames=1)
    with pytest.raises(DataError, match="--variant jsonl or --variant original"):
        import_benchmark("moviescope", root)
    assert import_benchmark("moviescope", root, variant="original").meta["splits"]["train"] == 12


def test_a_spectrogram_of_96_bins_is_read_where_the_other_is_not_there(root: Path) -> None:
    (root / "MelgramPorcessed").rename(root / "away")
    (root / "Melspectrogram").mkdir()
    values = np.random.default_rng(0).normal(size=(96, 7)).astype(np.float32)
    for split in ("train", "dev", "test"):
        for film in films(root, split):
            (root / "Melspectrogram" / f"{film['id']}.p").write_bytes(pickle.dumps(values, protocol=2))
    np.testing.assert_array_equal(import_benchmark("moviescope", root).rows("validation")[0]["audio"], values.T)
    (root / "away").rename(root / "MelgramPorcessed")
    assert import_benchmark("moviescope", root, to=root / "again").columns["audio"]["width"] == 128


def test_another_folder_is_told_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "stuff").mkdir()
    with pytest.raises(DataError, match=r"\{train,dev,test\}\.jsonl or raw_data_.*found: stuff"):
        import_benchmark("moviescope", tmp_path)
    for variant in Moviescope.variants:
        with pytest.raises(DataError, match="is not Moviescope"):
            import_benchmark("moviescope", tmp_path, variant=variant)


def test_synthesis_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        Moviescope().synth(tmp_path / name, samples=4, seed=seed, frames=1)
    read = lambda name: [f.read_bytes() for f in sorted((tmp_path / name).rglob("*")) if f.is_file()]  # noqa: E731
    assert read("a") == read("b")
    assert read("a") != read("c")


def test_neither_the_plot_nor_the_other_modalities_suffice(tmp_path: Path) -> None:
    """A linear model reads six genres from the words and the other seven from the vectors, and not the other way."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.metrics import average_precision_score
    from sklearn.preprocessing import MultiLabelBinarizer

    from adaptkit.benchmarks.moviescope.synthesis import TELLS

    Moviescope().synth(tmp_path, samples=150, seed=3, frames=1)
    store = import_benchmark("moviescope", tmp_path, options={"mean": True})
    train, test = (list(store.rows(split)) for split in ("train", "test"))
    classes = store.meta["classes"]["genres"]
    labels = MultiLabelBinarizer(classes=classes)
    y, z = (labels.fit_transform([row["genres"] for row in rows]) for rows in (train, test))
    words = CountVectorizer(binary=True).fit([row["plot"] for row in train])
    text = [words.transform([row["plot"] for row in rows]).toarray() for rows in (train, test)]
    names = ("poster", "trailer", "audio", "metadata")
    rest = [np.stack([np.concatenate([row[n][0] for n in names]) for row in rows]) for rows in (train, test)]
    told = np.isin(classes, TELLS["text"])
    for (x, q), readable in ((text, told), (rest, ~told)):
        scores = Ridge(alpha=10.0).fit(x, y).predict(q)
        ap = np.array([average_precision_score(z[:, c], scores[:, c]) for c in range(len(classes))])
        assert ap[readable].min() > 0.9
        assert ap[~readable].mean() < 0.5
