"""`adaptkit cache`: what is kept of frozen models, whether it is whole, and how it goes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from adaptkit.amounts import in_bytes, scaled
from adaptkit.cli.answer import Answer
from adaptkit.cli.options import Json
from adaptkit.cli.tables import aligned, several
from adaptkit.errors import Problem, RunError, UsageError

if TYPE_CHECKING:
    from adaptkit.cache.folder import Found

Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="DIR",
        help="The cache. Default: activations/ in ADAPTKIT_CACHE or in the system's folder for caches.",
        show_default=False,
    ),
]
DAY = 86_400.0


def list_cache(folder: Folder = None, json: Json = False) -> Answer:
    """List what is kept of frozen models, the last used first."""
    place, found = _entries(folder)
    rows = [_row(entry) for entry in found]
    total = sum(entry.bytes for entry in found)

    def show(out: Console) -> None:
        for line in aligned([_readable(row) for row in rows]) if rows else ():
            out.print(line, soft_wrap=True)
        out.print(f"{several(len(rows), 'kept model')}, {in_bytes(total)} in {place}", soft_wrap=True)

    return Answer({"folder": place, "bytes": total, "entries": rows}, show)


def prune_cache(
    keep_gb: Annotated[
        float | None,
        typer.Option("--keep-gb", metavar="GB", min=0.0, help="Keep the last used, to this size.", show_default=False),
    ] = None,
    unused_days: Annotated[
        float | None,
        typer.Option(
            "--unused-days", metavar="DAYS", min=0.0, help="Keep what was used in these days.", show_default=False
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Keep nothing.")] = False,
    folder: Folder = None,
    json: Json = False,
) -> Answer:
    """Remove what is kept of frozen models, but for what a process reads.

    What is removed is computed again when a training needs it. Say which: --all, --keep-gb or --unused-days.
    """
    if not everything and keep_gb is None and unused_days is None:
        raise UsageError("nothing says what is to go.", where="adaptkit cache prune", hint="Add --all or --keep-gb 10.")
    place, found = _entries(folder)
    removed, used, kept = [], [], 0
    for entry in found:
        old = unused_days is not None and time.time() - entry.used > unused_days * DAY
        large = keep_gb is not None and kept + entry.bytes > keep_gb * 1e9
        if not (everything or old or large):
            kept += entry.bytes
        elif entry.remove():
            removed.append(entry)
        else:
            used.append(entry)
    freed = sum(entry.bytes for entry in removed)

    def show(out: Console) -> None:
        out.print(f"removed {several(len(removed), 'kept model')}, {in_bytes(freed)}, from {place}", soft_wrap=True)
        for entry in used:
            out.print(f"left    {entry.folder.name}: a process reads it", soft_wrap=True)

    names = {"removed": [entry.folder.name for entry in removed], "in_use": [entry.folder.name for entry in used]}
    return Answer({"folder": place, **names, "bytes": freed}, show)


def verify_cache(folder: Folder = None, json: Json = False) -> Answer:
    """Read all of it, and say what is not what it was. A training throws that away and computes it anew."""
    place, found = _entries(folder)
    damaged = [path for entry in found for path in entry.damaged()]
    shards = sum(len(entry.shards) for entry in found)
    hint = "The next training that needs it computes it anew; or remove the file."
    problems = tuple(Problem("is damaged.", str(path), hint) for path in damaged)

    def show(out: Console) -> None:
        state = (
            f"{len(damaged)} of {several(shards, 'file')} damaged" if damaged else f"{several(shards, 'file')} intact"
        )
        out.print(f"{state}, in {place}", soft_wrap=True)

    data = {"folder": place, "files": shards, "damaged": damaged}
    return Answer(data, show, problems, RunError.code if problems else 0)


def show_kept(out: Console, document: Mapping[str, Any]) -> None:
    """What of a plan is the same in every epoch, why not more of it, and what keeping it saves.

    Args:
        document: the JSON of the plan.
    """
    flops, title = document["flops"], "cache       "
    for model in document["cache"]["models"]:
        out.print(f"{title}{model['says']}", soft_wrap=True)
        title = " " * len(title)
    if flops["frozen"] and document["cache"]["enabled"]:
        saved = f"{scaled(flops['frozen'])}FLOPs of a step, {flops['frozen'] / flops['step']:.0%}"
        out.print(f"{title}computed before the first epoch and kept: spares {saved}", soft_wrap=True)
    elif flops["frozen"]:
        out.print(f"{title}not kept: cache.enabled = false", soft_wrap=True)


def _entries(folder: Path | None) -> tuple[Path, list[Found]]:
    from adaptkit.cache.folder import cache_folder, entries

    if folder is not None and not folder.is_dir():
        raise RunError("is not a folder.", where=str(folder))
    place = cache_folder(folder)
    if place is None:
        hint = "Give --folder, or set ADAPTKIT_CACHE to a folder."
        raise UsageError("nothing is kept: ADAPTKIT_CACHE says so, or there is no folder.", where="cache", hint=hint)
    return place, entries(place)


def _row(entry: Found) -> dict[str, Any]:
    return {
        "name": entry.folder.name,
        "what": entry.what,
        "bytes": entry.bytes,
        "used": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(entry.used)),
        "in_use": entry.in_use(),
    }


def _readable(row: dict[str, Any]) -> dict[str, str]:
    return {
        "used": row["used"][:16].replace("T", " "),
        "size": in_bytes(row["bytes"]),
        "what": row["what"],
        "name": row["name"] + (" (in use)" if row["in_use"] else ""),
    }
