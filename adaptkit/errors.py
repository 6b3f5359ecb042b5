"""Every mistake a user can make, as one exception family: where, what, what instead, and an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

MANY = 100  # names that a message lists


def nearest(name: str, known: Iterable[str]) -> str:
    """`Did you mean "rank"?`, or the list of what there is when nothing comes close.

    Long names are known by how they begin: `vit_basee` is near `vit_base_patch16_224`.
    """
    names = sorted(known)
    begins = [other for other in names if len(name) >= 4 and _alike(name, other[: len(name)]) >= 0.8]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if begins and (not close or max(_alike(name, other[: len(name)]) for other in begins) > _alike(name, close[0])):
        close = sorted(begins, key=lambda other: (-_alike(name, other[: len(name)]), len(other)))
    if close:
        return f'Did you mean "{close[0]}"?'
    more = f" and {len(names) - MANY:,} more" if len(names) > MANY else ""
    return f"Known: {', '.join(names[:MANY])}{more}." if names else ""


def _alike(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name, other).ratio()


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it is, what is wrong, and what to write or do instead."""

    message: str
    where: str = ""
    hint: str = ""

    def __str__(self) -> str:
        line = f"{self.where}  {self.message}" if self.where else self.message
        return f"{line} {self.hint}" if self.hint else line


class AdaptkitError(Exception):
    """Base of everything adaptkit raises on purpose. Never raised itself.

    Args:
        message: what is wrong.
        where: the place, as `file:line`, a command-line option or a path.
        hint: what to write or do instead.
    """

    code = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(message, where, hint),)
        super().__init__(str(self.problems[0]))

    @classmethod
    def all(cls, problems: Iterable[Problem]) -> AdaptkitError:
        """One exception that carries every problem found, so that a user mends them in one go."""
        found = tuple(dict.fromkeys(problems))
        assert found, "an error needs a problem"
        error = cls(found[0].message, where=found[0].where, hint=found[0].hint)
        error.problems = found
        error.args = ("\n".join(map(str, found)),)
        return error


class UsageError(AdaptkitError):
    """The command line is wrong, or would overwrite something (exit code 2)."""

    code = 2


class RecipeError(AdaptkitError):
    """The recipe is wrong (exit code 3)."""

    code = 3


class DataError(AdaptkitError):
    """A data file is missing, unreadable or does not hold what the recipe says (exit code 4)."""

    code = 4


class RunError(AdaptkitError):
    """A run folder is missing, exists already or cannot be written; a run did what it must not (exit code 4)."""

    code = 4


class ArtifactError(AdaptkitError):
    """An artifact is corrupt, truncated or belongs to another backbone (exit code 4)."""

    code = 4


class SiteError(AdaptkitError):
    """An insertion point does not exist or a shape cannot work (exit code 5)."""

    code = 5


class OutOfMemory(AdaptkitError):
    """The machine ran out of memory (exit code 6)."""

    code = 6


class UnavailableError(AdaptkitError):
    """A model, package or device is not available here (exit code 7)."""

    code = 7


class Diverged(AdaptkitError):
    """The loss is not finite any more (exit code 8)."""

    code = 8


class Interrupted(AdaptkitError):
    """The user interrupted; the state is saved (exit code 130)."""

    code = 130
