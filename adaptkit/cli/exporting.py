"""`export`, `merge` and `unmerge`: what leaves a run, and in which form."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.options import RUNS, AnyPluginVersion, Force, Json, Plugins, RunArgument, RunsFolder
from adaptkit.cli.runs import chosen_run
from adaptkit.errors import UsageError

Check = Annotated[
    bool, typer.Option("--check/--no-check", help="Load what was written, and compare its outputs with the run's.")
]

Output = Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder to write.", show_default=False)]
Runs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="RUN",
        help="Run folder or artifact folder; with --method several. Default: the newest finished run.",
        show_default=False,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="WORD",
        help="Combine several artifacts of one recipe into one instead: average, linear, task-arithmetic, ties, dare "
        "or svd.",
        show_default=False,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="W,W", help="One for each artifact. Default: 1.", show_default=False),
]
Density = Annotated[
    float | None,
    typer.Option(
        "--density", metavar="SHARE", help="Of the numbers that ties and dare keep. Default: 0.5.", show_default=False
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        metavar="SHARE",
        min=0.0,
        help="How far outputs may differ, of the largest. Default: what the weights' number format allows.",
        show_default=False,
    ),
]


class Form(StrEnum):
    """What `--format` may be."""

    ADAPTKIT = "adaptkit"
    FULL = "full"
    PEFT = "peft"
    ADAPTERHUB = "adapterhub"


def export(
    run: RunArgument = None,
    adapter_only: Annotated[
        bool,
        typer.Option("--adapter-only", help="The adapter alone: it names its backbone and does not copy it."),
    ] = False,
    form: Annotated[
        Form | None,
        typer.Option(
            "--format",
            help="adaptkit: the same as --adapter-only. full: with its backbone, towers and tokenizers. peft: its "
            "weight-space adapters as PEFT reads them. adapterhub: its adapters as AdapterHub's `adapters` reads them.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Folder to write. Default: NAME-adapter.", show_default=False),
    ] = None,
    folder: RunsFolder = RUNS,
    force: Force = False,
    upgrade: Annotated[
        bool,
        typer.Option(
            "--upgrade",
            help="The adapter has format 1, where changes go unnoticed, and you trust it: write it in today's.",
        ),
    ] = False,
    check: Check = True,
    plugins: Plugins = None,
    any_plugin_version: AnyPluginVersion = False,
    json: Json = False,
) -> Answer:
    """Write what a run has learnt into a folder to share."""
    _refuse_words(adapter_only, form, upgrade=upgrade, check=check)
    if form is Form.PEFT or form is Form.ADAPTERHUB:
        return _to_library(form, chosen_run(run, folder), output, force=force, check=check)
    from adaptkit.artifact.export import export_adapter

    source = chosen_run(run, folder)
    full = form is Form.FULL
    target = export_adapter(source, output, full=full, force=force, upgrade=upgrade, check=check)
    files = files_in(target)

    def show(out: Console) -> None:
        out.print(f"exported to {target}", soft_wrap=True)
        show_files(out, files)
        out.print(f"next: adaptkit predict {target} --input FILE.jsonl --output FILE.jsonl", soft_wrap=True)

    return Answer({"artifact": target, "source": source, "files": files}, show)


def _refuse_words(adapter_only: bool, form: Form | None, *, upgrade: bool, check: bool) -> None:
    """Raise UsageError for options that contradict each other, or of which one does nothing."""
    if not adapter_only and form is None:
        raise UsageError(
            "say what to export.",
            where="adaptkit export",
            hint="Add --adapter-only: the grafts, encoders and heads, without the backbone. Or --format full: with it.",
        )
    if adapter_only and form not in (None, Form.ADAPTKIT):
        raise UsageError(f"--adapter-only and --format {form} at once.", where="--format", hint="Choose one of them.")
    if upgrade and form in (Form.PEFT, Form.ADAPTERHUB):
        raise UsageError(
            f"does nothing with --format {form}.", where="--upgrade", hint="Export that of an upgraded one."
        )
    if not check and form in (None, Form.ADAPTKIT):
        raise UsageError("does nothing with --adapter-only: what is copied was loaded before.", where="--no-check")


# Form -> how whoever loads it does, and what is said of a comparison.
NEXT = {
    Form.PEFT: 'peft.PeftModel.from_pretrained(backbone, "{}")',
    Form.ADAPTERHUB: 'adapters.init(backbone); backbone.load_adapter("{}", set_active=True)',
}
COMPARED = {Form.PEFT: "in PEFT", Form.ADAPTERHUB: "when it is read again"}


def _to_library(form: Form, source: Path, output: Path | None, *, force: bool, check: bool) -> Answer:
    """The folder, what it has no place for, and whether it gives the same."""
    if form is Form.PEFT:
        from adaptkit.artifact.to_peft import export_peft as write
    else:
        from adaptkit.artifact.to_adapterhub import export_adapterhub as write

    found = write(source, output, force=force, check=check)
    files = files_in(found.folder)

    def show(out: Console) -> None:
        out.print(f"exported to {found.folder}", soft_wrap=True)
        show_files(out, files)
        if found.left:
            out.print(f"not in it: {'; '.join(found.left)}", soft_wrap=True)
        if found.difference is not None:
            out.print(f"largest difference of the backbone's outputs {COMPARED[form]}: {found.difference:.2g}")
        elif form is Form.PEFT:
            out.print("not compared with PEFT" + (": pip install peft" if check else ""))
        out.print(f"next: {NEXT[form].format(found.folder)}", soft_wrap=True)

    known = {"left": list(found.left), "difference": found.difference}
    return Answer({"artifact": found.folder, "source": source, "files": files, **known}, show)


def merge(
    output: Output,
    runs: Runs = None,
    method: Method = None,
    weights: Weights = None,
    density: Density = None,
    folder: RunsFolder = RUNS,
    force: Force = False,
    check: Check = True,
    tolerance: Tolerance = None,
    plugins: Plugins = None,
    any_plugin_version: AnyPluginVersion = False,
    json: Json = False,
) -> Answer:
    """Fold the adapters of a run into a copy of its backbone, which transformers or timm load without adaptkit."""
    _refuse_idle(
        method, {"--weights": weights, "--density": density, "--tolerance": tolerance, "--no-check": not check}
    )
    if method is not None:
        return _combined(runs or [], output, method, weights, density, force=force)
    if runs is not None and len(runs) > 1:
        raise UsageError(
            "several artifacts are combined by a method.", where="adaptkit merge", hint="Add --method average."
        )
    from adaptkit.artifact.folding import merge_run

    source = chosen_run(runs[0] if runs else None, folder)
    found = merge_run(source, output, force=force, check=check, tolerance=tolerance)
    files = files_in(output)

    def show(out: Console) -> None:
        out.print(f"merged into {output}: {found.changed} tensors changed", soft_wrap=True)
        show_files(out, files)
        if found.difference is not None:
            out.print(f"largest difference of the outputs: {found.difference:.2g}")
        out.print(f"to undo: adaptkit unmerge {output} --output DIR", soft_wrap=True)

    known = {"changed": found.changed, "difference": found.difference, "files": files}
    return Answer({"folder": output, "source": source, **known}, show)


def _refuse_idle(method: str | None, given: Mapping[str, object]) -> None:
    """Raise UsageError for the first option that is given and does nothing with this method, or without one."""
    known = {
        None: ("--tolerance", "--no-check"),
        "ties": ("--weights", "--density"),
        "dare": ("--weights", "--density"),
    }
    for option, value in given.items():
        if value not in (None, False) and option not in known.get(method, ("--weights",)):
            having = "without --method" if method is None else f"with --method {method}"
            raise UsageError(f"does nothing {having}.", where=option)


def _combined(
    runs: list[Path], output: Path, method: str, weights: str | None, density: float | None, *, force: bool
) -> Answer:
    """One artifact of several."""
    from adaptkit.artifact.combining import DENSITY, combine

    try:
        numbers = None if weights is None else [float(word) for word in weights.split(",")]
    except ValueError:
        raise UsageError(f"{weights!r} is no list of numbers.", where="--weights", hint="--weights=0.7,0.3") from None
    combine(runs, output, method=method, weights=numbers, density=DENSITY if density is None else density, force=force)
    files = files_in(output)

    def show(out: Console) -> None:
        out.print(f"combined {len(runs)} artifacts by {method} into {output}", soft_wrap=True)
        show_files(out, files)
        out.print(f"next: adaptkit evaluate {output}", soft_wrap=True)

    return Answer({"artifact": output, "sources": runs, "method": method, "files": files}, show)


def unmerge(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="What `adaptkit merge` wrote, or a folder in its towers/.")
    ],
    output: Output,
    force: Force = False,
    json: Json = False,
) -> Answer:
    """Write the backbone that adapters were folded into as it was published, bit for bit."""
    from adaptkit.artifact.folding import unmerge as undo

    count = undo(folder, output, force=force)
    files = files_in(output)

    def show(out: Console) -> None:
        out.print(f"wrote {output}: {count} tensors are what they were, to the bit", soft_wrap=True)
        show_files(out, files)

    return Answer({"folder": output, "source": folder, "restored": count, "files": files}, show)


def files_in(folder: Path) -> dict[str, int]:
    """Path in the folder -> bytes, of every file."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }


def show_files(out: Console, files: Mapping[str, int]) -> None:
    """One line each."""
    width = max(20, *map(len, files))
    for name, size in files.items():
        out.print(f"  {name:<{width}} {size:>13,} bytes", soft_wrap=True)
