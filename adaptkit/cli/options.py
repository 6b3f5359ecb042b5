"""Options and arguments that several commands share, declared once so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe. Repeatable."),
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
    typer.Argument(metavar="RECIPE", help="Recipe file, or the name of a bundled one.", show_default=False),
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
