"""`convert`: adapters that other libraries trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.options import Force, Json


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Folder with adapter_config.json, as PEFT or AdapterHub write it.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="The artifact to write.", show_default=False)],
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone", metavar="MODEL", help="Its backbone. Default: what it names itself.", show_default=False
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> Answer:
    """Read an adapter of PEFT or AdapterHub as an artifact, to start from, to merge or to export."""
    from adaptkit.artifact.converting import convert as read

    found = read(source, to, backbone=backbone, force=force)

    def show(out: Console) -> None:
        out.print(f"converted to {to}", soft_wrap=True)
        for name, (kind, count) in found.adapters.items():
            out.print(f"  {name}: {kind}, {count} grafts")
        if found.left:
            out.print(f"left out, since no task has them: {', '.join(found.left)}", soft_wrap=True)
        out.print(f'next: init_from = "{to}" in a recipe, or adaptkit merge {to} --output DIR', soft_wrap=True)

    adapters = {name: {"kind": kind, "grafts": count} for name, (kind, count) in found.adapters.items()}
    return Answer({"artifact": to, "source": source, "adapters": adapters, "left": list(found.left)}, show)
