"""Answers that follow from a recipe or a model alone are made once: the second time they need no torch.

An answer is remembered with all it depends on: what was asked, adaptkit's own files, the versions of everything that is
installed, and the files of the models. Where some of that cannot be told (code of one's own, a library in the making),
it is made each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit.caching import cache_root, recall, remember
from adaptkit.cli.answer import to_json
from adaptkit.errors import AdaptkitError

if TYPE_CHECKING:
    from adaptkit.anatomy import ModelRef
    from adaptkit.recipe import Recipe

LIBRARIES = ("torch", "transformers", "timm")  # that models are built of


def remembered(
    room: str, asked: Callable[[], tuple[Mapping[str, Any], list[ModelRef]]], make: Callable[[], Mapping[str, Any]]
) -> dict[str, Any]:
    """What `make` gives, as JSON says it, whether it is made now or was before.

    Args:
        room: the sort of answer.
        asked: what it is about, as JSON, and the models that are built for it. A mistake there is for `make` to tell.
        make: makes it, with torch.
    """
    try:
        about, models = asked()
    except AdaptkitError:
        return json.loads(to_json(make()))
    key = answer_key(about, models)
    known = None if key is None else recall(room, key)
    if known is not None:
        return known
    made = json.loads(to_json(make()))
    if key is not None and key == answer_key(about, models):  # nothing was edited in between
        remember(room, key, made)
    return made


def answer_key(asked: Mapping[str, Any], models: list[ModelRef]) -> str | None:
    """All that an answer depends on, as text; None where that cannot be told, or nothing is kept."""
    from adaptkit.kinds import loaded_plugins

    if cache_root() is None or loaded_plugins() or any(ref.builder is not None for ref in models):
        return None
    if not all(map(_is_installed, LIBRARIES)):
        return None
    return to_json({"asked": asked, "models": [_model(ref) for ref in models], "environment": _environment()})


def models_of(recipe: Recipe) -> dict[str, ModelRef]:
    """Key of the recipe's table -> the model that it names: of the backbone, and of the towers.

    Raises:
        RecipeError: a name that means no model.
    """
    from adaptkit.anatomy import resolve

    towers = ((f"modality.{name}.tower", getattr(table, "tower", None)) for name, table in recipe.modality.items())
    named: dict[str, Any] = {"backbone": recipe.backbone} | {key: tower for key, tower in towers if tower is not None}
    return {
        key: resolve(
            table.model,
            base=recipe.base,
            revision=table.revision,
            config=table.config,
            where=recipe.where(f"{key}.model"),
        )
        for key, table in named.items()
    }


def recipe_key(recipe: Recipe) -> dict[str, Any]:
    """A recipe, and where it lies."""
    from adaptkit.recipe.write import resolved_tables

    places = {".".join(key): place for key, place in recipe.places.items()}
    return {"recipe": resolved_tables(recipe), "base": str(recipe.base.resolve()), "places": places}


def sources_of(recipe: Recipe) -> list[ModelRef]:
    """The models of a recipe, and those whose tokenizers it names."""
    from adaptkit.anatomy import resolve

    towers = (getattr(table, "tower", None) for table in recipe.modality.values())
    named = [getattr(table, "tokenizer", None) for table in (recipe.backbone, *towers)]
    tokenizers = (resolve(name, base=recipe.base) for name in named if name is not None)
    return [*models_of(recipe).values(), *tokenizers]


def _model(ref: ModelRef) -> dict[str, Any]:
    """What is known of a model's name, and the files that its configuration and tokenizer are read from."""
    from adaptkit.anatomy.loading.weights import local_folders

    files = {str(folder): _files(folder) for folder in local_folders(ref)}
    named = {key: getattr(ref, key) for key in ("name", "id", "library", "revision", "note", "settings")}
    return {**named, "files": files}


def _files(folder: Path) -> list[tuple[Any, ...]]:
    """What tells that a file of the folder was changed."""
    return [(file.name, *_about(file)) for file in sorted(folder.iterdir()) if file.is_file()]  # no broken links


def _environment() -> dict[str, str]:
    """Python, every installed distribution with its version, and adaptkit to the last file, edited or not."""
    package = Path(__file__).parents[1]
    own = [(str(f), *_about(f)) for f in sorted(package.rglob("*")) if f.suffix in (".py", ".json", ".toml")]
    installed = []
    for folder in sys.path:
        if os.path.isdir(folder):
            names = [name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info", ".egg-link"))]
            installed += [(folder, name, *_about(Path(folder, name))) for name in sorted(names)]
    digest = hashlib.sha256(repr((own, installed)).encode("utf-8", "surrogatepass")).hexdigest()
    return {"python": sys.version, "machine": platform.platform(), "packages": digest}


def _about(file: Path) -> tuple[int, int, int]:
    """Its size, and when it was changed by its own account and by the system's."""
    about = file.stat()
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _is_installed(library: str) -> bool:
    """Whether a library lies where its distribution was installed: only then a version says what it is."""
    spec = find_spec(library)
    if spec is None or spec.origin is None:
        return False
    return any(Path(spec.origin).parents[1].glob(f"{library}-*.dist-info"))
