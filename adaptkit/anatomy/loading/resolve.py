"""From the name a user types to the checkpoint it means. No torch here, and no network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from adaptkit.anatomy.loading.builder import Builder, builder_file, is_builder
from adaptkit.anatomy.tables.aliases import Alias, aliases, by_id
from adaptkit.errors import RecipeError, nearest

Precision = Literal["float32", "bfloat16", "float16", "shipped"]  # of weights; "shipped" is that of their file


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A checkpoint, or what builds a model, found but not loaded.

    Attributes:
        name: as typed.
        id: hub id, `timm/<name>`, the folder, or `module:callable`, where a file is absolute.
        library: the library that builds it; "python" for a callable of one's own.
        folder: local folder with config.json, or None.
        revision: of the hub repository; None is its main branch.
        note: one sentence for the user where the name is short for something, or code; else "".
        alias: the bundled row this name or id belongs to, or None.
        settings: the configuration of a model with random weights, or of a callable; None for a checkpoint.
        builder: the callable; None for models of the libraries.
        added_tokens: rows that its word table has besides the checkpoint's.
        head: with the head of a language model, which gives words and not only states.
    """

    name: str
    id: str
    library: Literal["transformers", "timm", "python"]
    folder: Path | None = None
    revision: str | None = None
    note: str = ""
    alias: Alias | None = None
    settings: Mapping[str, Any] | None = field(default=None, hash=False)
    builder: Builder | None = None
    added_tokens: int = 0
    head: bool = False


def resolve(
    name: str,
    *,
    base: Path | None = None,
    revision: str | None = None,
    config: Mapping[str, Any] | None = None,
    where: str = "",
) -> ModelRef:
    """What `name` means: an alias, a hub id, `timm/<name>`, a local folder, or with `config` a type of model.

    Or a callable, `my_package.nets:build` or `./nets.py:build`: it is imported here, and not called yet.

    Args:
        name: as typed in the recipe or on the command line.
        base: folder that relative paths start from; the current one by default.
        revision: of the hub repository.
        config: the configuration of a model with random weights, or keyword arguments of a callable; whether its
            type and keys exist is found out when it is built.
        where: the place of the name, for the error.

    Raises:
        RecipeError: no alias, no folder and no hub id has this form, or there is no such callable; the hint offers
            the nearest one.
    """
    if is_builder(name):
        return _from_code(name, base or Path(), config, revision, where)
    if config is not None:
        return _from_config(name, config, revision, where)
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
            hint="Give a folder with config.json, a hub id (google-bert/bert-base-uncased), an alias, or a callable "
            "(./nets.py:build).",
        )
    raise RecipeError(f"unknown model {name!r}.", where=where, hint=nearest(name, aliases()))


def _from_code(name: str, base: Path, config: Mapping[str, Any] | None, revision: str | None, where: str) -> ModelRef:
    if revision is not None:
        raise RecipeError(f"{name} is a callable, and has no revision.", where=where, hint="Leave revision out.")
    file = builder_file(name)
    id = name if file is None else f"{(base / file.expanduser()).resolve()}:{name.rpartition(':')[2]}"
    note = f"{name} is your own code, and runs whenever the model is built"
    return ModelRef(name, id, "python", note=note, settings=config, builder=Builder.find(name, base, where))


def _from_config(name: str, config: Mapping[str, Any], revision: str | None, where: str) -> ModelRef:
    if revision is not None:
        raise RecipeError(
            "a model built from config has no revision.", where=where, hint="Leave out revision, or config."
        )
    alias = aliases().get(name) or by_id().get(name)
    if alias is not None and alias.model_type != name:  # gpt2 is both a checkpoint and a type
        raise RecipeError(
            f"{name!r} is a checkpoint, and config makes a model with random weights.",
            where=where,
            hint=f'Write model = "{alias.model_type}", or leave out config.',
        )
    note = f"{name} is built from the configuration in the recipe, with random weights"
    return ModelRef(name, name, "timm" if name.startswith("timm/") else "transformers", note=note, settings=config)


def _local(name: str, folder: Path, where: str) -> ModelRef:
    if not (folder / "config.json").is_file():
        raise RecipeError(
            f"the folder {name!r} has no config.json.",
            where=where,
            hint="A local model is a folder with config.json and model.safetensors.",
        )
    return ModelRef(name, str(folder), "timm" if _is_timm(folder / "config.json") else "transformers", folder)


def _is_timm(config: Path) -> bool:
    """timm's configurations name an architecture where those of transformers have a type of model."""
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False  # which is told when it is loaded
    return isinstance(content, dict) and "architecture" in content and "model_type" not in content


def _is_hub_id(name: str) -> bool:
    """`org/name`; what starts like a path is one."""
    return name.count("/") == 1 and name[0] not in "./~" and not name.endswith("/") and "\\" not in name
