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
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER / "conformance.md"
LIST = FOLDER.parent / "adaptkit" / "anatomy" / "conformant.json"
GOOD, BAD, ABSENT = "●", "✗", "·"


@dataclass(slots=True)
class Outcome:
    """What became of one adapter in one model, or of one law about the whole model.

    Attributes:
        checks: laws that were run and hold.
        absent: why it does not apply; "" where it does.
        skipped: law -> why it says nothing here.
        failures: law -> what went wrong.
    """

    checks: int = 0
    absent: str = ""
    skipped: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def mark(self) -> str:
        return BAD if self.failures else ABSENT if self.absent else GOOD


@dataclass(slots=True)
class Row:
    """One model.

    Attributes:
        name: of the tiny model.
        library: "transformers" or "timm".
        kind: model type of transformers, or the file of timm.
        cells: case -> outcome.
        whole: law -> outcome, of a model with all adapters in it.
        seconds: all in all.
    """

    name: str
    library: str
    kind: str
    cells: dict[str, Outcome] = field(default_factory=dict)
    whole: dict[str, Outcome] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def outcomes(self) -> list[Outcome]:
        return [*self.cells.values(), *self.whole.values()]


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
        library, kind = origin(family.fresh())
        row = Row(name, library, kind)
        for case in cases:
            row.cells[case] = one(name, case)
        if whole:
            from tests.laws.whole import CAPTURED

            good = [case for case, found in row.cells.items() if found.mark == GOOD and case in CAPTURED]
            row.whole = about_the_whole(name, good)
    row.seconds = round(time.monotonic() - began, 1)
    return row


def origin(model: object) -> tuple[str, str]:
    """("transformers", model type), or ("timm", file of the model)."""
    config = getattr(model, "config", None)
    if hasattr(config, "model_type"):
        return "transformers", config.model_type  # pyright: ignore[reportOptionalMemberAccess]
    return "timm", type(model).__module__.rpartition(".")[2]


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


def page(rows: list[Row], cases: list[str]) -> str:
    """docs/conformance.md."""
    checks = sum(outcome.checks for row in rows for outcome in row.outcomes)
    cells = [outcome for row in rows for outcome in row.outcomes]
    types = {row.kind for row in rows if row.library == "transformers"}
    files = {row.kind for row in rows if row.library == "timm"}
    lines = [
        "# Conformance",
        "",
        "<!-- Written by docs/conformance.py (make conformance). -->",
        "",
        f"{checks:,} checks in {len(cells):,} cells: {len(types)} model types of transformers and {len(files)} families"
        f" of timm, {len(cases)} adapters in their usual places, and {count(cells, BAD)} failing cells.",
        "",
        "Each model is tiny, random and complete. In every cell (model, adapter) these laws are checked with numbers:",
        *law_lines(),
        "",
        "The last three are about the model with its adapters all at once, in the last layers; of adapters of one class"
        " that meet their hosts in one way, one is taken: " + captured_line() + " are left out.",
        "",
        "Measured with " + ", ".join(f"{each} {version(each)}" for each in ("torch", "transformers", "timm")) + ".",
        "",
        f"{GOOD} every law holds; {ABSENT} does not apply (reasons below); {BAD} a law is broken.",
        "",
        "| | adapter | as | models | does not apply |",
        "|---|---|---|---|---|",
        *case_lines(rows, cases),
        *failures(rows),
    ]
    for library in ("transformers", "timm"):
        mine = [row for row in rows if row.library == library]
        if mine:
            lines += matrix(library, mine, cases)
    return "\n".join([*lines, *reasons(rows, cases)]) + "\n"


def law_lines() -> Iterator[str]:
    from tests.laws.laws import LAWS
    from tests.laws.whole import WHOLE

    for laws in (LAWS, WHOLE):
        for name, law in laws.items():
            yield f"- **{name.replace('_', ' ')}**: {(law.__doc__ or '').splitlines()[0]}"


def captured_line() -> str:
    from tests.laws.cases import CASES
    from tests.laws.whole import CAPTURED

    return ", ".join(name for name, case in CASES.items() if case.kind and name not in CAPTURED)


def case_lines(rows: list[Row], cases: list[str]) -> Iterator[str]:
    from tests.laws.cases import CASES

    for number, name in enumerate(cases, 1):
        case, found = CASES[name], [row.cells[name] for row in rows if name in row.cells]
        table = ", ".join(f"{key} = {json.dumps(value)}" for key, value in case.table.items())
        words = table or f"backbone.train = {json.dumps(list(case.train))}"
        at = " or ".join(json.dumps(list(place)) for place in case.places)
        words += f", at = {at}" if at else ""
        yield f"| {number} | {name} | `{words}` | {count(found, GOOD)} | {count(found, ABSENT)} |"


def count(outcomes: Iterable[Outcome], mark: str) -> int:
    return sum(outcome.mark == mark for outcome in outcomes)


def matrix(library: str, rows: list[Row], cases: list[str]) -> list[str]:
    wholes = list(rows[0].whole)
    heads = [*(str(number) for number in range(1, len(cases) + 1)), *(name.split("_")[-1] for name in wholes)]
    lines = ["", f"## {library}", "", f"| model | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for row in sorted(rows, key=lambda row: (row.kind, row.name)):
        marks = [row.cells[case].mark for case in cases] + [row.whole[law].mark for law in wholes]
        lines.append(f"| {row.kind} | {' | '.join(marks)} |")
    return lines


def failures(rows: list[Row]) -> list[str]:
    lines = [
        f"| {row.name} | {name} | {law} | {what.replace('|', '/')} |"
        for row in rows
        for name, outcome in {**row.cells, **row.whole}.items()
        for law, what in outcome.failures.items()
    ]
    return (
        ["", "## Failing cells", "", "| model | adapter | law | error |", "|---|---|---|---|", *lines] if lines else []
    )


def reasons(rows: list[Row], cases: list[str]) -> list[str]:
    """Every cell, and every law within a cell, that does not apply, gathered by reason."""
    lines = ["", "## What does not apply, and why", ""]
    for name in [*cases, *(rows[0].whole if rows else ())]:
        found: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            outcome = row.cells.get(name) or row.whole.get(name)
            if outcome is not None and outcome.mark == ABSENT:
                found[outcome.absent].add(row.name)
        lines += [reason_line(name, why, models, len(rows)) for why, models in by_size(found)]
    skipped: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        for outcome in row.cells.values():
            for law, why in outcome.skipped.items():
                skipped[law][why].add(row.name)
    for law, found in skipped.items():
        lines += [reason_line(f"law {law}", why, models, len(rows)) for why, models in by_size(found)]
    return lines


def by_size(found: dict[str, set[str]]) -> list[tuple[str, set[str]]]:
    return sorted(found.items(), key=lambda item: -len(item[1]))


def reason_line(name: str, why: str, models: set[str], of: int) -> str:
    return f"- **{name}**, {len(models)} of {of}: {why} ({', '.join(sorted(models))})"


def names(rows: list[Row]) -> str:
    """adaptkit/anatomy/conformant.json: what `adaptkit list models` calls "laws tested"; one line per library.

    Model types of transformers, and all models of the files of timm, in whose tiny model no law is broken.
    """
    import timm

    kinds = {library: {row.kind for row in rows if row.library == library} for library in ("timm", "transformers")}
    broken = {(row.library, row.kind) for row in rows if count(row.outcomes, BAD)}
    good = {library: sorted(k for k in found if (library, k) not in broken) for library, found in kinds.items()}
    good["timm"] = sorted({name for file in good["timm"] for name in timm.list_models(module=file)})
    lines = [f"{json.dumps(library)}: {json.dumps(found, separators=(',', ':'))}" for library, found in good.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


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
