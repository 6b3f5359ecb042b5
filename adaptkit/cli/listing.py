"""`adaptkit list`: what there is, read from tables and source without importing torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.options import Json
from adaptkit.cli.tables import records, table
from adaptkit.errors import UsageError
from adaptkit.registry import nearest

if TYPE_CHECKING:
    from adaptkit.tasks.metric import Metric

Rows = list[dict[str, str]]

# Too much text for a table.
PROSE = {"adapters", "encoders", "tasks", "formats"}

SITES = (
    ("block.in", "the stream before a whole block"),
    ("block.out", "the stream after a whole block"),
    ("embed.out", "the embedding sum that enters block 0"),
    ("final.out", "the last hidden states, after a final norm"),
    ("attn.stream", "the stream that enters the attention branch, before a pre-norm"),
    ("attn.in", "what the attention's first projection reads"),
    ("attn.out", "the attention's last projection, before the residual add"),
    ("attn.sum", "the stream after the residual add, before a post-norm"),
    ("attn.q, attn.k, attn.v, attn.o", "the attention's projections, for adapters in weight space"),
    ("cross_attn.*", "the same places of a decoder's attention to its encoder"),
    ("mlp.stream", "the stream that enters the feed-forward branch, before a pre-norm"),
    ("mlp.in", "what the feed-forward's first projection reads"),
    ("mlp.out", "the feed-forward's last projection, before the residual add"),
    ("mlp.sum", "the stream after the residual add, before a post-norm"),
    ("mlp.up, mlp.gate, mlp.down", "the feed-forward's projections, for adapters in weight space"),
    ("fusion", "after the backbone, before the head: sees every modality routed there"),
    ("path:GLOB", "any module path of the model"),
)


def list_things(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="models, adapters, encoders, sites, tasks, metrics, formats or recipes.",
            show_default=False,
        ),
    ],
    contains: Annotated[
        str,
        typer.Option("--filter", metavar="TEXT", help="Only rows that contain this text.", show_default=False),
    ] = "",
    json: Json = False,
) -> Answer:
    """List what there is: models, adapters, sites, recipes, ..."""
    if kind not in KINDS:
        raise UsageError(f"there is no list of {kind!r}.", where="KIND", hint=nearest(kind, KINDS))
    rows = [row for row in KINDS[kind]() if contains.lower() in " ".join(row.values()).lower()]

    def show(out: Console) -> None:
        if rows:
            out.print(records(rows) if kind in PROSE else table(rows))
        else:
            out.print(f"nothing in {kind} contains {contains!r}", soft_wrap=True)

    return Answer({"kind": kind, "items": rows}, show)


def _models() -> Rows:
    from adaptkit.anatomy import aliases

    named = [
        {
            "name": alias.name,
            "short for": alias.id,
            "weights": f"package {alias.package}" if alias.package else "Hugging Face hub",
        }
        for alias in aliases().values()
    ]
    return [
        *named,
        {"name": "timm/NAME", "short for": "any model of timm", "weights": "Hugging Face hub"},
        {"name": "OWNER/NAME", "short for": "any model of transformers", "weights": "Hugging Face hub"},
        {"name": "./FOLDER", "short for": "a folder with config.json", "weights": "the folder"},
    ]


def _adapters() -> Rows:
    from adaptkit.recipe import adapter_signatures

    return [
        {
            "name": kind,
            "what": signature.doc_first_line,
            "sides": _sides(signature.needs_sides),
            "mergeable": "yes" if signature.mergeable else "no",
            "parameters": signature.formula,
            "paper": signature.paper,
        }
        for kind, signature in adapter_signatures().items()
    ]


def _sides(bounds: tuple[int, int | None]) -> str:
    least, most = bounds
    if most == 0:
        return "none"
    if most is None:
        return f"{least} or more"
    return str(least) if least == most else f"{least} to {most}"


def _encoders() -> Rows:
    from adaptkit.recipe.modality import Modality

    return _members(Modality, "kind")


def _tasks() -> Rows:
    from adaptkit.recipe.task import Task

    return _members(Task, "kind")


def _formats() -> Rows:
    from adaptkit.recipe.data import Data

    return _members(Data, "format")


def _members(union: Any, key: str) -> Rows:
    """One row per class of a discriminated union of the recipe: its name there, what it is, its keys."""
    classes: Iterable[Any] = get_args(get_args(union)[0])
    return [
        {
            "name": get_args(cls.model_fields[key].annotation)[0],
            "what": (cls.__doc__ or "").strip().partition("\n")[0],
            "keys": ", ".join(name for name in cls.model_fields if name != key),
        }
        for cls in classes
    ]


def _sites() -> Rows:
    return [{"name": name, "what": what} for name, what in SITES]


def _metrics() -> Rows:
    from adaptkit.tasks.metric import METRICS

    return [
        {
            "name": metric.name,
            "what": metric.description,
            "tasks": ", ".join(metric.kinds),
            "better": _better(metric),
        }
        for metric in METRICS.values()
    ]


def _better(metric: Metric) -> str:
    return {True: "higher", False: "lower", None: "-"}[metric.higher_is_better]


def _recipes() -> Rows:
    from adaptkit.recipe import bundled_description, bundled_names

    return [{"name": name, "what": bundled_description(name)} for name in bundled_names()]


KINDS: Mapping[str, Callable[[], Rows]] = {
    "models": _models,
    "adapters": _adapters,
    "encoders": _encoders,
    "sites": _sites,
    "tasks": _tasks,
    "metrics": _metrics,
    "formats": _formats,
    "recipes": _recipes,
}
