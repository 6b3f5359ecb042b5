"""What a command hands back, and the two ways to print it: for a reader, or as one JSON object."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from adaptkit.errors import Problem

# Off a terminal nothing says how wide the reader's window is; COLUMNS does where it is set. What goes into a pipe or a
# file is for programs: no line is broken there, and tables are rows with tabs between the cells.
WIDTH_OFF_TERMINAL = 120
WIDTH_IN_PIPE = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The result of one command.

    Attributes:
        data: keys of the JSON object, besides "ok", "code" and "errors".
        show: prints the same for a reader.
        problems: what is wrong, where the answer itself is bad news (`doctor`); empty otherwise.
        code: exit code; 0 exactly when there are no problems.
    """

    data: Mapping[str, Any]
    show: Callable[[Console], None]
    problems: tuple[Problem, ...] = ()
    code: int = 0

    def as_json(self) -> dict[str, Any]:
        if self.problems:
            return {**failure_json(self.code, self.problems), **self.data}
        return {"ok": True, **self.data}


def failure_json(code: int, problems: tuple[Problem, ...]) -> dict[str, Any]:
    """The JSON object of a command that failed."""
    errors = [{"where": p.where, "message": p.message, "hint": p.hint} for p in problems]
    return {"ok": False, "code": code, "errors": errors}


class _Console(Console):
    piped = False

    def on_broken_pipe(self) -> None:
        """Rich would end the process with code 1; `main` knows that a closed pipe is no error."""
        raise


def console(*, stderr: bool = False) -> Console:
    """A console that never cuts, colours only a terminal and respects NO_COLOR and COLUMNS."""
    stream = sys.stderr if stderr else sys.stdout
    known = stream.isatty() or os.environ.get("COLUMNS", "").isdigit()
    made = _Console(
        stderr=stderr,
        width=None if known else WIDTH_OFF_TERMINAL if stderr else WIDTH_IN_PIPE,
        highlight=False,
        markup=False,
        emoji=False,
    )
    made.piped = not (known or stderr)
    return made


def note(text: str) -> None:
    """One line for the reader on stderr: which run was taken, where the work stands."""
    console(stderr=True).print(text, soft_wrap=True, style="dim")


def print_problems(problems: tuple[Problem, ...]) -> None:
    """Each problem on stderr: where, what, and what to write instead. Long lines are left whole."""
    out = console(stderr=True)
    for problem in problems:
        where = f"{problem.where}  " if problem.where else ""
        out.print(f"error: {where}{problem.message}", style="red", soft_wrap=True)
        if problem.hint:
            out.print(f"       {problem.hint}", soft_wrap=True)


def to_json(value: Any) -> str:
    """One line of strict JSON: paths as text, numbers that are not finite as null."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if callable(item := getattr(value, "item", None)):  # numpy and torch scalars
        return _plain(item())
    raise TypeError(f"{type(value).__name__} has no place in an answer")
