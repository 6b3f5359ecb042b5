"""From any exception to an exit code and problems a reader can act on. No traceback reaches a user."""

from __future__ import annotations

import errno
import os
import re
import traceback
from typing import Any

import typer

from adaptkit.cli.answer import console
from adaptkit.errors import AdaptkitError, Problem, nearest

# typer keeps its parser's exceptions to itself; these two bases are the same in every release.
UsageProblem: type[Exception] = typer.BadParameter.__mro__[1]
ParserProblem: type[Exception] = typer.BadParameter.__mro__[2]

BUG, USAGE, FILES, MEMORY, ENVIRONMENT, INTERRUPTED = 1, 2, 4, 6, 7, 130
DEBUG = "ADAPTKIT_DEBUG"

# What the file system may refuse through no fault of ours.
FILE_TROUBLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EIO,
}


def explain(error: BaseException) -> tuple[int, tuple[Problem, ...]]:
    """Exit code and problems of whatever a command raised."""
    if isinstance(error, AdaptkitError):
        return error.code, error.problems
    if isinstance(error, ParserProblem):
        return USAGE, (_usage(error),)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return INTERRUPTED, (Problem("interrupted."),)
    if _is_out_of_memory(error):
        hint = (
            "Lower train.batch_size (train.accumulation makes up for it), max_tokens or the size of images, or set "
            "train.gradient_checkpointing = true. adaptkit plan says what a step takes."
        )
        return MEMORY, (Problem("out of memory.", hint=hint),)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "adaptkit").startswith("adaptkit"):
        hint = f"Install it, for example: pip install {(error.name or '').partition('.')[0]}"
        return ENVIRONMENT, (Problem(f"the package {error.name!r} is not installed.", hint=hint),)
    if isinstance(error, OSError) and error.errno in FILE_TROUBLE and error.filename is not None:
        reason = (error.strerror or "not possible").lower()
        return FILES, (Problem(f"{reason}.", where=str(error.filename)),)
    return BUG, (_bug(error),)


def print_traceback(error: BaseException) -> None:
    """The traceback on stderr, for whoever set ADAPTKIT_DEBUG=1 to mend adaptkit."""
    if os.environ.get(DEBUG, "") not in ("", "0"):
        text = "".join(traceback.format_exception(error))
        console(stderr=True).print(text, soft_wrap=True)


def _bug(error: BaseException) -> Problem:
    detail = " ".join(str(error).split())
    return Problem(
        f"this is a bug in adaptkit: {type(error).__name__}: {detail}".rstrip(": "),
        hint=f"Please report it; {DEBUG}=1 shows where it happened.",
    )


def _is_out_of_memory(error: BaseException) -> bool:
    # By name, so that no command imports torch only to ask.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _usage(error: Any) -> Problem:
    """A mistake in the command line, with the nearest option or command."""
    context = getattr(error, "ctx", None)
    where = context.command_path if context else "adaptkit"
    message, close = error.format_message(), ""
    if type(error).__name__ == "NoSuchOption":
        known = [name for param in context.command.params for name in param.opts] if context else []
        message, close = f"no such option: {error.option_name}.", nearest(error.option_name, known)
    elif found := re.match(r"No such command '(.+?)'", message):
        known = context.command.commands if context else []
        message, close = f"no such command: {found[1]}.", nearest(found[1], known)
    elif found := re.match(r"Invalid value for (.+?): Input should be a valid (integer|number)", message):
        message = f"{found[1]} should be a {'whole ' if found[2] == 'integer' else ''}number."
    elif found := re.match(r"Invalid value for (.+?): Input should be (greater|less) than or equal to (\S+)", message):
        message = f"{found[1]} should be at {'least' if found[2] == 'greater' else 'most'} {found[3]}."
    hint = f'{close} Try "{where} --help".'.strip()
    return Problem(message[:1].lower() + message[1:], where=where, hint=hint)
