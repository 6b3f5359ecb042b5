"""Runs every law of surgery for every adapter in every tiny model and writes docs/conformance.md: `make conformance`.

    python docs/conformance.py                             everything; writes the page and the package's list
    python docs/conformance.py --only "bert*" --case lora  a part; prints it and writes nothing

A cell that fails is printed with its error, and the exit code is then 1. A cell that does not apply says why.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from fnmatch import fnmatchcase
from multiprocessing import get_context
from pathlib import Path

from conformance_page import BAD, GOOD, Outcome, Row, count, names, page

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER / "conformance.md"
LIST = FOLDER.parent / "adaptkit" / "anatomy" / "tables" / "conformant.json"


def measure(task: tuple[str, tuple[str, ...], bool]) -> Row:
    """Every chosen case in one model. Runs in a worker; never raises."""
    import torch

    from tests.laws.zoo import ZOO

    name, cases, whole = task
    torch.set_num_threads(1)
    began = time.monotonic()
    family = ZOO[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library, kind = origin(name, family.fresh())
        row = Row(name, library, kind)
        for case in cases:
            row.cells[case] = one(name, case)
        if whole:
            from tests.laws.whole import CAPTURED

            good = [case for case, found in row.cells.items() if found.mark == GOOD and case in CAPTURED]
            row.whole = about_the_whole(name, good)
    row.seconds = round(time.monotonic() - began, 1)
    return row


def origin(name: str, model: object) -> tuple[str, str]:
    """("transformers", model type), or ("timm", the file that its models are in; classes may come from another)."""
    config = getattr(model, "config", None)
    if hasattr(config, "model_type"):
        return "transformers", config.model_type  # pyright: ignore[reportOptionalMemberAccess]
    from tests.laws.zoo import TIMM_FILES

    return "timm", TIMM_FILES.get(name, name.removeprefix("timm_"))


def one(name: str, case: str) -> Outcome:
    """One adapter in one model under every law."""
    from adaptkit.errors import AdaptkitError
    from tests.laws.cases import CASES, NotHereError
    from tests.laws.laws import LAWS, Cell, applies
    from tests.laws.zoo import ZOO

    cell, outcome = Cell(ZOO[name], CASES[case]), Outcome()
    try:
        model, _ = cell.inserted()
        cell.run(model)
    except (NotHereError, AdaptkitError) as error:
        outcome.absent = reason(error)
        return outcome
    except Exception as error:
        outcome.failures["insertion"] = described(error)
        return outcome
    for law, holds in LAWS.items():
        if applies(law, cell.case):
            check(outcome, law, lambda holds=holds: holds(cell))
    return outcome


def about_the_whole(name: str, cases: list[str]) -> dict[str, Outcome]:
    from tests.laws.whole import WHOLE
    from tests.laws.zoo import ZOO

    found = {}
    for law, holds in WHOLE.items():
        outcome = found[law] = Outcome()
        check(outcome, law, lambda holds=holds: holds(ZOO[name], cases))
        outcome.absent = outcome.skipped.pop(law, "")
    return found


def check(outcome: Outcome, law: str, holds: Callable[[], None]) -> None:
    from tests.laws.laws import NotApplicableError

    try:
        holds()
        outcome.checks += 1
    except NotApplicableError as error:
        outcome.skipped[law] = str(error)
    except Exception as error:
        outcome.failures[law] = described(error)


def reason(error: Exception) -> str:
    """Why an adapter does not apply, without the place that differs from model to model."""
    problems = getattr(error, "problems", None)
    text = problems[0].message if problems else str(error)
    head, _, tail = text.partition(": ")
    return tail if head.startswith("adapter.") and " at " in head else text


def described(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error) or '?').strip().splitlines()[0][:300]}"


def chosen(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    from tests.laws.cases import CASES
    from tests.laws.zoo import REST, ZOO

    left_out = REST if options.only == "*" and not options.all else frozenset()
    models = [name for name in ZOO if fnmatchcase(name, options.only) and name not in left_out][: options.limit]
    return models, [name for name in CASES if fnmatchcase(name, options.case)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="GLOB", default="*", help="models whose name matches")
    parser.add_argument("--case", metavar="GLOB", default="*", help="adapters whose name matches")
    parser.add_argument("--limit", type=int, help="the first N models")
    parser.add_argument("--all", action="store_true", help="also models that are left out by default")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=Path, metavar="FILE", help="keep rows there, and complete what is in it")
    parser.add_argument("--without-capture", action="store_true", help="leave out compilation, export, checkpointing")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(FOLDER.parent))
    models, cases = chosen(options)
    tasks = [(name, tuple(cases), not options.without_capture) for name in models]
    rows = {row.name: row for row in read_rows(options.rows)}
    with get_context("spawn").Pool(options.workers, maxtasksperchild=10) as pool:
        for number, row in enumerate(pool.imap_unordered(measure, tasks), 1):
            rows[row.name] = row
            if options.rows is not None:
                options.rows.write_text(json.dumps([asdict(each) for each in rows.values()]), encoding="utf-8")
            bad = [f"{name}.{law}" for name, found in {**row.cells, **row.whole}.items() for law in found.failures]
            said = f"FAILS {', '.join(bad)}" if bad else f"{count(row.outcomes, GOOD)} cells hold"
            print(f"[{number}/{len(tasks)}] {row.name} {row.seconds:.0f} s  {said}", file=sys.stderr, flush=True)
    from tests.laws.zoo import REST, ZOO

    complete = [rows[name] for name in ZOO if name in rows and rows[name].whole]
    if {row.name for row in complete} >= ZOO.keys() - REST and options.case == "*":
        PAGE.write_text(page(complete, cases), encoding="utf-8")
        LIST.write_text(names(complete), encoding="utf-8")
    else:
        print(page([rows[name] for name in models], cases))
    return int(any(count(row.outcomes, BAD) for row in rows.values()))


def read_rows(path: Path | None) -> list[Row]:
    """What earlier runs measured, for a long run in parts."""
    if path is None or not path.exists():
        return []
    kept = json.loads(path.read_text(encoding="utf-8"))
    parts = ("cells", "whole")
    return [Row(**row | {part: {k: Outcome(**v) for k, v in row[part].items()} for part in parts}) for row in kept]


if __name__ == "__main__":
    sys.exit(main())
