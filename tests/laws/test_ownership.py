"""A kind owns everything about itself: its word stands as a string in its own package, else only with a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptkit.kinds import BUILT_IN, POINTS

ROOT = Path(__file__).parents[2] / "adaptkit"

# (package, words) -> why they stand there. They are words of another vocabulary, examples, or defaults.
INPUTS = {"text", "image", "audio"}
EXCEPTIONS = {
    ("anatomy", frozenset({*INPUTS, "features", "log_mel"})): "forms of input of the libraries' models",
    ("plan", frozenset(INPUTS)): "forms of input of the libraries' models",
    ("plan", frozenset({"prompt"})): "what the backbone reads of a text",
    ("model", frozenset({"text"})): "a form of input of the libraries' models",
    ("anatomy", frozenset({"mlp", "table", "tensor"})): "a branch of a block; where sites come from; a type",
    ("adapters", frozenset({"mlp", "residual"})): "a branch of a block; a form of Wander's product",
    ("benchmarks", frozenset({*INPUTS, "video", "features", "jsonl"})): "columns and files of published data sets",
    ("benchmarks", frozenset({"captions", "options"})): "columns of published data sets",
    ("benchmarks", frozenset({"regression", "multilabel"})): "the tasks whose metrics a convention adds to",
    ("data", frozenset({"text", "features", "rows"})): "kinds of columns of stores, names of summaries, a folder",
    ("data", frozenset({"prompt", "image", "video", "audio"})): "keys of conversations, and parts of their messages",
    ("formats", frozenset({"text", "image", "features"})): "forms of cells, and a column of the digit questions",
    ("formats", frozenset({"balanced"})): "how much of each source",
    ("tasks", frozenset({"balanced"})): "a rule for the weights of labels",
    ("tasks", frozenset({"text", "prompt", "prefix"})): "what is generated, what is read before, and a key",
    ("training", frozenset({"tensor"})): "a type",
    ("kinds", frozenset({"text", "table"})): "types in words, and an attribute",
    ("recipe", frozenset({"text", "table", "prefix"})): "forms of cells, types in words, and a key",
    ("recipe", frozenset({"concat", "linear", "constant", "shuffle"})): "what a recipe means that does not say",
    ("recipe", frozenset({"text", "rows", "gmu", "jsonl", "classification", "mse"})): "examples in the reference",
    ("artifact", frozenset({"jsonl"})): "the format of a recipe that nobody wrote",
    ("artifact", frozenset({"linear"})): "a way to combine artifacts",
    ("cli", frozenset({"chat"})): "a command",
    ("evaluation", frozenset({"chat", "text"})): "a command, where errors come from; what is generated",
    ("artifact", frozenset({"lora", "mlp"})): "AdapterHub's word for an architecture; a branch of a block",
    ("cli", frozenset({"table", "parquet"})): "where sites come from; a package that `doctor` looks for",
}


def homes() -> dict[str, set[str]]:
    """Word -> the packages that have a kind of this name."""
    found: dict[str, set[str]] = {}
    for point in POINTS:
        for name, kind in point.kinds.items():
            if kind.origin == BUILT_IN:
                found.setdefault(name, set()).add(kind.home.partition(":")[0].split(".")[1])
    return found


def words(file: Path) -> Iterator[str]:
    """Every string of a file that is no docstring."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    docstrings = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.fixture(scope="module")
def strangers() -> set[tuple[str, str]]:
    """(package, word of a kind that is at home elsewhere)."""
    known = homes()
    files = {file: file.relative_to(ROOT).parts[0].removesuffix(".py") for file in ROOT.rglob("*.py")}
    return {
        (package, word)
        for file, package in files.items()
        for word in words(file)
        if word in known and package not in known[word]
    }


def test_no_package_names_a_kind_of_another(strangers: set[tuple[str, str]]) -> None:
    allowed = {(package, word) for package, group in EXCEPTIONS for word in group}
    assert strangers <= allowed, "give the kind a fact, and ask for that"


def test_every_exception_is_needed(strangers: set[tuple[str, str]]) -> None:
    assert {(package, word) for package, group in EXCEPTIONS for word in group} <= strangers
