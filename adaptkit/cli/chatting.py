"""`adaptkit chat`: a conversation with a trained model at the terminal, or through a pipe."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptkit.cli.answer import Answer, note, print_problems
from adaptkit.cli.options import RUNS, AnyPluginVersion, Json, Plugins, RunArgument, RunsFolder
from adaptkit.cli.runs import chosen_run
from adaptkit.errors import AdaptkitError, UsageError, nearest

if TYPE_CHECKING:
    from adaptkit.evaluation.conversation import Conversation

Write = Callable[[str], None]


def chat(
    run: RunArgument = None,
    system: Annotated[
        str,
        typer.Option("--system", metavar="TEXT", help="System prompt of the conversation.", show_default=False),
    ] = "",
    decode: Annotated[
        list[str] | None,
        typer.Option(
            "--decode",
            metavar="KEY=VALUE",
            help="Change one key of the recipe's decoding, such as temperature=0.7. Repeatable.",
        ),
    ] = None,
    folder: RunsFolder = RUNS,
    plugins: Plugins = None,
    any_plugin_version: AnyPluginVersion = False,
    json: Json = False,
) -> Answer:
    """Talk to a model that was trained on conversations.

    Every line is said to the model, which answers while it generates. /reset begins anew, /system TEXT with another
    system prompt; /image PATH shows a file, where the recipe has a modality that reads it; /help says what there is;
    /quit, or the end of the input, ends it. Lines may come through a pipe, where an error ends the command.
    """
    from adaptkit.evaluation.conversation import converse

    source = chosen_run(run, folder)
    talk = converse(source, system=system, decoding=_decoding(decode or ()))
    if json:
        _talk(talk, lambda piece: None)
        return Answer({"run": source, "messages": talk.messages}, lambda out: None)
    return Answer({}, lambda out: _at_terminal(talk))


def _at_terminal(talk: Conversation) -> None:
    """The conversation on standard output; whatever a library prints goes to stderr still."""
    out = sys.stdout

    def write(piece: str) -> None:
        out.write(piece)
        out.flush()

    with redirect_stdout(sys.stderr):
        _talk(talk, write)


def _talk(talk: Conversation, write: Write) -> None:
    """Every line of the input, to its end or to /quit."""
    somebody = sys.stdin.isatty()
    if somebody:
        note("/help says what there is, /quit ends the conversation")
    for line in _lines(somebody):
        try:
            if line.startswith("/"):
                if _ordered(talk, line):
                    return
            elif not talk.say(line, write).strip():
                note("the model ended its answer at once; nothing of it is kept")
        except AdaptkitError as error:
            if not somebody:
                raise
            print_problems(error.problems)
        except KeyboardInterrupt:
            if not somebody:
                raise
            note("\nstopped; nothing of it is kept")


def _lines(somebody: bool) -> Iterator[str]:
    """What is typed, or what comes through a pipe, without empty lines."""
    if not somebody:
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    with suppress(ImportError):
        import readline  # noqa: F401  # lines can be edited, and called back
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        try:
            line = input()
        except EOFError:
            print(file=sys.stderr)
            return
        if line.strip():
            yield line.strip()


def _ordered(talk: Conversation, line: str) -> bool:
    """Do what a line with a slash says; True where that is the end.

    Raises:
        UsageError: there is no such command.
        DataError: a file is not there.
    """
    word, _, rest = line[1:].partition(" ")
    rest = rest.strip()
    known = {"quit": "", "reset": "", "system": " TEXT", **dict.fromkeys(talk.shows, " PATH"), "help": ""}
    if word in ("quit", "exit"):
        return True
    if word == "help":
        note(", ".join(f"/{name}{argument}" for name, argument in known.items()))
    elif word == "reset":
        talk.begin(_system_of(talk))
        note("a new conversation")
    elif word == "system":
        talk.begin(rest)
        note("a new conversation" + (", with this system prompt" if rest else ", without a system prompt"))
    elif word in talk.shows:
        if not rest:
            raise UsageError("the path is missing.", where=f"/{word}", hint=f"Write /{word} PATH.")
        talk.show(word, rest)
        note(f"the model sees {rest} from now on")
    else:
        reads = "" if talk.shows or not rest else " This model reads no files."
        raise UsageError(f"there is no such command.{reads}", where=f"/{word}", hint=nearest(word, known))
    return False


def _system_of(talk: Conversation) -> str:
    first: dict[str, Any] = talk.messages[0] if talk.messages else {}
    return first["content"] if first.get("role") == "system" else ""


def _decoding(written: Sequence[str]) -> dict[str, Any]:
    """`["temperature=0.7"]` as a table."""
    found: dict[str, Any] = {}
    for pair in written:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{pair!r} is no KEY=VALUE.", where="--decode", hint="Write --decode temperature=0.7.")
        try:
            found[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = value
    return found
