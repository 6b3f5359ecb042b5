"""`adaptkit data import` and `synth`: from a download to a store, and an invented download."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer, note
from adaptkit.cli.options import Force, Json, Plugins, Variant
from adaptkit.cli.tables import several
from adaptkit.errors import UsageError

FormatArgument = Annotated[
    str, typer.Argument(metavar="FORMAT", help='Name of a benchmark ("adaptkit list formats").', show_default=False)
]


def import_data(
    format: FormatArgument,
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The downloaded folder.", show_default=False)],
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="Folder of the store. Default: ROOT/adaptkit.", show_default=False),
    ] = None,
    variant: Variant = "",
    options: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="An option of the format. Repeatable.", show_default=False),
    ] = None,
    force: Force = False,
    plugins: Plugins = None,
    json: Json = False,
) -> Answer:
    """Convert a benchmark as it was downloaded to Parquet and safetensors.

    This alone reads pickles, and admits nothing but arrays, text and numbers in them. A recipe then names ROOT.
    With --variant the store is ROOT/adaptkit-NAME.
    """
    from adaptkit.benchmarks.benchmark import find_benchmark, import_benchmark

    given = _options(options or (), find_benchmark(format).options(), format)
    note(f"importing {format} from {root}")
    store = import_benchmark(format, root, to=to, variant=variant, force=force, options=given)
    meta = store.meta

    def show(out: Console) -> None:
        counts = ", ".join(f"{split} {count:,}" for split, count in meta["splits"].items())
        out.print(f"{format} {meta['variant']} in {store.folder}: {counts}".replace("  ", " "), soft_wrap=True)
        for name, column in meta["columns"].items():
            width = f" of width {column['width']}" if column["width"] else ""
            out.print(f"  {name}: {column['kind']}{width}", soft_wrap=True)
        for text, count in meta["audit"].items():
            out.print(f"note: {text}: {count:,}", soft_wrap=True)

    shown = ("format", "variant", "splits", "columns", "classes", "sources", "audit")
    return Answer({"store": store.folder, **{key: meta[key] for key in shown}}, show)


def synth_data(
    format: FormatArgument,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where it is written.", show_default=False)],
    variant: Variant = "",
    samples: Annotated[int, typer.Option("--samples", metavar="N", min=4, help="Training samples.")] = 240,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of everything drawn.")] = 0,
    force: Force = False,
    plugins: Plugins = None,
    json: Json = False,
) -> Answer:
    """Write a small invented example of a benchmark, laid out as its download.

    It holds a signal that no modality has alone, so that an import and a recipe can be tried without the data.
    """
    from adaptkit.benchmarks.benchmark import synthesise

    synthesise(format, folder, variant=variant, samples=samples, seed=seed, force=force)
    files = sum(path.is_file() for path in folder.rglob("*"))

    def show(out: Console) -> None:
        out.print(f"wrote {several(files, 'file')} to {folder}", soft_wrap=True)
        out.print(f"next: adaptkit data import {format} {folder}", soft_wrap=True)

    return Answer({"format": format, "folder": folder, "files": files, "samples": samples, "seed": seed}, show)


def _options(words: Sequence[str], known: Mapping[str, inspect.Parameter], format: str) -> dict[str, Any]:
    """`mean=true` -> {"mean": True}, of the type of its default."""
    given = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} is not KEY=VALUE.", where="--option")
        default = known[key].default if key in known else text
        if isinstance(default, bool):
            value: Any = {"true": True, "false": False}.get(text.lower(), text)
        else:
            value = int(text) if isinstance(default, int) and text.lstrip("-").isdigit() else text
        if default is not None and type(value) is not type(default):
            raise UsageError(f"{key} = {text!r}: a {type(default).__name__} is expected.", where="--option")
        given[key] = value
    return given
