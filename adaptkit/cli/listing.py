"""`adaptkit list`: what there is, read from tables and source without importing torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.listing_adapters import NOTES, adapter_rows, show_adapters
from adaptkit.cli.options import Json
from adaptkit.cli.tables import aligned, records, table
from adaptkit.errors import UsageError
from adaptkit.registry import nearest

if TYPE_CHECKING:
    from adaptkit.kinds import Kinds
    from adaptkit.recipe.table import Table

Rows = list[dict[str, str]]

# Names that must stay whole, and more rows than a drawn table is good for.
LINES = {"models"}
# Too much text for a table.
PROSE = {"encoders", "fusions", "tasks", "formats"}

SITES = (
    ("block.in", "the stream before a whole block"),
    ("block.out", "the stream after a whole block"),
    ("embed.in", "the input sequence of a stack, for prompts"),
    ("embed.out", "the embedding sum that enters block 0"),
    ("final.out", "the last hidden states, after a final norm"),
    ("attn.stream", "the stream that enters the attention branch, before a pre-norm"),
    ("attn.in", "what the attention's first projection reads"),
    ("attn.out", "the attention's last projection, before the residual add"),
    ("attn.sum", "the stream after the residual add, before a post-norm"),
    ("attn.q, attn.k, attn.v, attn.o", "the attention's projections, for adapters in weight space"),
    ("attn.qkv", "one projection for all three, where they are no slices of its columns"),
    ("attn.kv", "the keys and values of an attention, for prefixes"),
    ("cross_attn.*", "the same places of a decoder's attention to its encoder"),
    ("mlp.stream", "the stream that enters the feed-forward branch, before a pre-norm"),
    ("mlp.in", "what the feed-forward's first projection reads, or a mixture of experts"),
    ("mlp.out", "the feed-forward's last projection, or a whole mixture, before the residual add"),
    ("mlp.sum", "the stream after the residual add, before a post-norm"),
    ("mlp.up, mlp.gate, mlp.down", "the feed-forward's projections, for adapters in weight space"),
    ("mlp.experts", "what fused experts return, tokens in the router's order"),
    ("mlp.experts.*, mlp.shared.*", "projections of experts that are modules, and of a shared one: up, gate, down"),
    ("conv.in, conv.out", "what a block's first convolution reads and its last one returns"),
    ("conv.1, conv.2, ...", "a block's dense convolutions in order of execution, for adapters in weight space"),
    ("mixer.*", "the same places of what mixes tokens and is no attention: Mamba, FocalNet"),
    ("mixer.in_proj, mixer.out_proj", "a mixer's projections, for adapters in weight space"),
    ("attn2.*, mlp2.*, ...", "those of a block's second branch of a kind"),
    ("STACK.*", "any of these in one stack: encoder.attn.out, vision.mlp.out"),
    ("fusion", "after the backbone, before the head: sees every modality routed there"),
    ("path:GLOB", "any module path of the model"),
)


def list_things(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="models, adapters, encoders, fusions, sites, tasks, metrics, formats or recipes.",
            show_default=False,
        ),
    ],
    contains: Annotated[
        str,
        typer.Option("--filter", metavar="TEXT", help="Only rows that contain this text.", show_default=False),
    ] = "",
    long: Annotated[bool, typer.Option("--long", help="Adapters: what each does, and its keys.")] = False,
    json: Json = False,
) -> Answer:
    """List what there is: models, adapters, sites, recipes, ..."""
    if kind not in KINDS:
        raise UsageError(f"there is no list of {kind!r}.", where="KIND", hint=nearest(kind, KINDS))
    if long and kind != "adapters":
        raise UsageError(f"the list of {kind} has no long form.", where="--long", hint="Leave --long out.")
    every = KINDS[kind]()
    rows = [row for row in every if contains.lower() in " ".join(row.values()).lower()]

    def show(out: Console) -> None:
        if not rows:
            out.print(f"nothing in {kind} contains {contains!r}.{_nearest(contains, every)}", soft_wrap=True)
        elif kind == "adapters":
            show_adapters(out, rows, long=long)
        elif kind in LINES:
            out.print("\n".join(aligned(rows)), soft_wrap=True, markup=False, highlight=False)
        else:
            out.print(records(rows) if kind in PROSE else table(rows))

    return Answer({"kind": kind, "items": rows, "notes": NOTES if kind == "adapters" else ()}, show)


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


def _kinds(kinds: Kinds[Any], base: type[Table], tag: str = "kind") -> Rows:
    """One row per kind: its name in a recipe, what it is, its keys."""
    from adaptkit.recipe.kinded import OfKind

    return [
        {"name": kind.name, "what": kind.summary, "keys": ", ".join(k for k in table.model_fields if k != tag)}
        for kind, table in OfKind(kinds, tag).tables(base)
    ]


def _encoders() -> Rows:
    from adaptkit.kinds import MODALITIES
    from adaptkit.recipe import ModalityTable

    return _kinds(MODALITIES, ModalityTable)


def _tasks() -> Rows:
    from adaptkit.kinds import TASKS
    from adaptkit.recipe import TaskTable

    return _kinds(TASKS, TaskTable)


def _formats() -> Rows:
    from adaptkit.kinds import FORMATS
    from adaptkit.recipe import DataTable

    return _kinds(FORMATS, DataTable, "format")


def _fusions() -> Rows:
    from adaptkit.kinds import FUSIONS

    return [
        {
            "name": kind.name,
            "what": kind.summary,
            "parameters": kind.facts["formula"],
            "paper": kind.facts["paper"],
            "keys": ", ".join(kind.keys),
        }
        for kind in FUSIONS.kinds.values()
    ]


def _sites() -> Rows:
    return [{"name": name, "what": what} for name, what in SITES]


def _metrics() -> Rows:
    from adaptkit.tasks.metric import all_metrics

    return [
        {
            "name": metric.name,
            "what": metric.description,
            "tasks": tasks,
            "better": metric.better,
        }
        for metric, tasks in all_metrics().items()
    ]


def _recipes() -> Rows:
    from adaptkit.recipe import bundled_description, bundled_names

    return [{"name": name, "what": bundled_description(name)} for name in bundled_names()]


KINDS: Mapping[str, Callable[[], Rows]] = {
    "models": _models,
    "adapters": adapter_rows,
    "encoders": _encoders,
    "fusions": _fusions,
    "sites": _sites,
    "tasks": _tasks,
    "metrics": _metrics,
    "formats": _formats,
    "recipes": _recipes,
}
