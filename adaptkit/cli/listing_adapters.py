"""`adaptkit list adapters`: every kind by where it works, with its sides, its size and its paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from adaptkit.kinds import Kind

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


def adapter_rows() -> list[dict[str, Any]]:
    """One row per kind, by the kind of site and then by name."""
    from adaptkit.kinds import ADAPTERS

    rows = [_row(kind) for kind in ADAPTERS.kinds.values()]
    return sorted(rows, key=lambda row: ([*PLACES].index(row["works_at"]), row["name"]))


def _row(kind: Kind) -> dict[str, Any]:
    return {
        "name": kind.name,
        "what": kind.summary,
        "works_at": _works_at(kind),
        "sides": _sides(kind.facts["needs_sides"]),
        "mergeable": "yes" if kind.facts["mergeable"] else "no",
        "identity": "yes" if kind.facts["identity"] else "no",
        "parameters": kind.facts["formula"],
        "paper": kind.facts["paper"],
        "keys": ", ".join(kind.keys) or "none",
    }


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
