"""Entry point: run one command, print its answer, turn whatever it raised into one clear error."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence

import typer

from adaptkit.cli.answer import Answer, console, failure_json, print_problems, to_json
from adaptkit.cli.app import command
from adaptkit.cli.failures import explain, print_traceback
from adaptkit.cli.terminal import completing, sign_of_life


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code.

    Args:
        argv: the words after `adaptkit`; those of the process where None.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    options = args[: args.index("--")] if "--" in args else args
    as_json = "--json" in options
    if completing():
        command().main(args, prog_name="adaptkit")  # answers the shell, and ends the process
    words = " ".join(word for word in args[:2] if not word.startswith("-"))
    try:
        with sign_of_life(f"adaptkit {words} ..."):
            return _answer(args, as_json)
    except BrokenPipeError:
        _silence(sys.stdout)  # the reader closed the pipe (`| head`): nothing is wrong
        return 0
    except BaseException as error:  # the last line of defence: no traceback reaches a user
        code, problems = explain(error)
        print_traceback(error)
        if as_json:
            _write_json(failure_json(code, problems))
        else:
            print_problems(problems)
        return code


def _answer(args: list[str], as_json: bool) -> int:
    """Runs the command and prints what it hands back; help texts have printed themselves."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed) if as_json else contextlib.nullcontext():
        answer = _run(args)
    if not isinstance(answer, Answer):
        if as_json:
            _write_json({"ok": True, "help": printed.getvalue()})
        return answer
    if as_json:
        _write_json(answer.as_json())
    else:
        answer.show(console())
        print_problems(answer.problems)
    sys.stdout.flush()
    return answer.code


def _run(args: list[str]) -> Answer | int:
    # Not `.main()`: it turns Ctrl-C and closed pipes into codes of its own, differently in each release.
    try:
        with command().make_context("adaptkit", args) as context:
            answer = command().invoke(context)
    except typer.Exit as end:  # --help
        return int(end.exit_code)
    return answer if isinstance(answer, Answer) else 0


def _write_json(document: dict) -> None:
    try:
        sys.stdout.write(to_json(document) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)


def _silence(stream) -> None:
    # Else the interpreter flushes the closed pipe once more on its way out, and says so.
    with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
