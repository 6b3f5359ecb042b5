"""`adaptkit export`: the portable adapter of a run, as a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.options import RUNS, Force, Json, RunArgument, RunsFolder
from adaptkit.cli.runs import chosen_run
from adaptkit.errors import UsageError


def export(
    run: RunArgument = None,
    adapter_only: Annotated[
        bool,
        typer.Option("--adapter-only", help="The adapter alone: it names its backbone and does not copy it."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Folder to write. Default: NAME-adapter.", show_default=False),
    ] = None,
    folder: RunsFolder = RUNS,
    force: Force = False,
    json: Json = False,
) -> Answer:
    """Copy the adapter of a run into a folder to share."""
    if not adapter_only:
        raise UsageError(
            "say what to export.",
            where="adaptkit export",
            hint="Add --adapter-only: the grafts, encoders and heads, without the backbone.",
        )
    from adaptkit.artifact.export import export_adapter

    source = chosen_run(run, folder)
    target = export_adapter(source, output, force=force)
    files = {path.name: path.stat().st_size for path in sorted(target.iterdir())}

    def show(out: Console) -> None:
        out.print(f"exported to {target}", soft_wrap=True)
        for name, size in files.items():
            out.print(f"  {name:<20} {size:>12,} bytes")
        out.print(f"next: adaptkit predict {target} --input FILE.jsonl --output FILE.jsonl", soft_wrap=True)

    return Answer({"artifact": target, "source": source, "files": files}, show)
