"""`adaptkit data`: from a download to a store, and what is in either."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer, note
from adaptkit.cli.options import Force, Json, Sets
from adaptkit.cli.tables import several
from adaptkit.errors import DataError, Problem, UsageError

FormatArgument = Annotated[
    str, typer.Argument(metavar="FORMAT", help='Name of a benchmark ("adaptkit list formats").', show_default=False)
]
SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A recipe, or the name of a benchmark.", show_default=False)
]
RootArgument = Annotated[
    Path | None,
    typer.Argument(metavar="ROOT", help="Of a benchmark: the downloaded folder, or its store.", show_default=False),
]
Variant = Annotated[
    str,
    typer.Option("--variant", metavar="NAME", help="Which of its published layouts.", show_default=False),
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


def check_data(
    source: SourceArgument,
    root: RootArgument = None,
    variant: Variant = "",
    sets: Sets = None,
    json: Json = False,
) -> Answer:
    """Look for what is wrong or odd with data.

    Of a recipe: every sample is read as training would read it, and it is counted how many are longer than
    max_tokens. Of a benchmark: its store, the SHA-256 of its files, and of its sources where they are published.
    """
    from adaptkit.cli.data_view import show_findings

    found, document = _check_benchmark(source, root, variant) if root else _check_recipe(source, sets or ())
    document |= {"splits": found.splits, "warnings": found.warnings, "notes": found.notes}
    problems = tuple(found.problems)
    return Answer(document, lambda out: show_findings(out, found), problems, DataError.code if problems else 0)


def stats_data(
    source: SourceArgument,
    root: RootArgument = None,
    variant: Variant = "",
    sets: Sets = None,
    json: Json = False,
) -> Answer:
    """Describe data: lengths, labels, numbers and gaps of every split."""
    from adaptkit.cli.data_view import show_statistics

    if root is not None:
        from adaptkit.data.checking import check_store
        from adaptkit.data.store import find_store

        store = find_store(root, _benchmark_name(source), variant)
        splits = check_store(store, whole=False).splits
    else:
        from adaptkit.data.stats import described
        from adaptkit.formats.load import load_data

        recipe = _recipe(source, sets or ())
        splits = described(load_data(recipe), recipe.modality, recipe.task)
    return Answer({"source": source, "splits": splits}, lambda out: show_statistics(out, splits))


def _check_recipe(source: str, sets: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    import torch

    from adaptkit.benchmarks.benchmark import BENCHMARKS
    from adaptkit.data.checking import check_samples, damage
    from adaptkit.data.store import find_store
    from adaptkit.formats.load import load_data
    from adaptkit.plan.planning import backbone_of, output_width
    from adaptkit.plan.streams import build_encoders
    from adaptkit.recipe import located

    recipe = _recipe(source, sets)
    with located(recipe), torch.device("meta"):
        ref, model, anatomy, spec = backbone_of(recipe)
        encoders = build_encoders(recipe, ref, model, spec, output_width(model, anatomy, spec))
    data = load_data(recipe)
    found = check_samples(data, encoders, recipe.task)
    if recipe.data.format in BENCHMARKS:
        store = find_store(recipe.path(recipe.data.root).resolve(), recipe.data.format, recipe.data.variant or "")
        found.problems += damage(store)
    return found, {"source": source, "format": recipe.data.format, "data": data.description, "hash": data.hash}


def _check_benchmark(name: str, root: Path, variant: str) -> tuple[Any, dict[str, Any]]:
    from adaptkit.benchmarks.benchmark import find_benchmark
    from adaptkit.data.checking import Findings, check_sources, check_store
    from adaptkit.data.store import find_store

    source = find_benchmark(_benchmark_name(name))
    document: dict[str, Any] = {"source": name, "format": name, "root": root}
    try:
        store = find_store(root, name, variant)
    except DataError as missing:
        found = Findings(problems=[Problem(*_first(missing))], warnings=check_sources(source.known_sums, root, {}))
        try:
            document["variant"] = variant or source.find(root)
        except DataError as error:
            found.problems = list(error.problems)
        return found, document
    found = check_store(store)
    found.warnings += check_sources(source.known_sums, store.root, store.meta.get("sources", {}))
    return found, {**document, "store": store.folder, "variant": store.meta["variant"]}


def _first(error: DataError) -> tuple[str, str, str]:
    problem = error.problems[0]
    return problem.message, problem.where, problem.hint


def _recipe(source: str, sets: Sequence[str]) -> Any:
    from adaptkit.benchmarks.benchmark import BENCHMARKS
    from adaptkit.recipe import load_recipe

    if source in BENCHMARKS:
        raise UsageError(
            f"{source} is a benchmark: say where it lies.", where="ROOT", hint=f"adaptkit data check {source} ROOT"
        )
    return load_recipe(source, sets)


def _benchmark_name(name: str) -> str:
    from adaptkit.benchmarks.benchmark import find_benchmark

    return find_benchmark(name).name


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
