"""The model card: what the adapter is, how good, and how to use it."""

from __future__ import annotations

import json
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adaptkit.artifact.format import Base, Description, is_carried
from adaptkit.recipe import parse_recipe


def write_card(description: Description, grafts: Sequence[Mapping[str, Any]]) -> str:
    """README.md of an artifact.

    Args:
        description: what adapter.json says.
        grafts: as in plan.json: adapter, kind, site, layer, parameters.
    """
    parts = [
        _opening(description),
        _adapters(grafts),
        _labels(description.labels),
        _metrics(description.metrics),
        _usage(description) if description.labels else STARTING,
    ]
    return "\n".join(part for part in parts if part)


def _opening(description: Description) -> str:
    base, counts = description.base, description.parameters
    of = "with its backbone" if is_carried(base) else f"for `{base.id}`"
    lines = [f"# {description.name}", "", f"An adapter {of}, made with adaptkit {description.adaptkit}."]
    if counts:
        lines.append(
            f"{counts['trainable']:,} trained parameters beside {counts['backbone']:,} of the backbone "
            f"({counts['percent']:.2f} % of {counts['total']:,})."
        )
    if description.note:
        lines.append(description.note)
    lines += ["", *_place(base, "The backbone")]
    for name, tower in description.towers.items():
        lines += _place(tower, f"The tower of {name}")
    lines.append("")
    return "\n".join(lines)


def _place(base: Base, what: str) -> list[str]:
    """Where a model is, and how it is known."""
    if is_carried(base):
        place = "this folder itself" if base.id == "." else f"`{base.id}`"
        return [f"{what} lies in {place}, as {base.library} reads it."]
    revision = f", revision `{base.revision}`" if base.revision else ""
    return [
        f"{what} is not part of this folder. It is found by its name (`{base.id}`{revision})",
        f"and must have the fingerprint `{base.fingerprint}`.",
    ]


def _adapters(grafts: Sequence[Mapping[str, Any]]) -> str:
    rows: dict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for graft in grafts:
        rows[graft["adapter"], graft["kind"], graft["site"]].append(graft)
    table = [
        [name, kind, f"`{site}`", _layers(found), f"{sum(graft['parameters'] for graft in found):,}"]
        for (name, kind, site), found in rows.items()
    ]
    return _section("Adapters", ["adapter", "kind", "site", "layers", "parameters"], table)


def _layers(grafts: Sequence[Mapping[str, Any]]) -> str:
    layers = sorted(graft["layer"] for graft in grafts if graft["layer"] is not None)
    if not layers:
        return "-"
    if layers == list(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]}-{layers[-1]}" if len(layers) > 1 else str(layers[0])
    return ", ".join(map(str, layers))


def _labels(labels: Mapping[str, list[str] | None]) -> str:
    table = [[task, ", ".join(names)] for task, names in labels.items() if names]
    return _section("Labels", ["task", "labels, in the order of the outputs"], table)


def _metrics(metrics: Mapping[str, Mapping[str, float | None]]) -> str:
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    table = [[split, *(_number(values.get(name)) for name in names)] for split, values in metrics.items()]
    return _section("Results", ["split", *names], table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


STARTING = """\
## How to use

It has no task. A recipe with adapters of the same kinds and options at the same sites starts from it:

```toml
init_from = "THIS_FOLDER"
```

`adaptkit merge THIS_FOLDER --output DIR` folds it into its backbone where it folds.
`adapter.json` holds the complete recipe.
"""


def _usage(description: Description) -> str:
    """Snippets with the columns of this very recipe, which run once the files they name are there."""
    cells = {column: rest for column, *rest in _cells(description)}
    written = {f"    {_quoted(column)}: {value},": note for column, (value, note) in cells.items()}
    width = max(map(len, written))
    sample = [f"{line:{width}}  # {note}" for line, note in written.items()]
    return "\n".join(
        [
            "## How to use",
            "",
            "`THIS_FOLDER` is the path of the folder that this file is in.",
            "",
            "```python",
            "import adaptkit as ak  # pip install adaptkit",
            "",
            'model = ak.load_artifact("THIS_FOLDER")',
            "sample = {",
            *sample,
            "}",
            "print(model.predict([sample]))",
            "```",
            "",
            "Or for a file with these columns (.jsonl, .csv, .tsv or .parquet):",
            "",
            "```",
            "adaptkit predict THIS_FOLDER --input samples.csv --output predictions.csv",
            "```",
            "",
            "`adapter.json` holds the complete recipe.",
            "",
        ]
    )


def _cells(description: Description) -> Iterator[tuple[str, str, str]]:
    """(column, an example of a value as Python, what it may be), of the modalities that are read."""
    recipe = parse_recipe(tomllib.loads(description.recipe))
    for name, modality in recipe.modality.items():
        if name not in recipe.data.drop:
            yield from modality.examples(name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _section(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [f"## {title}", "", _row(header), _row(["---"] * len(header)), *map(_row, rows), ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
