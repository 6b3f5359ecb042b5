"""`adaptkit predict`: outputs for samples without targets, one line each."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaptkit.artifact.load import load_artifact
from adaptkit.atomic import new_file
from adaptkit.data.collate import Collator
from adaptkit.errors import UnavailableError, UsageError
from adaptkit.evaluation.evaluating import best_device, check_drop
from adaptkit.evaluation.material import build_tasks
from adaptkit.evaluation.measure import forward_all
from adaptkit.formats import load_samples
from adaptkit.registry import nearest
from adaptkit.tasks import Task

Line = dict[str, Any]
_SUFFIXES = (".jsonl", ".parquet")
_ROWS = 4096  # of a parquet row group


def predict(
    source: str | Path,
    input: Path,
    output: Path,
    *,
    drop: Collection[str] = (),
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    base: Path | None = None,
    force: bool = False,
) -> int:
    """Predict every line of a .jsonl file.

    A line of the output has the sample's `id` and, for classification, `label` and `probabilities`; with
    several tasks, these under each task's name. A retrieval task searches among the samples of the file and gives
    the ids of the ten nearest.

    Args:
        source: a run or artifact folder.
        input: .jsonl file with the columns of the recipe's modalities; paths in it start from its folder.
        output: .jsonl, or .parquet (needs pyarrow). Written at once, when all is predicted.
        drop: modalities to leave out.
        batch_size: samples per forward; by default the recipe's.
        device: by default the accelerator, if there is one.
        base: folder that relative paths of the recipe start from; see `load_artifact`.
        force: replace the output if it exists.

    Returns:
        The number of predictions.

    Raises:
        UsageError: the output exists or is of another kind; an unknown modality.
        UnavailableError: parquet without pyarrow.
        DataError: the input is not there or lacks a column, or a value does not fit.
        ArtifactError: see `load_artifact`.
    """
    _check_output(output, force)
    model = load_artifact(source, device=device or best_device(), base=base)
    plan = model.plan
    dropped = check_drop(plan, drop)
    samples = load_samples(plan.recipe, Path(input))
    tasks = build_tasks(plan, None)
    size = batch_size or plan.recipe.train.eval_batch_size or plan.recipe.train.batch_size
    batches = forward_all(
        model,
        samples,
        Collator(model.encoders, {}, plan.recipe.data.drop),  # type: ignore[arg-type]
        batch_size=size,
        precision=plan.recipe.train.precision,
        drop=dropped,
    )
    found = ((batch["ids"], logits) for batch, logits in batches)
    if samples and any(task.collective for task in tasks.values()):
        found = iter([_joined(found)])
    with _writer(output) as write:
        for ids, logits in found:
            for line in prediction_lines(tasks, ids, logits):
                write(line)
    return len(samples)


def prediction_lines(
    tasks: Mapping[str, Task],
    ids: Sequence[str],
    logits: Mapping[str, Tensor],
    targets: Sequence[Mapping[str, Any]] | None = None,
) -> Iterator[Line]:
    """One line per sample; what a task predicts stands directly in it if there is only one task.

    Args:
        tasks: name -> task.
        ids: of the samples.
        logits: task -> (N, O).
        targets: raw targets of the samples, where they are known: tasks that search find those, and ids otherwise.
    """
    decoded = {}
    for name, task in tasks.items():
        items = [str(target[name]) for target in targets] if targets is not None and task.collective else ids
        decoded[name] = task.decode(logits[name], items)
    for index, name in enumerate(ids):
        found = {task: values[index] for task, values in decoded.items()}
        yield {"id": name, **(next(iter(found.values())) if len(found) == 1 else found)}


def write_predictions(
    path: Path,
    tasks: Mapping[str, Task],
    ids: Sequence[str],
    logits: Mapping[str, np.ndarray],
    targets: Sequence[Mapping[str, Any]],
) -> None:
    """The predictions of a split as .jsonl, each with the raw `target` beside it."""
    tensors = {name: torch.from_numpy(values) for name, values in logits.items()}
    with _writer(path) as write:
        for line, target in zip(prediction_lines(tasks, ids, tensors, targets), targets, strict=True):
            write({**line, "target": next(iter(target.values())) if len(target) == 1 else dict(target)})


def _joined(batches: Iterable[tuple[Sequence[str], dict[str, Tensor]]]) -> tuple[list[str], dict[str, Tensor]]:
    """All batches as one, in the memory of the CPU."""
    every = [(ids, {name: value.cpu() for name, value in logits.items()}) for ids, logits in batches]
    names = every[0][1] if every else {}
    together = {name: torch.cat([logits[name] for _, logits in every]) for name in names}
    return [name for ids, _ in every for name in ids], together


def _check_output(path: Path, force: bool) -> None:
    if path.suffix not in _SUFFIXES:
        hint = nearest(path.suffix, _SUFFIXES)
        raise UsageError(f"cannot write {path.suffix or 'a file without suffix'}.", where=str(path), hint=hint)
    if path.exists() and not force:
        raise UsageError("exists already.", where=str(path), hint="Add --force to replace it.")
    if path.suffix == ".parquet":
        _pyarrow()


@contextmanager
def _writer(path: Path) -> Iterator[Callable[[Line], Any]]:
    with new_file(path) as temporary:
        if path.suffix == ".parquet":
            with _parquet_writer(temporary) as write:
                yield write
            return
        with temporary.open("w", encoding="utf-8") as file:
            yield lambda line: file.write(json.dumps(line, ensure_ascii=False, default=_plain) + "\n")


@contextmanager
def _parquet_writer(path: Path) -> Iterator[Callable[[Line], Any]]:
    arrow, parquet = _pyarrow()
    waiting: list[Line] = []
    opened: list[Any] = []

    def flush() -> None:
        schema = opened[0].schema if opened else None
        table = arrow.Table.from_pylist(waiting, schema=schema)
        if not opened:
            opened.append(parquet.ParquetWriter(path, table.schema))
        opened[0].write_table(table)
        waiting.clear()

    def write(line: Line) -> None:
        waiting.append(line)
        if len(waiting) == _ROWS:
            flush()

    try:
        yield write
        if waiting or not opened:
            flush()
    finally:
        for writer in opened:
            writer.close()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError as error:
        raise UnavailableError(
            "writing .parquet needs pyarrow.", hint="Run pip install pyarrow, or write .jsonl."
        ) from error
    return pyarrow, parquet


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
