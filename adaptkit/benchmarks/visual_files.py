"""The vectors or pictures of images and clips: found by their ids, checked once, named by rows and never copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from adaptkit.benchmarks.sources import MISSING_ALLOWED, CheckedFiles, Missing, picture_fault
from adaptkit.data.store_writer import StoreWriter
from adaptkit.errors import DataError
from adaptkit.modalities.arrays import array_shape

PICTURES = (".jpg", ".jpeg", ".png")


class VisualFiles:
    """One file per image or clip. Rows name it: a feature file of 49 x 2,048 numbers serves many questions.

    Args:
        root: of the data.
        writer: of the store.
        folders: where feature files lie, from the root: `COCO/clip_features/data_clip_RN101_att`.
        suffix: of feature files.
        key: of the array in one, with `{id}` for the id.
        pictures: folders with pictures, from the root, searched whole; none: vectors are the only form.
        images: read pictures, although there are feature files.
        missing: the share of the files that rows name and that may be missing.
        noun: what the feature files are, for errors.

    Attributes:
        kind: of the column: `array` of vectors, `path` of pictures.
        width: of a vector.

    Raises:
        DataError: there is neither the one nor the other.
    """

    def __init__(
        self,
        root: Path,
        writer: StoreWriter,
        folders: Sequence[Path],
        *,
        suffix: str = ".h5",
        key: str = "{id}/features",
        pictures: Sequence[str] = (),
        images: bool = False,
        missing: float = MISSING_ALLOWED,
        noun: str = "feature files",
    ) -> None:
        self.root, self.writer, self.key, self.width = root, writer, key, 0
        listed = [] if images else [folder for folder in folders if folder.is_dir()]
        self.files = {path.stem: path for folder in listed for path in folder.iterdir() if path.suffix == suffix}
        self.kind, noun = ("array", noun) if self.files else ("path", "pictures")
        if self.files:
            for folder in listed:
                writer.source(folder)
            self.width = self._first_width()
        else:
            self.files = _pictures(root, pictures)
        if not self.files:
            forms = [f"{suffix} files in {folder.relative_to(root).as_posix()}" for folder in folders]
            forms += [f"pictures in {folder}" for folder in pictures]
            raise DataError(f"{root} has none of: {'; '.join(forms)}.", hint="Unpack them beside the annotations.")
        self.checked = CheckedFiles(root, "image", writer, self._fault, noun, Missing(missing))
        self._nowhere = min(self.files.values()).parent
        self._asked: dict[str, str | None] = {}

    def columns(self, described: Mapping[str, str]) -> None:
        """The columns of a question and its image, which a benchmark describes."""
        self.writer.column("text", "text", description=described["text"])
        self.writer.column("image", self.kind, width=self.width or None, description=described["image"])

    def named(self, id: str) -> str | None:
        """The file of an image, as a row names it; None where there is none, or a broken one."""
        if id not in self._asked:
            relative = self.checked.path(self.files.get(id, self._nowhere / f"{id}.missing"))
            key = f"::{self.key.format(id=id)}" if self.kind == "array" else ""
            self._asked[id] = None if relative is None else relative + key
        return self._asked[id]

    def finish(self) -> None:
        """The audit of files that are broken or missing.

        Raises:
            DataError: too many are.
        """
        self.checked.finish()

    def _first_width(self) -> int:
        """E of the first file that can be read; all must have it."""
        paths = sorted(self.files.values())
        for path in paths:
            try:
                return self._shape(path)[1]
            except DataError as error:
                if path == paths[-1]:
                    raise error from None
        raise AssertionError("there are files")

    def _shape(self, path: Path) -> tuple[int, ...]:
        place = f"{path}::{self.key.format(id=path.stem)}"
        shape = array_shape(place, name="image", where=path.name)
        if len(shape) != 2 or 0 in shape:
            raise DataError(f"{path} has shape {shape}, not (T, E).", where=path.parent.name)
        return shape

    def _fault(self, path: Path) -> str:
        if self.kind == "path":
            return picture_fault(path)
        try:
            found = self._shape(path)
        except DataError as error:
            return error.problems[0].message[:120]
        if found[1] != self.width:
            raise DataError(f"{path} has shape {found}, not (T, {self.width}).", where=path.parent.name)
        return ""


def clip_folders(root: Path, homes: Sequence[str], features: str) -> list[Path]:
    """`HOME/clip_features/data_clip_MODEL_att` of every home, of one model.

    Args:
        root: of the data.
        homes: folders of the data sets whose images are needed.
        features: the model; "": the only one there.

    Raises:
        DataError: several models, and none is named, or the one named is not there.
    """
    found = {home: sorted((root / home / "clip_features").glob("data_clip_*_att")) for home in homes}
    models = sorted(
        {path.name.removeprefix("data_clip_").removesuffix("_att") for each in found.values() for path in each}
    )
    if features and features not in models:
        there = ", ".join(models) or "none"
        raise DataError(f"there are no features {features!r} (there are: {there}).", where=str(root))
    if len(models) > 1 and not features:
        hint = f"Say which: --option features={models[0]}."
        raise DataError(f"there are features of several models: {', '.join(models)}.", where=str(root), hint=hint)
    model = features or (models[0] if models else "RN101")
    return [root / home / "clip_features" / f"data_clip_{model}_att" for home in homes]


def _pictures(root: Path, folders: Sequence[str]) -> dict[str, Path]:
    there = [root / folder for folder in folders if (root / folder).is_dir()]
    return {path.stem: path for folder in there for path in folder.rglob("*") if path.suffix.lower() in PICTURES}
