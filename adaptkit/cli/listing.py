"""`adaptkit list`: what there is, read from tables, indexes and plugins without importing torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from adaptkit.cli.answer import Answer
from adaptkit.cli.options import Json, Plugins
from adaptkit.cli.tables import aligned, records, table
from adaptkit.errors import UsageError, nearest

if TYPE_CHECKING:
    from adaptkit.kinds import Kind, Kinds

Rows = list[dict[str, str]]

# The facts of a kind under the words that a reader knows; any other fact under its own name.
WORDS = {"formula": "parameters"}
# The kind of site -> the words of a recipe for it.
PLACES = {
    "stream": 'a stream: at = ["mlp.out"], "attn.in", "block.out", ...',
    "other adapters": 'adapters of one stream, combined: sides = ["adapter:NAME", ...]',
    "projection": 'a projection, in weight space: at = ["attn.q"], "mlp.up", "conv.1", ...',
    "input sequence": 'the input sequence of a stack: at = ["embed.in"]',
    "attention": 'the keys and values of an attention: at = ["attn.kv"]',
    "all blocks": 'what every block returned: at = ["final.out"]',
}
LONG = {"identity": "identity at first"}
NOTES = (
    'No adapter at all: [backbone] train = ["bias"] (BitFit), ["norm"] (norm tuning), or globs of parameter names.',
    "D width of the stream, C of what a projection reads, E_m of side m, M sides, P bottleneck, R rank; the other "
    "letters are on the adapter's page, docs/adapters/NAME.md.",
)


def list_things(
    sort: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="models, sites, recipes, plugins, or what a recipe can name: adapters, modalities, encoders, "
            "projections, fusions, formats, benchmarks, tasks, heads, losses, metrics, optimizers, schedules or "
            "samplers.",
            show_default=False,
        ),
    ],
    contains: Annotated[
        str,
        typer.Option("--filter", metavar="TEXT", help="Only rows that contain this text.", show_default=False),
    ] = "",
    long: Annotated[bool, typer.Option("--long", help="Adapters: what each does, and its keys.")] = False,
    plugins: Plugins = None,
    json: Json = False,
) -> Answer:
    """List what there is: models, adapters, sites, recipes, ..."""
    lists = {**{plural(point.point): point for point in _points()}, **LISTS}
    if sort not in lists:
        raise UsageError(f"there is no list of {sort!r}.", where="KIND", hint=nearest(sort, lists))
    if long and sort != "adapters":
        raise UsageError(f"the list of {sort} has no long form.", where="--long", hint="Leave --long out.")
    every = _rows(lists[sort])
    rows = [row for row in every if contains.lower() in " ".join(row.values()).lower()]

    def show(out: Console) -> None:
        if not every:
            out.print(f"there are no {sort}")
        elif not rows:
            out.print(f"nothing in {sort} contains {contains!r}.{_nearest(contains, every)}", soft_wrap=True)
        elif sort == "adapters":
            show_adapters(out, rows, long=long)
        elif sort == "models":  # names that must stay whole, and more rows than a drawn table is good for
            out.print("\n".join(aligned(rows)), soft_wrap=True, markup=False, highlight=False)
        else:
            out.print(table(rows) if sort in LISTS else records(rows))

    return Answer({"kind": sort, "items": rows, "notes": NOTES if sort == "adapters" else ()}, show)


def plural(noun: str) -> str:
    """`adapters`, `modalities`, `losses`."""
    if noun.endswith("y"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def _points() -> Sequence[Kinds[Any]]:
    from adaptkit.kinds import POINTS

    return POINTS


def _rows(listed: Callable[[], Rows] | Kinds[Any]) -> Rows:
    if callable(listed):
        return listed()
    rows = [_kind_row(kind, keyed=listed.keyed) for kind in listed.kinds.values()]
    return sorted(rows, key=lambda row: [*PLACES].index(row["works_at"])) if listed.point == "adapter" else rows


def _kind_row(kind: Kind, *, keyed: bool) -> dict[str, str]:
    """Its name in a recipe, what it is, its facts, its own keys, and whose it is where it is not ours."""
    facts = _adapter_facts(kind) if "works_on" in kind.facts else _facts(kind)
    row = {"name": kind.name, "what": kind.summary, **dict(facts)}
    if keyed:
        row["keys"] = ", ".join(_keys(kind)) or "none"
    return row if kind.origin == "adaptkit" else {**row, "origin": kind.origin}


def _facts(kind: Kind) -> Iterator[tuple[str, str]]:
    """What a reader can use of the facts: numbers, words and answers, no tables and nothing about classes."""
    for name, value in kind.facts.items():
        if isinstance(value, bool):
            yield name, "yes" if value else "no"
        elif isinstance(value, int | float | str) and value not in ("", kind.name):
            yield WORDS.get(name, name), str(value)


def _keys(kind: Kind) -> list[str]:
    """Its own keys; those that all its siblings have are in docs/recipe.md."""
    if not kind.table:
        return [*kind.keys]
    from adaptkit.kinds.kind import found_at
    from adaptkit.recipe.table import Table as RecipeTable

    own = found_at(kind.table)
    above = [each for each in own.__mro__ if issubclass(each, RecipeTable)]  # its own, ..., that of all siblings, Table
    return [key for key in own.model_fields if not above or key not in above[-2].model_fields]


def _nearest(text: str, rows: Rows) -> str:
    """The nearest names, and the nearest parts of names: `swni` is near the "swin" of `swin_tiny`."""
    names = [row["name"].removeprefix("timm/") for row in rows]
    parts = dict.fromkeys([*(name.partition("_")[0] for name in names), *names])
    close = difflib.get_close_matches(text.lower(), parts, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def _models() -> Rows:
    """Short names and forms of names first, then every architecture of both libraries."""
    from adaptkit.anatomy.tables.aliases import aliases
    from adaptkit.anatomy.tables.known import known_architectures

    transformers, timm = known_architectures("transformers"), known_architectures("timm")
    rows = [
        _model(alias.name, transformers.get(alias.model_type, "-"), f"short for {alias.id}{_carried(alias.package)}")
        for alias in aliases().values()
    ]
    rows += [
        _model("timm/NAME", "-", "any model of timm, weights from the Hugging Face hub"),
        _model("OWNER/NAME", "-", "any model of transformers on the Hugging Face hub"),
        _model("./FOLDER", "-", "a folder with config.json"),
    ]
    rows += [_model(name, sites, "model type of transformers") for name, sites in transformers.items()]
    return rows + [_model(f"timm/{name}", sites, "model of timm") for name, sites in timm.items()]


def _model(name: str, sites: str, what: str) -> dict[str, str]:
    return {"name": name, "sites": sites, "what": what}


def _carried(package: str) -> str:
    return f", weights in the package {package}" if package else ""


def _sites() -> Rows:
    from adaptkit.anatomy.tables.sites import SITES

    return [{"name": name, "what": what} for name, what in SITES]


def _metrics() -> Rows:
    from adaptkit.tasks.metric import all_metrics

    return [
        {
            "name": metric.name,
            "what": metric.description,
            "tasks": tasks,
            "better": {True: "higher", False: "lower", None: "-"}[metric.higher_is_better],
        }
        for metric, tasks in all_metrics().items()
    ]


def _recipes() -> Rows:
    from adaptkit.recipe import bundled_description, bundled_names

    return [{"name": name, "what": bundled_description(name)} for name in bundled_names()]


def _plugins() -> Rows:
    """Those of installed distributions and of --plugin, with the kinds that each brings."""
    from adaptkit.kinds import loaded_plugins

    return [{"name": p.name, "what": _brought(p.name), "version": str(p).partition(" ")[2]} for p in loaded_plugins()]


def _brought(origin: str) -> str:
    kinds = [(point.point, kind) for point in _points() for kind in point.kinds.values()]
    return ", ".join(f"{point} {kind.name}" for point, kind in kinds if kind.origin == origin)


LISTS: Mapping[str, Callable[[], Rows]] = {
    "models": _models,
    "sites": _sites,
    "metrics": _metrics,
    "recipes": _recipes,
    "plugins": _plugins,
}


def _adapter_facts(kind: Kind) -> Iterator[tuple[str, str]]:
    yield "works_at", _works_at(kind)
    yield "sides", _sides(kind.facts["needs_sides"])
    for fact in ("mergeable", "identity"):
        yield fact, "yes" if kind.facts[fact] else "no"
    yield "parameters", kind.facts["formula"]
    yield "paper", kind.facts["paper"]


def _works_at(kind: Kind) -> str:
    if kind.facts["fuses"]:
        return "other adapters"
    if kind.facts["reads_input"]:
        return "projection"
    if kind.facts["reads_blocks"]:
        return "all blocks"
    return {"stream": "stream", "sequence": "input sequence", "attention": "attention"}[kind.facts["works_on"]]


def _sides(bounds: tuple[int, int | None]) -> str:
    least, most = bounds
    if most == 0:
        return "none"
    if most is None:
        return f"{least} or more"
    return str(least) if least == most else f"{least} to {most}"


def show_adapters(out: Console, rows: Sequence[dict[str, Any]], *, long: bool = False) -> None:
    """A table for each kind of site, then what is no adapter; `long` adds what each does, and its keys."""
    for place, words in PLACES.items():
        here = [row for row in rows if row["works_at"] == place]
        if here:
            out.print(Text(words, style="bold"))
            out.print(_long_table(here) if long else _table(here))
    for note in NOTES:
        out.print(note)


def _table(rows: Sequence[dict[str, Any]]) -> RenderableType:
    """name, sides, merging; then the formula, and below it the paper."""
    drawn = Table.grid(padding=(0, 2, 0, 0))
    for width in (17, 9, 6):  # the same in every table
        drawn.add_column(no_wrap=True, min_width=width)
    drawn.add_column(overflow="fold")
    for row in rows:
        merges = "merges" if row["mergeable"] == "yes" else ""
        sides = "no side" if row["sides"] == "none" else row["sides"]
        size = Group(Text(row["parameters"]), Text(row["paper"], style="dim"))
        drawn.add_row(Text(f"  {row['name']}"), Text(sides), Text(merges), size)
    drawn.add_row()
    return drawn


def _long_table(rows: Sequence[dict[str, Any]]) -> RenderableType:
    """name and first line; then each further fact on lines of its own."""
    drawn = Table.grid(padding=(0, 2, 0, 0))
    drawn.add_column(no_wrap=True, min_width=17)
    drawn.add_column(overflow="fold")
    for row in rows:
        drawn.add_row(Text(f"  {row['name']}", style="bold"), Text(row["what"]))
        for key in ("sides", "mergeable", "identity", "parameters", "keys", "paper"):
            drawn.add_row("", Text(f"{LONG.get(key, key)}: {row[key]}", style="dim" if key == "paper" else ""))
        drawn.add_row()
    return drawn
