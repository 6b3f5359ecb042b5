"""From the name a user types to the checkpoint it means. No torch here, and no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adaptkit.anatomy.aliases import Alias, aliases, by_id
from adaptkit.errors import RecipeError
from adaptkit.registry import nearest


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A checkpoint, found but not loaded.

    Attributes:
        name: as typed.
        id: hub id, `timm/<name>`, or the folder.
        library: the library that builds it.
        folder: local folder with config.json, or None.
        revision: of the hub repository; None is its main branch.
        note: one sentence for the user where the name is short for something; else "".
        alias: the bundled row this name or id belongs to, or None.
    """

    name: str
    id: str
    library: Literal["transformers", "timm"]
    folder: Path | None = None
    revision: str | None = None
    note: str = ""
    alias: Alias | None = None


def resolve(name: str, *, base: Path | None = None, revision: str | None = None, where: str = "") -> ModelRef:
    """What `name` means: an alias, a hub id, `timm/<name>`, or a local folder.

    Args:
        name: as typed in the recipe or on the command line.
        base: folder that relative paths start from; the current one by default.
        revision: of the hub repository.
        where: the place of the name, for the error.

    Raises:
        RecipeError: no alias, no folder and no hub id has this form; the hint offers the nearest alias.
    """
    if name.startswith("timm/"):
        return ModelRef(name, name, "timm", revision=revision)
    if name in aliases():
        alias = aliases()[name]
        return ModelRef(name, alias.id, "transformers", None, revision, f"{name} is short for {alias.id}", alias)
    if name in by_id():
        return ModelRef(name, name, "transformers", revision=revision, alias=by_id()[name])
    folder = (base or Path()) / Path(name).expanduser()
    if folder.is_dir():
        return _local(name, folder, where)
    if _is_hub_id(name):
        return ModelRef(name, name, "transformers", revision=revision)
    if "/" in name or "\\" in name:
        raise RecipeError(
            f"no folder {str(folder)!r}.",
            where=where,
            hint="Give a folder with config.json, a hub id (google-bert/bert-base-uncased), or an alias.",
        )
    raise RecipeError(f"unknown model {name!r}.", where=where, hint=nearest(name, aliases()))


def _local(name: str, folder: Path, where: str) -> ModelRef:
    if not (folder / "config.json").is_file():
        raise RecipeError(
            f"the folder {name!r} has no config.json.",
            where=where,
            hint="A local model is a folder with config.json and model.safetensors.",
        )
    return ModelRef(name, str(folder), "transformers", folder)


def _is_hub_id(name: str) -> bool:
    """`org/name`; what starts like a path is one."""
    return name.count("/") == 1 and name[0] not in "./~" and not name.endswith("/") and "\\" not in name
