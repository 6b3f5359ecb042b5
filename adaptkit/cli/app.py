"""The commands in the order of work, each with one worked example."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple

import typer

from adaptkit.cli.caching import list_cache, prune_cache, verify_cache
from adaptkit.cli.chatting import chat
from adaptkit.cli.comparing import compare
from adaptkit.cli.converting import convert
from adaptkit.cli.data_check import check_data, stats_data
from adaptkit.cli.data_import import import_data, synth_data
from adaptkit.cli.environment import doctor, show_version
from adaptkit.cli.evaluating import evaluate, predict
from adaptkit.cli.exporting import export, merge, unmerge
from adaptkit.cli.failures import UsageProblem
from adaptkit.cli.help import HelpfulCommand, HelpfulGroup
from adaptkit.cli.inspecting import inspect
from adaptkit.cli.listing import list_things
from adaptkit.cli.options import Json, load_plugins
from adaptkit.cli.planning import plan
from adaptkit.cli.runs import runs
from adaptkit.cli.starting import init, schema
from adaptkit.cli.training import train
from adaptkit.cli.validation import validate
from adaptkit.errors import UsageError

START, PROVE, RUN, ENVIRONMENT = "Start", "Prove", "Run", "Environment"


class Entry(NamedTuple):
    name: str
    function: Callable[..., Any]
    panel: str
    example: str


COMMANDS = (
    Entry("init", init, START, "adaptkit init my_recipe --from quickstart"),
    Entry("list", list_things, START, "adaptkit list models --filter bert"),
    Entry("inspect", inspect, START, "adaptkit inspect bert-base"),
    Entry("data import", import_data, START, "adaptkit data import moviescope ../data/moviescope"),
    Entry("data check", check_data, START, "adaptkit data check my_recipe.toml"),
    Entry("data stats", stats_data, START, "adaptkit data stats moviescope ../data/moviescope"),
    Entry("data synth", synth_data, START, "adaptkit data synth moviescope ../data/moviescope --samples 100"),
    Entry("validate", validate, PROVE, "adaptkit validate my_recipe.toml"),
    Entry("plan", plan, PROVE, "adaptkit plan quickstart --set adapter.fuse.bottleneck=16"),
    Entry("train", train, RUN, "adaptkit train quickstart --set train.epochs=2"),
    Entry("evaluate", evaluate, RUN, "adaptkit evaluate --split test --drop image"),
    Entry("predict", predict, RUN, "adaptkit predict --input questions.jsonl --output answers.jsonl"),
    Entry("chat", chat, RUN, "adaptkit chat runs/support/RUN --system 'Answer in one sentence.'"),
    Entry("export", export, RUN, "adaptkit export --adapter-only --output my_adapter"),
    Entry("merge", merge, RUN, "adaptkit merge runs/quickstart_lora/RUN --output merged"),
    Entry("unmerge", unmerge, RUN, "adaptkit unmerge merged --output as_published"),
    Entry("convert", convert, RUN, "adaptkit convert peft_adapter --to films --backbone bert-base"),
    Entry("runs", runs, RUN, "adaptkit runs --runs runs"),
    Entry("compare", compare, RUN, "adaptkit compare runs/quickstart runs/quickstart_lora --plot scores.svg"),
    Entry("schema", schema, ENVIRONMENT, "adaptkit schema > recipe.schema.json"),
    Entry("doctor", doctor, ENVIRONMENT, "adaptkit doctor"),
    Entry("version", show_version, ENVIRONMENT, "adaptkit version --json"),
    Entry("cache list", list_cache, ENVIRONMENT, "adaptkit cache list"),
    Entry("cache prune", prune_cache, ENVIRONMENT, "adaptkit cache prune --keep-gb 10"),
    Entry("cache verify", verify_cache, ENVIRONMENT, "adaptkit cache verify"),
)

GROUPS = {
    "data": "Convert, check, describe and imitate data.",
    "cache": "Show, check and remove what is kept of frozen models.",
}

EXAMPLES = """\
Examples:
  adaptkit plan quickstart         what would be grafted where
  adaptkit train quickstart        train it; says where the artifact lies
  adaptkit evaluate --drop image   what the newest run knows without its image"""


class Command(HelpfulCommand):
    """A command whose stdout belongs to its answer: whatever a library prints goes to stderr."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except UsageProblem as error:
            error.ctx = getattr(error, "ctx", None) or ctx  # type: ignore[attr-defined]  # the parser forgets it
            raise

    def invoke(self, ctx: typer.Context) -> Any:
        with contextlib.redirect_stdout(sys.stderr):
            if "plugins" in ctx.params:  # the command names kinds
                load_plugins(ctx.params["plugins"] or (), any_version=ctx.params.get("any_plugin_version", False))
            return super().invoke(ctx)


def _start(
    context: typer.Context,
    json: Json = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> Any:
    """Model surgery for frozen backbones: a recipe says what to graft where."""
    if context.invoked_subcommand is not None:
        return None
    if version:
        return show_version()
    if json:
        raise UsageError("no command given.", where="adaptkit", hint='Try "adaptkit --help".')
    typer.echo(context.get_help())
    return None


@functools.cache
def command() -> Any:
    """The parser of all commands."""
    app = typer.Typer(
        cls=HelpfulGroup,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback(invoke_without_command=True, epilog=EXAMPLES)(_start)
    groups = {"": app}
    for entry in COMMANDS:
        group, _, name = entry.name.rpartition(" ")
        if group not in groups:
            groups[group] = typer.Typer(cls=HelpfulGroup, help=GROUPS[group], rich_markup_mode=None)
            app.add_typer(groups[group], name=group, rich_help_panel=entry.panel)
        # A panel orders the top level; the commands of a group are few.
        panel = None if group else entry.panel
        epilog = f"Example:\n  {entry.example}"
        groups[group].command(name, cls=Command, rich_help_panel=panel, epilog=epilog)(entry.function)
    return typer.main.get_command(app)


@contextlib.contextmanager
def context_of(name: str) -> Iterator[Any]:
    """The parser's context of one command, such as `plan` or `data import`, for its help."""
    with contextlib.ExitStack() as stack:
        found, context = command(), stack.enter_context(command().make_context("adaptkit", []))
        for word in name.split():
            found = found.commands[word]
            context = stack.enter_context(found.make_context(word, [], parent=context, resilient_parsing=True))
        yield context
