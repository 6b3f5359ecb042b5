"""UPMC Food-101: the csv with its defects, the folders of pages, the drawn validation split."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptkit.benchmarks import import_benchmark
from adaptkit.benchmarks.benchmark import synthesise
from adaptkit.benchmarks.food101.importer import Food101, page_text, title_rows
from adaptkit.errors import DataError


def made(root: Path, variant: str, samples: int = 100) -> Path:
    Food101().synth(root, variant=variant, samples=samples, seed=0)
    return root


@pytest.fixture
def titles(tmp_path: Path) -> Path:
    return made(tmp_path / "titles", "artelab")


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    return made(tmp_path / "pages", "mmbt")


def add_row(root: Path, line: str, split: str = "train") -> None:
    with (root / "texts" / f"{split}_titles.csv").open("a") as file:
        file.write(line + "\n")


def test_artelab_reads_every_row_in_spite_of_the_defects(titles: Path) -> None:
    store = import_benchmark("food101", titles)
    assert store.meta["variant"] == "artelab"
    assert store.meta["splits"] == {"train": 90, "validation": 10, "test": 50}
    classes = store.meta["classes"]["dish"]
    assert classes == sorted(classes)
    assert len(classes) == 10
    assert store.meta["audit"]["train_titles.csv: rows that name a .txt file are read as its .jpg"] == 1
    for split in store.splits:
        for row in store.rows(split):
            assert row["image"].split("/")[2] == row["dish"]
            assert row["dish"] in classes
            assert row["title"].count(",") == 2
            assert '"' not in row["title"]


def test_an_open_quote_ends_with_its_line() -> None:
    """As around breakfast_burrito_730.jpg: the quote never closes, and the rows after it name .txt files."""
    text = (
        'burrito_1.jpg,"Eggs, beans",burrito\n'
        'burrito_2.jpg,"The best burrito, twice,burrito\n'
        "burrito_3.txt,Plain,burrito\n"
        'burrito_4.txt,"Quoted ""twice""",burrito\n'
        "burrito_5.jpg,one, two, three,burrito\n"
        "\n"
        "burrito_6.jpg,over\n"
        "two lines,burrito\n"
        "burrito_7.jpg\n"
    )
    rows = list(title_rows(text))
    assert [(image, dish) for _, image, _, dish in rows] == [
        ("burrito_1.jpg", "burrito"),
        ("burrito_2.jpg", "burrito"),
        ("burrito_3.txt", "burrito"),
        ("burrito_4.txt", "burrito"),
        ("burrito_5.jpg", "burrito"),
        ("burrito_6.jpg", "burrito"),
        ("burrito_7.jpg", ""),
    ]
    assert [title for _, _, title, _ in rows] == [
        "Eggs, beans",
        "The best burrito, twice",
        "Plain",
        'Quoted "twice"',
        "one, two, three",
        "over two lines",
        "",
    ]
    assert [line for line, *_ in rows] == [1, 2, 3, 4, 5, 7, 9]


def test_a_title_of_any_length_is_read() -> None:
    text = 'burrito_1.jpg,"' + "very " * 100_000 + "long,burrito\n"
    ((_, image, title, dish),) = title_rows(text)
    assert (image, dish) == ("burrito_1.jpg", "burrito")
    assert title.endswith("very long")


def test_a_well_formed_csv_is_read_as_csv_reads_it() -> None:
    titles = ['a "b" c', "x, y", "", "plain", "it's", ",,,", '"']
    file = io.StringIO()
    csv.writer(file).writerows([f"pie_{i}.jpg", title, "pie"] for i, title in enumerate(titles))
    assert [(title, dish) for _, _, title, dish in title_rows(file.getvalue())] == [(title, "pie") for title in titles]


def test_rows_that_cannot_be_used_are_dropped_and_counted(titles: Path) -> None:
    add_row(titles, "sushi_9999.jpg,no such picture,sushi")
    add_row(titles, "sushi_9998.txt,no such picture,sushi")
    add_row(titles, (titles / "texts" / "train_titles.csv").read_text().splitlines()[0])
    first = sorted((titles / "images" / "train" / "sushi").glob("*.jpg"))[0].name
    add_row(titles, f"{first},wrong dish,pizza")
    store = import_benchmark("food101", titles)
    assert store.meta["splits"] == {"train": 90, "validation": 10, "test": 50}
    audit = store.meta["audit"]
    assert audit["train_titles.csv: rows whose picture does not exist are dropped"] == 2
    assert audit["train: further rows of the same picture are dropped"] == 2
    assert audit["train_titles.csv: rows with an unknown dish take it from the name of the picture"] == 1


def test_a_missing_dish_and_title(titles: Path) -> None:
    path = titles / "texts" / "test_titles.csv"
    lines = path.read_text().splitlines()
    image = lines[0].partition(",")[0]
    path.write_text("\n".join([image, *lines[1:]]))
    store = import_benchmark("food101", titles)
    row = next(row for row in store.rows("test") if row["id"] == image[:-4])
    assert row["title"] is None
    assert row["dish"] == image.rpartition("_")[0]
    assert store.meta["audit"]["test_titles.csv: rows without a dish take it from the name of the picture"] == 1


@pytest.mark.parametrize("line", ["../../etc/passwd_1.jpg,x,sushi", "sushi_1.jpg,x,../../etc", "/etc/a_1.jpg,x,sushi"])
def test_names_that_lead_elsewhere_are_errors(titles: Path, line: str) -> None:
    path = titles / "texts" / "train_titles.csv"
    path.write_text(line + "\n" + path.read_text())
    with pytest.raises(DataError, match=r"train_titles\.csv:1.*would leave"):
        import_benchmark("food101", titles)
    assert not (titles / "adaptkit").exists()


def test_a_title_file_of_garbage_is_an_error_not_a_crash(titles: Path) -> None:
    (titles / "texts" / "train_titles.csv").write_bytes(bytes(range(256)) * 3)
    with pytest.raises(DataError):
        import_benchmark("food101", titles)


def test_the_validation_split_is_stratified_seeded_and_recorded(titles: Path) -> None:
    def drawn(**options: int) -> set[str]:
        store = import_benchmark("food101", titles, to=titles / "store", options=options, force=True)
        train, validation = ({row["image"] for row in store.rows(split)} for split in ("train", "validation"))
        assert train.isdisjoint(validation)
        assert len(train | validation) == 100
        text = f"validation: drawn from train, the same share of every dish, seed {options.get('seed', 0)}"
        assert store.meta["audit"][text] == len(validation)
        assert set(Counter(image.split("/")[2] for image in validation).values()) == {len(validation) // 10}
        return validation

    assert drawn() == drawn(seed=0)
    assert drawn() != drawn(seed=1)
    assert len(drawn(validation=30)) == 30
    with pytest.raises(DataError, match="100 validation samples cannot be drawn from 100"):
        drawn(validation=100)


def test_mmbt_reads_the_pages_and_skips_pictures_without_one(pages: Path) -> None:
    store = import_benchmark("food101", pages)
    assert store.meta["variant"] == "mmbt"
    assert store.meta["splits"] == {"train": 90, "validation": 9, "test": 50}
    assert store.meta["audit"]["pictures without a text are dropped, as MMBT does"] == 1
    assert store.meta["audit"]["title holds the whole text of the pages"] == 149
    assert store.rows("test")[0]["title"].startswith("html head title ")


def test_pages_become_words_as_in_mmbt() -> None:
    assert page_text("<p class='A'>Hot-Dog &amp; Fries!</p>\n\n  100%") == "p class a hot dog amp fries p 100"


def test_files_that_are_no_pictures_of_a_dish_are_dropped(pages: Path) -> None:
    (pages / "images" / "train" / "sushi" / "Thumbs.db").write_text("x")
    (pages / "images" / "train" / "readme.md").write_text("x")
    store = import_benchmark("food101", pages)
    assert store.meta["splits"]["train"] == 90
    note = "files among the pictures whose name is not <dish>_<number>.jpg are dropped"
    assert store.meta["audit"][note] == 1


def test_a_page_that_is_a_link_out_of_the_folder_is_an_error(pages: Path, tmp_path: Path) -> None:
    page = next((pages / "texts_txt" / "sushi").glob("*.txt"))
    page.unlink()
    (tmp_path / "secret").write_text("secret")
    page.symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="leaves the data folder"):
        import_benchmark("food101", pages)


def test_mmbt_files_keep_their_dev_split(pages: Path) -> None:
    for split in ("train", "dev", "test"):
        folder = "test" if split == "test" else "train"
        image = sorted((pages / "images" / folder / "sushi").glob("*.jpg"))[split == "dev"]
        line = {"id": image.name, "label": "sushi", "text": split, "img": str(image.relative_to(pages))}
        (pages / f"{split}.jsonl").write_text(json.dumps(line) + "\n")
    store = import_benchmark("food101", pages)
    assert store.meta["splits"] == {"train": 1, "validation": 1, "test": 1}
    assert [store.rows(split)[0]["title"] for split in store.splits] == ["train", "dev", "test"]
    (pages / "dev.jsonl").write_text(json.dumps(line | {"img": "../../x.jpg"}) + "\n")
    with pytest.raises(DataError, match=r"dev\.jsonl:1.*leaves the data folder"):
        import_benchmark("food101", pages, to=pages / "again")
    (pages / "dev.jsonl").write_text(json.dumps(line | {"label": ["sushi"]}) + "\n")
    with pytest.raises(DataError, match=r"dev\.jsonl:1.*strings are expected"):
        import_benchmark("food101", pages, to=pages / "again")


def test_broken_pictures_are_absent_or_stop_the_import(titles: Path) -> None:
    images = sorted((titles / "images" / "test").rglob("*.jpg"))
    for image in images[:3]:
        image.write_bytes(b"")
    store = import_benchmark("food101", titles)
    assert sum(row["image"] is None for row in store.rows("test")) == 3
    assert any(note.startswith("image: broken pictures count as absent, such as ") for note in store.meta["audit"])
    for image in images[:9]:
        image.write_bytes(image.read_bytes()[:300])
    with pytest.raises(DataError, match="9 of 150 pictures are broken"):
        import_benchmark("food101", titles, to=titles / "again")


@pytest.mark.parametrize("variant", ["artelab", "mmbt"])
def test_texts_without_pictures_are_an_error(tmp_path: Path, variant: str) -> None:
    (made(tmp_path, variant) / "images").rename(tmp_path / "pictures")
    with pytest.raises(DataError, match=r"images/train does not exist"):
        import_benchmark("food101", tmp_path)


def test_titles_and_pages_in_one_folder_must_be_told_apart(titles: Path) -> None:
    made(titles, "mmbt", samples=10)
    with pytest.raises(DataError, match="--variant artelab or --variant mmbt"):
        import_benchmark("food101", titles)


def test_another_folder_is_told_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"texts/train_titles\.csv or texts_txt are expected"):
        import_benchmark("food101", tmp_path)
    for variant in Food101.variants:
        with pytest.raises(DataError, match="does not exist"):
            import_benchmark("food101", tmp_path, variant=variant)


@pytest.mark.parametrize("variant", ["artelab", "mmbt"])
def test_neither_the_text_nor_the_picture_tells_the_dish(tmp_path: Path, variant: str) -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    store = import_benchmark("food101", made(tmp_path, variant, samples=200))
    train, test = (list(store.rows(split)) for split in ("train", "test"))
    y, z = ([row["dish"] for row in rows] for rows in (train, test))
    words = CountVectorizer(binary=True).fit([row["title"] for row in train])
    text = [words.transform([row["title"] for row in rows]).toarray() for rows in (train, test)]
    seen = lambda row: np.asarray(Image.open(tmp_path / row["image"]))[28:36, 28:36].mean((0, 1)) / 50  # noqa: E731
    picture = [np.stack([seen(row) for row in rows]) for rows in (train, test)]
    both = [np.concatenate(parts, axis=1) for parts in zip(text, picture, strict=True)]
    score = lambda x: LogisticRegression(C=10, max_iter=2000).fit(x[0], y).score(x[1], z)  # noqa: E731
    assert score(text) < 0.65
    assert score(picture) < 0.35
    assert score(both) > 0.95


def test_a_download_that_lacks_half_of_its_pictures_is_refused(tmp_path: Path) -> None:
    synthesise("food101", tmp_path / "f", samples=60)
    for picture in sorted((tmp_path / "f" / "images" / "train").rglob("*.jpg"))[::2]:
        picture.unlink()
    with pytest.raises(DataError, match=r"of [\d,]+ pictures of train_titles\.csv do not exist.*Unpack the archive"):
        import_benchmark("food101", tmp_path / "f")
    assert not (tmp_path / "f" / "adaptkit").exists()
