"""docs/conformance.md and the list of conformant models, from what docs/conformance.py measured."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version

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
    """adaptkit/anatomy/tables/conformant.json: what `adaptkit list models` calls "laws tested"; one line per library.

    Model types of transformers, and all models of the files of timm, in whose tiny model no law is broken.
    """
    import timm

    kinds = {library: {row.kind for row in rows if row.library == library} for library in ("timm", "transformers")}
    broken = {(row.library, row.kind) for row in rows if count(row.outcomes, BAD)}
    good = {library: sorted(k for k in found if (library, k) not in broken) for library, found in kinds.items()}
    good["timm"] = sorted({name for file in good["timm"] for name in timm.list_models(module=file)})
    lines = [f"{json.dumps(library)}: {json.dumps(found, separators=(',', ':'))}" for library, found in good.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"
