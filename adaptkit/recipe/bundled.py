"""The recipes that come with adaptkit, by name."""

from __future__ import annotations

from pathlib import Path

from adaptkit.errors import RecipeError, nearest

_PACKAGE = Path(__file__).resolve().parent.parent


def bundled_folder() -> Path:
    """`adaptkit/recipes` of an installed package, or `recipes` of a source checkout."""
    installed = _PACKAGE / "recipes"
    return installed if installed.is_dir() else _PACKAGE.parent / "recipes"


def bundled_names() -> tuple[str, ...]:
    """The names of the bundled recipes, sorted."""
    return tuple(sorted(file.stem for file in bundled_folder().glob("*.toml")))


def bundled_path(name: str) -> Path:
    """The file of a bundled recipe.

    Raises:
        RecipeError: no such recipe; the hint offers the nearest one.
    """
    known = bundled_names()
    if name not in known:
        raise RecipeError(f"no bundled recipe is called {name!r}.", hint=nearest(name, known))
    return bundled_folder() / f"{name}.toml"


def bundled_description(name: str) -> str:
    """The first comment line of a bundled recipe; "" where it begins with none."""
    first = bundled_path(name).read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("#: ").rstrip() if first.startswith("#") else ""


def folder_of(source: str | Path, path: Path) -> Path:
    """Where relative paths of a recipe start: its folder; of one that goes by name, `recipes` of the current folder.

    So "../data/mosi" is data/mosi where the user stands, and never a place in the installed package.

    Args:
        source: what the user, or `extends`, wrote.
        path: what `find_recipe` made of it.
    """
    by_name = path.parent == bundled_folder() and path.suffix and str(source) == path.stem
    return Path("recipes") if by_name else path.parent


def find_recipe(source: str | Path, *, folder: Path = Path(), where: str = "") -> Path:
    """The file that a user means: a path (relative to `folder`), or the name of a bundled recipe.

    A file wins over a bundled recipe of the same name.

    Raises:
        RecipeError: there is neither.
    """
    path = folder / Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise RecipeError("is a folder, not a recipe.", where=where or str(path), hint="Name the .toml file in it.")
    name = str(source)
    if name in bundled_names():
        return bundled_path(name)
    known = nearest(Path(name).stem, bundled_names())
    hint = f"Bundled recipes go by name. {known}" if known else "Give the path of a .toml file."
    raise RecipeError(f"no such recipe: {name}.", where=where or str(path), hint=hint)
