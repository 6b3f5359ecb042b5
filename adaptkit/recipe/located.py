"""Errors that name a key of the recipe learn the line it stands on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from adaptkit.errors import AdaptkitError, Problem
from adaptkit.recipe.schema import Recipe


@contextmanager
def located(recipe: Recipe, *, table: str = "") -> Iterator[None]:
    """Inside, an error whose `where` is a dotted key is raised again with `file:line  key: ...`.

    Encoders, tasks and heads know their key ("modality.poster.size"), but not which file it was written in.

    Args:
        recipe: whose keys they are.
        table: only keys of this one; a file may be called train.jsonl, too.
    """
    try:
        yield
    except AdaptkitError as error:
        found = tuple(
            at_line(problem, recipe) if problem.where.startswith(table) else problem for problem in error.problems
        )
        if found == error.problems:
            raise
        raise type(error).all(found) from error


def at_line(problem: Problem, recipe: Recipe) -> Problem:
    table = problem.where.partition(".")[0]
    if table not in type(recipe).model_fields or " " in problem.where:
        return problem
    message = problem.message if problem.where in problem.message else f"{problem.where}: {problem.message}"
    return replace(problem, where=recipe.where(problem.where), message=message)
