"""Recipes with something wrong in them: trees of TOML with values, keys and kinds changed, and damaged texts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random
from typing import Any

import tomlkit

from adaptkit.kinds import POINTS
from adaptkit.recipe.schema import Recipe
from adaptkit.recipe.shape import keys_at

Path = tuple[str | int, ...]

NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 64, 1000, 99_999, 2**20, 2**31, 2**32, 2**53, 2**62, 2**63, 2**64, -(2**62), 10**30, 10**400),
    *(0.5, 1.5, -0.5, 1e-300, 1e300, -1e300, 5e-324, float("inf"), float("-inf"), float("nan"), 1e6, 0.999999),
)
TEXTS = (
    *("", " ", "auto", "none", "all", "last", "mlp.out", "fusion", "path:*", "path:[", "span:x", "x@block.out", "0..1"),
    *(
        "../../..",
        "/dev/null",
        "/etc/passwd",
        "~",
        "é",
        "名前",
        "\u202e",
        "a\nb",
        "\x7f",
        "{",
        "${HOME}",
        "%s%n",
        "a" * 5000,
    ),
    *(
        "adapter:fuse",
        "text",
        "side",
        "gmu",
        "wander",
        "lora",
        "question",
        "features",
        "answer",
        "timm/resnet18",
        "bert",
    ),
)
NAMES = (
    "x",
    "rnak",
    "kind",
    "at",
    "",
    " ",
    "é",
    "a.b",
    "__class__",
    "model_config",
    "train",
    "self",
    "forward",
    "0",
    "a b",
)
WORDS = [name for point in POINTS for name in point.kinds]


def mutant(document: dict[str, Any], chance: Random, most: int = 3) -> str:
    """The text of a recipe with one to `most` changes."""
    tree = copy.deepcopy(document)
    for _ in range(chance.randint(1, most)):
        chance.choice(CHANGES)(tree, chance)
    text = written(tree)
    if most > 1 and chance.random() < 0.15:
        text = chance.choice(DAMAGES)(text, chance)
    return text


def written(tree: dict[str, Any]) -> str:
    return tomlkit.dumps(tree)


def paths(tree: Any, above: Path = ()) -> list[Path]:
    """Every place in a tree."""
    found: list[Path] = [above] if above else []
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return found + [path for key, value in entries for path in paths(value, (*above, key))]


def value_at(tree: Any, path: Path) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def anything(chance: Random, depth: int = 2) -> Any:
    """A value of any type."""
    sort = chance.randrange(6 if depth else 4)
    if sort == 4:
        return [anything(chance, depth - 1) for _ in range(chance.randint(0, 3))]
    if sort == 5:
        return {chance.choice(NAMES) or "y": anything(chance, depth - 1) for _ in range(chance.randint(0, 3))}
    return chance.choice(({0: NUMBERS, 1: TEXTS, 2: (True, False)} | {3: WORDS})[sort])


def another_value(tree: dict[str, Any], chance: Random) -> None:
    *way, key = chance.choice(paths(tree))
    value_at(tree, tuple(way))[key] = anything(chance)


def another_number(tree: dict[str, Any], chance: Random) -> None:
    """A number where there is one."""
    numeric = [path for path in paths(tree) if type(value_at(tree, path)) in (int, float)]
    *way, key = chance.choice(numeric or paths(tree))
    value_at(tree, tuple(way))[key] = chance.choice(NUMBERS)


def any_key(tree: dict[str, Any], chance: Random) -> None:
    """A key that may stand in some table, with an example of its value or with anything."""
    tables = [path for path in paths(tree) if isinstance(value_at(tree, path), dict)]
    path = chance.choice(tables)
    known = keys_at(Recipe, tree, path)
    if known:
        key = chance.choice(sorted(known))
        example = known[key]
        fits = chance.random() < 0.5 and example is not None
        value_at(tree, path)[key] = copy.deepcopy(example) if fits else anything(chance)


def unknown_key(tree: dict[str, Any], chance: Random) -> None:
    tables = [(), *(path for path in paths(tree) if isinstance(value_at(tree, path), dict))]
    value_at(tree, chance.choice(tables))[chance.choice(NAMES)] = anything(chance)


def deleted_key(tree: dict[str, Any], chance: Random) -> None:
    *way, key = chance.choice(paths(tree))
    del value_at(tree, tuple(way))[key]
    if not tree:
        tree["name"] = "empty"


def other_kind(tree: dict[str, Any], chance: Random) -> None:
    """Another kind, of the same sort or of any; the keys of the old one stay."""
    named = [path for path in paths(tree) if path[-1] in ("kind", "format", "name")]
    *way, key = chance.choice(named or paths(tree))
    old = value_at(tree, (*way, key))
    same = next((list(point.kinds) for point in POINTS if isinstance(old, str) and old in point.kinds), WORDS)
    value_at(tree, tuple(way))[key] = chance.choice(same if chance.random() < 0.8 else WORDS)


def moved(tree: dict[str, Any], chance: Random) -> None:
    """One subtree also at the place of another."""
    source, *_ = value = chance.sample(paths(tree), 2) if len(paths(tree)) > 1 else (paths(tree)[0],) * 2
    *way, key = value[1]
    value_at(tree, tuple(way))[key] = copy.deepcopy(value_at(tree, source))


def renamed(tree: dict[str, Any], chance: Random) -> None:
    """A table under another name."""
    named = [path for path in paths(tree) if len(path) == 2 and path[0] in ("modality", "adapter", "task")]
    if named:
        table, name = chance.choice(named)
        tree[table][chance.choice(NAMES)] = tree[table].pop(name)


CHANGES: tuple[Callable[[dict[str, Any], Random], None], ...] = (
    *(another_value, another_number, another_number, any_key, any_key),
    *(unknown_key, deleted_key, other_kind, moved, renamed),
)


def cut(text: str, chance: Random) -> str:
    return text[: chance.randrange(len(text) + 1)]


def replaced_character(text: str, chance: Random) -> str:
    position = chance.randrange(len(text) + 1)
    return text[:position] + chance.choice("\0\x01\r\"'[]{}=.,#\\é\ufeff名\u2028 \t") + text[position + 1 :]


def doubled_line(text: str, chance: Random) -> str:
    lines = text.split("\n")
    line = chance.randrange(len(lines))
    return "\n".join([*lines[: line + 1], *lines[line:]])


def nested(text: str, chance: Random) -> str:
    depth = chance.choice((10, 100, 400, 5000))
    opening, closing = chance.choice((("[", "]"), ("{a=", "}")))
    key = chance.choice(("deep", "plugins", "train.seeds", "backbone.config"))
    inside = "1" if opening != "[" else ""
    return f"{key} = {opening * depth}{inside}{closing * depth}\n{text}"


def long_number(text: str, chance: Random) -> str:
    return f"schema = {'9' * chance.choice((20, 400, 5000))}\n{text}"


def many_dots(text: str, chance: Random) -> str:
    return f"{'.'.join('a' * chance.choice((10, 400, 3000)))} = 1\n{text}"


DAMAGES: tuple[Callable[[str, Random], str], ...] = (
    cut,
    replaced_character,
    doubled_line,
    nested,
    long_number,
    many_dots,
)
