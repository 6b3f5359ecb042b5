"""Options and arguments that several commands share, declared once so that they read the same everywhere; --plugin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from adaptkit.cli.answer import note
from adaptkit.cli.terminal import recipes

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe. Repeatable."),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin", metavar="FILE_OR_MODULE", help="Your own kinds: a .py file, or a module. It runs. Repeatable."
    ),
]
AnyPluginVersion = Annotated[
    bool,
    typer.Option("--any-plugin-version", help="Use these plugins, though it was trained with another version of them."),
]
RunsFolder = Annotated[
    Path, typer.Option("--runs", metavar="DIR", help="Folder that holds the runs.", show_default=True)
]
Variant = Annotated[
    str,
    typer.Option("--variant", metavar="NAME", help="Which of its published layouts.", show_default=False),
]
RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="Recipe file, or the name of a bundled one.",
        show_default=False,
        autocompletion=recipes,
    ),
]
RunArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN",
        help="Run folder or artifact folder. Default: the newest finished run.",
        show_default=False,
    ),
]

RUNS = Path("runs")


def load_plugins(names: Sequence[str], *, any_version: bool = False) -> None:
    """Import the plugins of installed distributions, then those of --plugin: what they bring can be named from now on.

    Raises:
        RecipeError: one is not there, fails, brings nothing, or takes a name that is taken.
    """
    from adaptkit.kinds import load_plugin
    from adaptkit.kinds.plugins import load_installed

    load_installed()
    for name in names:
        load_plugin(name, base=Path(), where="--plugin", any_version=any_version)


def plugins_used() -> list[dict[str, str]]:
    """The plugins that ran, for JSON; a reader is told on stderr."""
    from adaptkit.kinds import loaded_plugins

    used = loaded_plugins()
    if used:
        note(f"plugins: {', '.join(map(str, used))} (your own code, not adaptkit's)")
    return [plugin.as_dict() for plugin in used]
