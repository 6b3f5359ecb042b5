"""`adaptkit predict`: outputs for samples without targets, one line each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TextIO

import torch

from adaptkit.artifact.load import load_artifact
from adaptkit.data.sample import Samples
from adaptkit.evaluation.evaluating import best_device, check_drop
from adaptkit.evaluation.measure import Measured
from adaptkit.evaluation.prediction_files import Write, check_output, to_line, written
from adaptkit.formats.input_files import checked_suffix, load_samples, stream_samples
from adaptkit.model.frozen import use_kept
from adaptkit.model.inference import Prediction, check_generates, prediction_lines, predictions
from adaptkit.tasks.task import Task


def predict(
    source: str | Path,
    input: str | Path | Iterable[bytes],
    output: str | Path | TextIO | None,
    *,
    drop: Collection[str] = (),
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    base: Path | None = None,
    force: bool = False,
    write: Callable[[str], None] | None = None,
) -> int:
    """Predict every sample of a file or a stream. For samples in memory there is `AdaptedModel.predict`.

    A prediction has the sample's `id` and what its task decodes, such as `label` and `probabilities`; with several
    tasks, these under each task's name. A task that searches does so among all samples of the input. Samples are read
    and predictions written batch by batch, so that neither needs to fit in memory.

    Args:
        source: a run or artifact folder.
        input: .jsonl, .csv, .tsv or .parquet with the columns of the recipe's modalities; paths in it start from its
            folder. Or lines of JSON, such as `sys.stdin.buffer`; paths in them start from the current folder.
        output: .jsonl, .csv, .tsv or .parquet; complete or not there at all. Or an open text file, such as
            `sys.stdout`, that gets lines of JSON as soon as they are known. Or None, where `write` gets the texts.
        drop: modalities to leave out.
        batch_size: samples per forward; by default the recipe's.
        device: by default the accelerator, if there is one.
        base: folder that relative paths of the recipe start from; see `load_artifact`.
        force: replace the output if it exists.
        write: gets the texts that are generated, piece by piece, one sample at a time.

    Returns:
        The number of predictions.

    Raises:
        UsageError: the output exists, input or output is of another kind; an unknown modality; a batch size below 1.
        DataError: the input is not there or lacks a column, or a value does not fit.
        ArtifactError: see `load_artifact`.
    """
    if isinstance(input, str | Path):
        checked_suffix(Path(input))
    opened = _opened(output, force)
    model = load_artifact(source, device=device or best_device(), base=base)
    use_kept(model)
    recipe = model.plan.recipe
    if isinstance(input, str | Path):
        samples = load_samples(recipe, Path(input))
    else:
        samples = stream_samples(recipe, input, str(getattr(input, "name", "<lines>")))
    if write is not None:
        check_generates(model.plan)
    found = predictions(model, samples, batch_size=batch_size, drop=check_drop(model.plan, drop), write=write)
    count = 0
    with opened as put:
        for prediction in found:
            put(prediction)
            count += 1
    return count


def write_predictions(
    path: Path,
    tasks: Mapping[str, Task],
    parts: Sequence[Measured],
    samples: Samples,
) -> None:
    """The predictions of a split as .jsonl, each with the raw `target` beside it, and its task where sources differ.

    Args:
        path: of the file.
        tasks: name -> task.
        parts: what every source of the split gave.
        samples: the split.
    """
    with written(path) as write:
        for part in parts:
            rows = zip(*(samples.targets(name) for name in part.outcomes), strict=True)
            targets = [dict(zip(part.outcomes, row, strict=True)) for row in rows]
            decoded = {}
            for name, outcome in part.outcomes.items():  # those that search find targets
                items = [str(target[name]) for target in targets] if tasks[name].collective else part.ids
                decoded[name] = outcome.decode(items)
            of = {"task": next(iter(decoded))} if len(decoded) == 1 < len(tasks) else {}
            for line, target in zip(prediction_lines(part.ids, decoded), targets, strict=True):
                write({**line, **of, "target": next(iter(target.values())) if len(target) == 1 else dict(target)})


def _opened(output: str | Path | TextIO | None, force: bool) -> AbstractContextManager[Write]:
    """Checked now, opened when it is entered; None: nowhere."""
    if output is None:
        return nullcontext(lambda prediction: None)
    if not isinstance(output, str | Path):
        return _lines(output)
    check_output(Path(output), force)
    return written(Path(output))


@contextmanager
def _lines(stream: TextIO) -> Iterator[Write]:
    def write(prediction: Prediction) -> None:
        stream.write(to_line(prediction))
        stream.flush()  # whoever reads them waits for each

    yield write
