"""Reading a recipe: file, what it extends, `--set`, types and agreement. Every mistake is told at once."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from adaptkit.errors import RecipeError
from adaptkit.kinds import load_plugin
from adaptkit.recipe.bundled import find_recipe, folder_of
from adaptkit.recipe.checks import conflicts
from adaptkit.recipe.draft import Draft, too_much
from adaptkit.recipe.findings import findings
from adaptkit.recipe.locate import key_lines
from adaptkit.recipe.places import Finding, Places
from adaptkit.recipe.schema import Origin, Recipe

DEEPEST = 32
_AT_LINE = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)", re.DOTALL)


def load_recipe(
    source: str | Path, sets: Sequence[str] = (), *, base: Path | None = None, plugins: bool = True
) -> Recipe:
    """Read a recipe.

    Args:
        source: path of a TOML file, or the name of a bundled recipe.
        sets: changes, as `a.b.c=value`, applied in order.
        base: folder that relative paths of the recipe are resolved against; default: the file's folder, and for a
            bundled recipe `recipes` of the current one. (For the copy of a recipe that a run keeps.)
        plugins: import those that it names. False for a recipe that is not the user's own: they must be loaded already.

    Raises:
        RecipeError: the file is missing or no TOML, or everything that is wrong in it.
        UsageError: a change is not KEY=VALUE.
    """
    path = find_recipe(source)
    text = read_text(path)
    draft = read_draft(path, text, folder=folder_of(source, path), plugins=plugins)
    draft = draft.with_sets(sets)
    check_depth(draft.document, draft.places)
    folder = base or folder_of(source, path)
    if plugins:
        _load_plugins(draft, folder)  # those that --set names
    recipe = _checked(draft)
    recipe._origin = Origin(path, text, folder, draft.places)
    return recipe


def parse_recipe(document: Mapping[str, Any], *, base: Path | None = None, needs_task: bool = True) -> Recipe:
    """A recipe from tables made in Python, checked like a file. Its plugins must be loaded already.

    Args:
        document: the tables.
        base: folder that its relative paths start from.
        needs_task: without a task nothing can be trained; an adapter that was converted has none.

    Raises:
        RecipeError: everything that is wrong in it.
    """
    recipe = _checked(Draft(document, Places()), needs_task=needs_task)
    recipe._origin = Origin(base=base or Path())
    return recipe


def _load_plugins(draft: Draft, folder: Path) -> None:
    """Import what the recipe names, so that its kinds are known."""
    named = draft.document.get("plugins")
    for name in named if isinstance(named, list) else ():
        if isinstance(name, str):
            load_plugin(name, base=folder, where=draft.places.of(("plugins",)))


def _checked(draft: Draft, *, needs_task: bool = True) -> Recipe:
    found, recipe = [*draft.findings], None
    try:
        recipe = Recipe.model_validate(draft.document)
    except ValidationError as error:
        found += findings(error, draft.document)
    wrong = {finding.path for finding in found}  # a value that is wrong alone is told once
    found += (each for each in conflicts(draft.document, needs_task=needs_task) if each.path not in wrong)
    if found:
        raise RecipeError.all(finding.problem(draft.places) for finding in _by_place(found, draft.places))
    assert recipe is not None, "a recipe without mistakes validates"
    return recipe


def _by_place(found: Sequence[Finding], places: Places) -> list[Finding]:
    """In the order of lines, so that a user mends them from top to bottom; none twice."""

    def line(finding: Finding) -> tuple[str, int]:
        file, _, number = places.of(finding.path).rpartition(":")
        return (file, int(number)) if number.isdecimal() else ("", 0)

    return sorted(dict.fromkeys(found), key=line)


def read_draft(path: Path, text: str, above: tuple[Path, ...] = (), *, folder: Path, plugins: bool = True) -> Draft:
    """The tables of a file, laid over those of the file it extends.

    Args:
        path: the file.
        text: what is in it.
        above: the files that extend this one, to find a circle.
        folder: where its relative paths start.
        plugins: import those that it names.

    Raises:
        RecipeError: no TOML, or a circle of `extends`.
    """
    label = shown(path)
    document = parse_toml(text, label)
    places = Places({key: f"{label}:{line}" for key, line in key_lines(text).items()})
    places[()] = label
    check_depth(document, places)
    base = document.pop("extends", None)
    if plugins:
        _load_plugins(Draft(document, places), folder)
    if base is None:
        return Draft(document, places)
    where = places.of(("extends",))
    if not isinstance(base, str):
        raise RecipeError("extends: should be one file.", where=where, hint='Write for example extends = "base.toml".')
    below = find_recipe(base, folder=path.parent, where=where)
    chain = (*above, path.resolve())
    if below.resolve() in chain:
        circle = " -> ".join(shown(file) for file in (*chain, below))
        raise RecipeError(f"extends: goes in a circle ({circle}).", where=where, hint="Extend a file that does not.")
    start = folder_of(base, below)
    draft = read_draft(below, read_text(below), chain, folder=start, plugins=plugins).rebased(start, folder)
    return Draft(document, places).over(draft)


def read_text(path: Path) -> str:
    """The text of a recipe, to the letter.

    Raises:
        RecipeError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"is not UTF-8 text ({error.reason}).", where=shown(path), hint="Save it as UTF-8.") from None
    except OSError as error:
        raise RecipeError(f"cannot be read ({error.strerror}).", where=shown(path)) from None


def parse_toml(text: str, label: str) -> dict[str, Any]:
    """tomllib, with the place of a syntax error.

    Raises:
        RecipeError: a syntax error, as `file:line`.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.match(str(error))
        line = int(found["line"]) if found else text.rstrip().count("\n") + 1
        what = f"{found['what']} (column {found['column']})" if found else str(error)
        hint = 'Text needs quotes: name = "value".' if what.startswith("Invalid value") else ""
        raise RecipeError(f"TOML syntax: {what}.", where=f"{label}:{line}", hint=hint) from None
    except (ValueError, RecursionError) as error:  # tomllib leaves these to Python
        raise RecipeError(f"{too_much(error)}.", where=label) from None


def check_depth(document: Mapping[str, Any], places: Places) -> None:
    """Raise RecipeError where tables and lists are nested deeper than any recipe, or any reader, needs."""
    level: list[tuple[tuple[str, ...], Any]] = [((key,), value) for key, value in document.items()]
    for _ in range(DEEPEST):
        level = [((*path, *own), item) for path, value in level for own, item in _within(value)]
    if level:
        path, _ = level[0]
        key = ".".join(path[:3])
        raise RecipeError(f"{key}: is nested deeper than {DEEPEST} tables and lists.", where=places.of(path))


def _within(value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        yield from (((key,), item) for key, item in value.items())
    elif isinstance(value, list):
        yield from (((), item) for item in value)


def shown(path: Path) -> str:
    """A path as short as it can be said from the working folder."""
    nice = os.path.normpath(path)
    if os.path.isabs(nice):
        inside = os.path.relpath(nice)
        return nice if inside.startswith("..") else inside
    return nice
