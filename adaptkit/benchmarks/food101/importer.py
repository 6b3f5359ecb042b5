"""UPMC Food-101: pictures of 101 dishes and the titles, or whole pages, they were found on (Wang et al. 2015)."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from adaptkit.benchmarks.benchmark import Benchmark, register
from adaptkit.benchmarks.food101.synthesis import write_food101
from adaptkit.benchmarks.sources import (
    MISSING_ALLOWED,
    CheckedFiles,
    Missing,
    drawn,
    file_name,
    json_lines,
    named_path,
    picture_fault,
    read_text,
)
from adaptkit.data.store_writer import StoreWriter
from adaptkit.errors import DataError

VALIDATION = 5000  # as MMBT draws it; a tenth of the training split where that is smaller
IMAGE = re.compile(r"(?P<dish>\w+)_(?P<number>[\d-]+)\.(?P<end>jpg|jpeg|png|txt)", re.IGNORECASE)
SYMBOLS = re.compile(r"[<>/\\+=\-_\[\]{}'\";:.,()*&^%$#@!~`]")  # MMBT turns each into a space


@dataclass(frozen=True, slots=True)
class _Dish:
    """One picture with its text, before the validation split is drawn."""

    id: str
    title: str | None
    image: Path
    dish: str


@register("food101")
class Food101(Benchmark):
    """UPMC Food-101: some 90,000 recipe pages with title or text and image; 101 dishes.

    Two published copies: one with the titles of the pages, one with their whole text.
    """

    name = "food101"
    title = "UPMC Food-101"
    description = "Which of 101 dishes, from a picture and the title or text of its page."
    url = "https://github.com/artelab/Image-and-Text-fusion-for-UPMC-Food-101-using-BERT-and-CNNs"
    task = 'kind = "classification", column = "dish"'
    columns: Mapping[str, str] = {
        "title": "text: the title of the page (artelab), or its whole text (mmbt)",
        "image": "path of the picture",
        "dish": "label: 101 dishes",
    }
    variants: Mapping[str, str] = {
        "artelab": "images/{train,test}/<dish>/*.jpg and texts/{train,test}_titles.csv",
        "mmbt": "images/{train,test}/<dish>/*.jpg and texts_txt/<dish>/*.txt, or train, dev and test.jsonl",
    }

    def find(self, root: Path) -> str:
        """`artelab` where the titles are there, `mmbt` where the pages or MMBT's .jsonl files are."""
        titles = all((root / "texts" / f"{split}_titles.csv").is_file() for split in ("train", "test"))
        pages = _converted(root) or (root / "texts_txt").is_dir()
        if titles and pages:
            raise DataError(
                "both the titles (texts) and the pages (texts_txt) lie here; results differ much between them.",
                where=str(root),
                hint="Say which: --variant artelab or --variant mmbt.",
            )
        if titles or pages:
            return "artelab" if titles else "mmbt"
        found = ", ".join(sorted(entry.name for entry in root.iterdir())[:8]) if root.is_dir() else "no such folder"
        raise DataError(
            f"{root} is not UPMC Food-101: texts/train_titles.csv or texts_txt are expected there (found: {found}).",
            hint="Give the folder that holds images and texts, or images and texts_txt.",
        )

    def read(
        self,
        root: Path,
        writer: StoreWriter,
        variant: str,
        *,
        validation: int = 0,
        seed: int = 0,
        missing: float = MISSING_ALLOWED,
    ) -> None:
        """Reads both splits, and draws a stratified validation split from train where there is none.

        Args:
            validation: number of samples drawn from train; 0: 5,000, at most a tenth.
            seed: of the draw.
            missing: share of the pictures, and of the pages, that may be missing.
        """
        rule = Missing(missing)
        for name, kind in (("title", "text"), ("image", "path"), ("dish", "label")):
            writer.column(name, kind, description=self.columns[name])
        pictures = CheckedFiles(root, "image", writer, picture_fault, missing=rule)
        if variant == "mmbt" and _converted(root):
            for source in ("train", "dev", "test"):
                writer.source(root / f"{source}.jsonl")
            splits = {
                split: list(_from_jsonl(root, f"{source}.jsonl"))
                for source, split in (("train", "train"), ("dev", "validation"), ("test", "test"))
            }
        else:
            rows = _from_titles if variant == "artelab" else _from_pages
            found = {split: _once(rows(root, split, writer, rule), split, writer) for split in ("train", "test")}
            if variant == "mmbt":
                _check_pages(root, found, writer, rule)
            splits = _with_validation(found, validation, seed, writer)
        text = "the titles of the pages" if variant == "artelab" else "the whole text of the pages"
        writer.note(f"title holds {text}", sum(map(len, splits.values())))
        for split, dishes in splits.items():
            for dish in dishes:
                writer.add(split, dish.id, {"title": dish.title, "image": pictures.path(dish.image), "dish": dish.dish})
        pictures.finish()
        writer.classes["dish"] = sorted({dish.dish for dishes in splits.values() for dish in dishes})

    def synth(self, root: Path, *, variant: str = "artelab", samples: int = 240, seed: int = 0) -> None:
        """Ten dishes in five pairs: the text tells the pair, the colour of the plate which of the two it is."""
        write_food101(root, variant=variant, samples=samples, seed=seed)


def _converted(root: Path) -> bool:
    return all((root / f"{split}.jsonl").is_file() for split in ("train", "dev", "test"))


def title_rows(text: str) -> Iterator[tuple[int, str, str, str]]:
    """(line, image, title, dish) of a csv without header whose quotes may stay open; dish is "" where it is missing.

    The published train_titles.csv has a title whose quote never closes. Lines are read one by one, so that such a
    quote ends with its line; a line that does not start with the name of a file goes on with the title before it.
    """
    current: tuple[int, list[str]] | None = None
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        if not line.strip():
            continue
        if IMAGE.match(line.lstrip().lstrip('"')) or current is None:
            if current is not None:
                yield _title_row(*current)
            current = (number, [line])
        else:
            current[1].append(line)
    if current is not None:
        yield _title_row(*current)


def _title_row(number: int, lines: list[str]) -> tuple[int, str, str, str]:
    text = " ".join(line.strip() for line in lines)
    try:
        fields = next(csv.reader([text.replace("\0", "")], strict=False), [""])
    except csv.Error:  # a field of more than 131,072 characters
        fields = text.replace('"', "").split(",")
    if len(fields) >= 3:
        image, *title, dish = fields  # a title whose commas are not quoted has several fields
        return number, image.strip(), ",".join(title).strip(), dish.strip()
    image, title = [*fields, ""][:2]
    open_end = re.match(r"(?P<title>.*),(?P<dish>\w+)\s*$", title)  # the class, swallowed by an open quote
    if open_end and image.startswith(f"{open_end['dish']}_"):
        return number, image.strip(), open_end["title"].strip(), open_end["dish"]
    return number, image.strip(), title.strip(), ""


def _pictures(root: Path, split: str) -> Path:
    folder = root / "images" / split
    if not folder.is_dir():
        raise DataError(f"the folder {folder} does not exist.", hint="Unpack the pictures beside the texts.")
    return folder


def _from_titles(root: Path, split: str, writer: StoreWriter, missing: Missing) -> Iterator[_Dish]:
    source = root / "texts" / f"{split}_titles.csv"
    text, pictures = read_text(source), _pictures(root, split)
    writer.source(source)
    lost = kept = 0
    for line, image, title, dish in title_rows(text):
        where = f"{source.name}:{line}"
        name = file_name(image, where)
        match = IMAGE.fullmatch(name)
        if match is None:
            writer.note(f"{source.name}: rows that name no picture are dropped")
            continue
        if match["end"].lower() == "txt":
            writer.note(f"{source.name}: rows that name a .txt file are read as its .jpg")
            name = f"{name[:-4]}.jpg"
        if not dish:
            writer.note(f"{source.name}: rows without a dish take it from the name of the picture")
        folder = file_name(dish or match["dish"], where)
        if not (pictures / folder).is_dir() and folder != match["dish"]:
            writer.note(f"{source.name}: rows with an unknown dish take it from the name of the picture")
            folder = match["dish"]
        path = pictures / folder / name
        if not path.is_file():
            writer.note(f"{source.name}: rows whose picture does not exist are dropped")
            lost += 1
            continue
        kept += 1
        yield _Dish(name.rpartition(".")[0], title or None, path, folder)
    missing.check(lost, lost + kept, f"pictures of {source.name}", str(pictures))


def _from_pages(root: Path, split: str, writer: StoreWriter, missing: Missing) -> Iterator[_Dish]:
    folder = _pictures(root, split)
    writer.source(folder)
    lost = kept = 0
    for dish in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        for image in sorted(dish.iterdir()):
            match = IMAGE.search(image.name)
            if match is None or match["end"].lower() == "txt":
                writer.note("files among the pictures whose name is not <dish>_<number>.jpg are dropped")
                continue
            page = root / "texts_txt" / dish.name / f"{dish.name}_{match['number']}.txt"
            if not page.is_file():
                writer.note("pictures without a text are dropped, as MMBT does")
                lost += 1
                continue
            named_path(root, page.relative_to(root).as_posix(), page.name)
            kept += 1
            yield _Dish(f"{dish.name}_{image.name}", page_text(read_text(page)) or None, image, dish.name)
    missing.check(lost, lost + kept, f"pages of the pictures of {split}", str(root / "texts_txt"))


def _check_pages(root: Path, found: Mapping[str, list[_Dish]], writer: StoreWriter, missing: Missing) -> None:
    """The pages of both splits lie in one folder: those without a picture in either tell what is missing there."""
    pages = sum(1 for _ in (root / "texts_txt").glob("*/*.txt"))
    pictured = {(dish.dish, _number(dish.image)) for dishes in found.values() for dish in dishes}
    lost = pages - len(pictured)
    missing.check(lost, pages, "pictures of the pages in texts_txt", str(root / "images"))
    if lost > 0:
        writer.note("pages without a picture are dropped", lost)


def _number(image: Path) -> str:
    """`17` of sushi_17.jpg, which its page is named after."""
    match = IMAGE.search(image.name)
    assert match is not None, "a picture that was read has a number"
    return match["number"]


def page_text(content: str) -> str:
    """The text of a page as MMBT prepares it: symbols become spaces, runs of spaces one, everything lower case."""
    return re.sub(r"\s+", " ", SYMBOLS.sub(" ", content)).strip().lower()


def _from_jsonl(root: Path, name: str) -> Iterator[_Dish]:
    for where, row in json_lines(root / name):
        dish, text = row.get("label"), row.get("text")
        if not isinstance(dish, str) or not isinstance(text, str | None):
            raise DataError(f"label is {dish!r} and text a {type(text).__name__}; strings are expected.", where=where)
        image = named_path(root, row.get("img", row.get("image")), where)
        yield _Dish(str(row.get("id", image.name)), text or None, image, dish)


def _once(dishes: Iterator[_Dish], split: str, writer: StoreWriter) -> list[_Dish]:
    kept: dict[Path, _Dish] = {}
    for dish in dishes:
        if kept.setdefault(dish.image, dish) is not dish:
            writer.note(f"{split}: further rows of the same picture are dropped")
    return list(kept.values())


def _with_validation(
    found: Mapping[str, list[_Dish]], count: int, seed: int, writer: StoreWriter
) -> dict[str, list[_Dish]]:
    train = found["train"]
    count = count or min(VALIDATION, len(train) // 10)
    if not 0 < count < len(train):
        raise DataError(
            f"{count} validation samples cannot be drawn from {len(train)}.",
            hint="Give validation = N, above 0 and below the size of the training split.",
        )
    chosen = drawn([dish.dish for dish in train], count, seed)
    writer.note(f"validation: drawn from train, the same share of every dish, seed {seed}", len(chosen))
    return {
        "train": [dish for i, dish in enumerate(train) if i not in chosen],
        "validation": [dish for i, dish in enumerate(train) if i in chosen],
        "test": found["test"],
    }
