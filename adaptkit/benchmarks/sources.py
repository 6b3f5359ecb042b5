"""What importers of films, dishes and clips share: names that stay in their folder, json, checked files, draws."""

from __future__ import annotations

import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from adaptkit.errors import DataError, UsageError

BROKEN_ALLOWED = 0.05  # share of the files of a column that may be broken before an import gives up
MISSING_ALLOWED = 0.05  # share of the files that a source names and that may be missing, unless the import allows more
FEW = 5  # files that may be missing in any case


class Notes(Protocol):
    """Where an importer writes down what it dropped or changed: a StoreWriter."""

    def note(self, text: str, count: int = 1) -> None: ...


def file_name(value: Any, where: str) -> str:
    """An id as the name of a file: "17" for 17.

    Raises:
        DataError: it is neither a number nor a string, is empty, or would lead into another folder.
    """
    if isinstance(value, bytes):
        value = value.decode("latin1")
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"the id {value!r} is neither a number nor a name.", where=where)
    name = str(value)
    if name in (".", "..") or any(letter in name for letter in "/\\\0:") or len(name) > 200:
        raise DataError(f"the id {name[:80]!r} would leave the data folder.", where=where)
    return name


def named_path(root: Path, relative: Any, where: str) -> Path:
    """The file that a json or csv names, which may not lie outside `root`; it need not exist.

    Raises:
        DataError: not a string, an absolute path, or one that leaves the root (also through a link).
    """
    if not isinstance(relative, str) or not relative or "\0" in relative:
        raise DataError(f"{relative!r} is not a path.", where=where)
    path = (root / relative.replace("\\", "/")).resolve()
    if not path.is_relative_to(root.resolve()):
        raise DataError(f"the path {relative!r} leaves the data folder {root}.", where=where)
    return path


def folder_with(root: Path, folders: Sequence[str], names: Sequence[str]) -> Path | None:
    """The first of these folders, from the root, that has all of these files."""
    there = (root / folder for folder in folders)
    return next((folder for folder in there if all((folder / name).is_file() for name in names)), None)


def download(root: Path, title: str, folders: Sequence[str], names: Sequence[str], expected: str = "") -> Path:
    """`folder_with`, for a download that has to be there.

    Raises:
        DataError: it is not; `expected` says of which files, where not their names alone do.
    """
    found = folder_with(root, folders, names)
    if found is None:
        raise not_there(root, title, expected or f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}")
    return found


def not_there(root: Path, title: str, expected: str) -> DataError:
    """The error of a folder that is not the download of a data set."""
    found = ", ".join(sorted(entry.name for entry in root.iterdir())[:8]) if root.is_dir() else "no such folder"
    return DataError(f"{root} is not {title}: {expected} expected there (found: {found}).")


def read_text(path: Path) -> str:
    """The contents of a text file in UTF-8, whose odd bytes become U+FFFD.

    Raises:
        DataError: it does not exist or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise DataError(f"the file {path} does not exist.", where=path.name) from None
    except OSError as error:
        raise DataError(f"the file {path} cannot be read: {error}.", where=path.name) from None


def read_json(path: Path) -> Any:
    """The value in a .json file.

    Raises:
        DataError: it cannot be read or is not JSON, for one because the download broke off.
    """
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(
            f"{path} is not JSON: {error}.", where=path.name, hint="A download that broke off? Fetch it again."
        ) from None


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`file:line`, object) for each line that is not empty.

    Raises:
        DataError: a line that is not a JSON object.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):  # splitlines would cut at U+2028
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"this is not JSON: {error}.", where=where) from None
        if not isinstance(record, dict):
            raise DataError(f"this is a JSON {type(record).__name__}, not an object.", where=where)
        yield where, record


def strings(value: Any, what: str, where: str) -> list[str]:
    """A list of labels, without repetitions; one label alone is a list of one.

    Raises:
        DataError: anything else.
    """
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        raise DataError(f"{what} is {json.dumps(value, default=str)[:60]}, not a list of names.", where=where)
    return list(dict.fromkeys(found))


def finite(values: np.ndarray, column: str, notes: Notes) -> np.ndarray:
    """The values as float32 with 0 where they are not finite, which the audit counts."""
    values = np.asarray(values, dtype=np.float32)
    odd = ~np.isfinite(values)
    if odd.any():
        notes.note(f"NaN or infinity in {column} set to 0 (values)", int(odd.sum()))
        values = np.where(odd, np.float32(0), values)
    return values


def drawn(labels: Sequence[str], count: int, seed: int) -> set[int]:
    """`count` positions out of len(labels), of each label nearly the same share, the same for the same seed.

    Each label gives floor(share); those with the largest remainders give one more. No label is emptied.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for position, label in enumerate(labels):
        places[label].append(position)
    exact = {label: count * len(found) / len(labels) for label, found in places.items()}
    take = {label: min(int(share), len(places[label]) - 1) for label, share in exact.items()}
    left = count - sum(take.values())
    for label in sorted(places, key=lambda name: (take[name] - exact[name], name)):
        if left > 0 and take[label] + 1 < len(places[label]):
            take[label] += 1
            left -= 1
    rng = np.random.default_rng((seed, 9101))
    return {int(i) for label in sorted(places) for i in rng.permutation(places[label])[: take[label]]}


class Missing:
    """The rule for files that a source names and that are not there: a few are counted, more stop the import.

    Half of an archive looks like a data set, and trains to other numbers without a word.

    Args:
        allowed: the share that may be missing, as `--option missing=0.6` gives it.

    Raises:
        UsageError: that is no share.
    """

    def __init__(self, allowed: float = MISSING_ALLOWED) -> None:
        if not 0 <= allowed <= 1:
            raise UsageError(
                f"missing = {allowed}: a share between 0 and 1 is expected.",
                where="--option",
                hint="missing=0.6 allows that 60 of 100 files are not there.",
            )
        self.allowed = allowed

    def check(self, lost: int, named: int, what: str, where: str) -> None:
        """Raise DataError where too many of the named files are lost."""
        if lost > max(FEW, self.allowed * named):
            share = -(-100 * lost // named) / 100
            raise DataError(
                f"{lost:,} of {named:,} {what} do not exist.",
                where=where,
                hint=f"Unpack the archive again, or take what is there: --option missing={share}.",
            )


class CheckedFiles:
    """Checks each file of a column once, so that none stops a training later; broken ones count as absent.

    Args:
        root: folder that paths are relative to.
        column: the files are for.
        notes: the audit.
        fault: why a file cannot be used, or "".
        noun: what the files are.
        missing: how many may be missing; None: any, as the source does not have one of each sample.
    """

    def __init__(
        self,
        root: Path,
        column: str,
        notes: Notes,
        fault: Callable[[Path], str],
        noun: str = "pictures",
        missing: Missing | None = None,
    ) -> None:
        self.root, self.column, self.notes, self.fault, self.noun = root.resolve(), column, notes, fault, noun
        self.missing, self.lost = missing, 0
        self.seen: dict[Path, str | None] = {}
        self.broken: list[str] = []
        self.faults: Counter[str] = Counter()

    def path(self, file: Path) -> str | None:
        """Its path relative to the root, or None where it is missing or broken.

        Raises:
            DataError: it is a link that leaves the root.
        """
        if file not in self.seen:
            self.seen[file] = self._checked(file)
        return self.seen[file]

    def _checked(self, file: Path) -> str | None:
        if not file.is_file():
            self.notes.note(f"{self.column}: the file is missing")
            self.lost += 1
            return None
        resolved = file.resolve()
        if not resolved.is_relative_to(self.root):
            raise DataError(f"{file} is a link that leaves the data folder {self.root}.", where=self.column)
        relative = resolved.relative_to(self.root).as_posix()
        fault = self.fault(file)
        if fault:
            self.broken.append(relative)
            self.faults[fault] += 1
        return None if fault else relative

    def finish(self) -> None:
        """Writes the broken ones into the audit.

        Raises:
            DataError: more than 5 % of those that are there are broken, or more are missing than may be.
        """
        if self.missing is not None:
            self.missing.check(self.lost, len(self.seen), self.noun, self.column)
        if not self.broken:
            return
        named, there = ", ".join(self.broken[:3]), sum(path is not None for path in self.seen.values())
        seen = there + len(self.broken)
        if len(self.broken) > max(1, BROKEN_ALLOWED * seen):
            fault = self.faults.most_common(1)[0][0]
            raise DataError(
                f"{len(self.broken):,} of {seen:,} {self.noun} are broken ({fault}): {named}.",
                where=self.column,
                hint="Unpack the archive again.",
            )
        self.notes.note(f"{self.column}: broken {self.noun} count as absent, such as {named}", len(self.broken))


def picture_fault(file: Path) -> str:
    """Why a picture cannot be shown, or "" where it can. It is decoded in small: a cut-off file is found, too."""
    from PIL import Image, UnidentifiedImageError

    from adaptkit.modalities.pixels import formats

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF blocks and the like
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=formats()) as picture:
                picture.verify()
            with Image.open(file, formats=formats()) as picture:
                picture.draft("RGB", (64, 64))  # a JPEG is then decoded at an eighth of its size
                picture.load()
    except UnidentifiedImageError:
        return "not a picture"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return "far too many pixels"
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow raises for damaged files
        return f"{type(error).__name__}: {error}"[:80]
    return ""
