"""`adaptkit data check` and `stats`: what is in data, and what is wrong or odd with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.options import Json, Plugins, Sets, Variant
from adaptkit.cli.tables import several, table
from adaptkit.errors import DataError, Problem, UsageError

SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A recipe, or the name of a benchmark.", show_default=False)
]
RootArgument = Annotated[
    Path | None,
    typer.Argument(metavar="ROOT", help="Of a benchmark: the downloaded folder, or its store.", show_default=False),
]
Splits = Mapping[str, Mapping[str, Any]]
MANY = 25  # labels that a table may have


def check_data(
    source: SourceArgument,
    root: RootArgument = None,
    variant: Variant = "",
    sets: Sets = None,
    plugins: Plugins = None,
    json: Json = False,
) -> Answer:
    """Look for what is wrong or odd with data.

    Of a recipe: every sample is read as training would read it, and it is counted how many are longer than
    max_tokens. Of a benchmark: its store, the SHA-256 of its files, and of its sources where they are published.
    """
    found, document = _check_benchmark(source, root, variant) if root else _check_recipe(source, sets or ())
    document |= {"splits": found.splits, "warnings": found.warnings, "notes": found.notes}
    problems = tuple(found.problems)
    return Answer(document, lambda out: show_findings(out, found), problems, DataError.code if problems else 0)


def stats_data(
    source: SourceArgument,
    root: RootArgument = None,
    variant: Variant = "",
    sets: Sets = None,
    plugins: Plugins = None,
    json: Json = False,
) -> Answer:
    """Describe data: lengths, labels, numbers and gaps of every split."""
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
    from adaptkit.data.target_faults import target_faults
    from adaptkit.formats.load import load_data
    from adaptkit.plan.planning import backbone_of, output_width, tasks_of
    from adaptkit.plan.streams import build_encoders
    from adaptkit.recipe import located

    recipe = _recipe(source, sets)
    with located(recipe), torch.device("meta"):
        ref, model, anatomy, spec = backbone_of(recipe)
        encoders = build_encoders(recipe, ref, model, spec, output_width(model, anatomy, spec))
    data = load_data(recipe)
    found = check_samples(data, encoders, recipe.task)
    with located(recipe):
        try:
            found.problems += target_faults(data, tasks_of(recipe, {}, None, data))
        except DataError as error:  # no labels at all
            found.problems += error.problems
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
    if store.reaches_files:
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


def show_findings(out: Console, found: Any) -> None:
    """Counts, the balance of labels, warnings; the problems follow on stderr."""
    _columns(out, found.splits)
    _labels(out, found.splits)
    for note in found.notes:
        out.print(f"note: the import: {note}", soft_wrap=True)
    for warning in found.warnings:
        out.print(f"warning: {warning}", soft_wrap=True)
    if found.splits and not found.problems:
        samples = sum(split["samples"] for split in found.splits.values())
        out.print(f"ok: {several(samples, 'sample')}, {several(len(found.warnings), 'warning')}", soft_wrap=True)


def show_statistics(out: Console, splits: Splits) -> None:
    """Counts, the balance of labels, and the distribution of every length and number."""
    _columns(out, splits)
    _labels(out, splits)
    rows = [
        {"split": split, "column": name, "of": what, **{key: _short(value) for key, value in numbers.items()}}
        for split, report in splits.items()
        for name, column in report["columns"].items()
        for what, numbers in column.items()
        if isinstance(numbers, Mapping) and {"median", "max"} <= numbers.keys()
    ]
    if rows:
        out.print(table(rows, numbers=tuple(rows[0])[3:]))


def _columns(out: Console, splits: Splits) -> None:
    rows = [
        {
            "split": split,
            "column": name,
            "kind": column["kind"],
            "present": f"{column['present']:,}",
            "missing": f"{column['missing']:,}",
            "facts": "; ".join(_facts(column)),
        }
        for split, report in splits.items()
        for name, column in report["columns"].items()
    ]
    if rows:
        out.print(table(rows, numbers=("present", "missing")))


def _facts(column: Mapping[str, Any]) -> Iterator[str]:
    for key in ("length", "words", "per_sample"):
        if numbers := column.get(key):
            unit = {"length": "long", "words": "words", "per_sample": "per sample"}[key]
            least, most = _short(numbers["min"]), _short(numbers["max"])
            if most != "1":
                yield f"{least} to {most} {unit}" if least != most else f"{least} {unit}"
    if widths := column.get("widths"):
        yield f"width {', '.join(map(str, widths))}"
    if values := column.get("values"):
        yield f"{_short(values['min'])} to {_short(values['max'])}, mean {_short(values['mean'])}"
    if labels := column.get("labels"):
        yield several(len(labels), "label")
    yield from (f"{count:,} {what}" for what, count in column.get("figures", {}).items() if count)
    if column.get("cut"):
        yield f"{column['cut']:,} cut at {column['limit']:,}"


def _labels(out: Console, splits: Splits) -> None:
    """One table per column of labels: how often each occurs in each split."""
    names = dict.fromkeys(name for report in splits.values() for name in report["columns"])
    for name in names:
        counts = {
            split: report["columns"][name]["labels"]
            for split, report in splits.items()
            if "labels" in report["columns"].get(name, {})
        }
        labels = sorted({label for found in counts.values() for label in found})
        if labels and len(labels) <= MANY:
            rows = [
                {name: label, **{split: f"{found.get(label, 0):,}" for split, found in counts.items()}}
                for label in labels
            ]
            out.print(table(rows, numbers=tuple(counts)))


def _short(number: float) -> str:
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.4g}"
