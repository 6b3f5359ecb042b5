"""From samples to predictions, in memory: what `model.predict` and `adaptkit predict` do with every batch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.data import DataSet, Sample
from adaptkit.data.collate import Collator
from adaptkit.errors import UsageError
from adaptkit.formats.records import Record, read_records
from adaptkit.plan import Plan
from adaptkit.tasks.task import Task

# B samples of a batch, N samples of all batches, O outputs of a task

Prediction = dict[str, Any]

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Predicts(nn.Module):
    """The base of an adapted model: predictions for plain dicts."""

    plan: Plan
    encoders: nn.ModuleDict

    def predict(self, samples: Iterable[Record], *, batch_size: int | None = None) -> list[Prediction]:
        """What `adaptkit predict` writes for these samples, one dict each.

        Always a list; `predict_iter` is the same for what does not fit in memory. The model predicts where it is, in
        evaluation mode, without gradients, in the recipe's `train.precision`; afterwards its modes are what they were.

            model = ak.load_artifact("films-adapter")
            model.predict([{"plot": "A shark.", "poster": vector}, {"plot": "A wedding.", "poster": None}])

        Args:
            samples: column (or modality) -> raw value: a text, a path, an image of Pillow, an array, a tensor, a list
                of numbers, the bytes of an image or of a sound. Relative paths start from the current folder. A
                missing key or None is an absent modality, which `missing` treats. `id` names the sample in its
                prediction and in errors; by default its index. Columns of targets are ignored.
            batch_size: samples per forward; by default the recipe's.

        Raises:
            DataError: naming the sample: an unknown key, a modality given twice, a value that does not fit, an absent
                modality that is needed.
            UsageError: one dict instead of several; a batch size below 1; a model without weights.
            RecipeError: the plan has no labels for a task that needs them.
        """
        return list(self.predict_iter(samples, batch_size=batch_size))

    def predict_iter(self, samples: Iterable[Record], *, batch_size: int | None = None) -> Iterator[Prediction]:
        """`predict`, lazily: reads one batch of samples when its first prediction is asked for.

        A collective task searches among all samples, so there the first prediction comes after the last sample.
        Arguments and errors are those of `predict`.
        """
        if isinstance(samples, str | Mapping) or not isinstance(samples, Iterable):
            raise UsageError(
                f"samples is one {type(samples).__name__}, not several dicts.",
                where="predict",
                hint="Write [sample] for one sample.",
            )
        return predictions(self, read_records(self.plan.recipe, map(_as_numpy, samples)), batch_size=batch_size)


def predictions(
    model: Predicts, samples: Iterable[Sample], *, batch_size: int | None = None, drop: Collection[str] = ()
) -> Iterator[Prediction]:
    """The predictions of a model, lazily.

    Args:
        model: with its plan and encoders.
        samples: in order; read a batch at a time.
        batch_size: samples per forward; by default the recipe's.
        drop: modalities to leave out.

    Raises:
        DataError: while iterating, naming the sample.
        UsageError: a batch size below 1; a model without weights.
        RecipeError: the plan has no labels for a task that needs them.
    """
    train = model.plan.recipe.train
    size = (train.eval_batch_size or train.batch_size) if batch_size is None else batch_size
    if size < 1:
        raise UsageError(f"the batch size is {size}.", where="predict", hint="Write 1 or more.")
    if next(model.parameters()).is_meta:
        raise UsageError("the model was built without weights.", where="predict", hint="Write build_model(plan).")
    tasks = build_tasks(model.plan, None)
    collate = Collator(model.encoders, {}, model.plan.recipe.data.drop)  # type: ignore[arg-type]

    def batches() -> Iterator[tuple[list[str], dict[str, Tensor]]]:
        rest = iter(samples)
        while chunk := list(islice(rest, size)):
            batch = collate(chunk)
            yield batch["ids"], infer(model, batch["inputs"], train.precision, drop)

    def lines() -> Iterator[Prediction]:
        together = any(task.collective for task in tasks.values())
        for ids, logits in _joined(batches()) if together else batches():
            yield from prediction_lines(tasks, ids, logits)

    return lines()


def prediction_lines(
    tasks: Mapping[str, Task],
    ids: Sequence[str],
    logits: Mapping[str, Tensor],
    targets: Sequence[Mapping[str, Any]] | None = None,
) -> Iterator[Prediction]:
    """One per sample; what a task predicts stands directly in it if there is only one task.

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


def infer(model: nn.Module, inputs: Mapping[str, Any], precision: str, drop: Collection[str] = ()) -> dict[str, Tensor]:
    """Task -> (B, O) float32 logits of a batch: in evaluation mode, without gradients, where the model is.

    Args:
        model: `model(inputs, drop=...)` gives task -> (B, O).
        inputs: modality -> collated tensors.
        precision: as in training ("fp32", "bf16", "fp16").
        drop: modalities to leave out.
    """
    device = next(model.parameters()).device
    with evaluating(model), torch.no_grad(), autocast(device, precision):
        logits = model(_on(inputs, device), drop=drop)
    return {name: value.float() for name, value in logits.items()}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every module has the mode it had."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The computation type of the recipe's `train.precision` (fp16 runs as bf16 off a GPU)."""
    dtype = _AUTOCAST.get(precision, torch.bfloat16)
    if device.type == "cpu":
        dtype = torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision in _AUTOCAST)


def build_tasks(plan: Plan, data: DataSet | None) -> dict[str, Task]:
    """The tasks of a plan with its labels; without data, losses have no weights by frequency.

    Raises:
        UsageError: there is none.
    """
    if not plan.recipe.task:
        raise UsageError(
            f"{plan.recipe.name} has no task: it is an adapter without a head.",
            hint='Name it in a recipe, init_from = "FOLDER", and train that; or merge or export it.',
        )
    tasks = {}
    for name, spec in plan.recipe.task.items():
        labels = plan.labels.get(name)
        known = spec.model_copy(update={"labels": list(labels)}) if labels else spec
        targets = None if data is None else data.targets("train", name)
        tasks[name] = Task.build(known, name, targets)
    return tasks


def _joined(batches: Iterable[tuple[list[str], dict[str, Tensor]]]) -> Iterator[tuple[list[str], dict[str, Tensor]]]:
    """All batches as one, in the memory of the CPU; nothing of none."""
    every = [(ids, {name: value.cpu() for name, value in logits.items()}) for ids, logits in batches]
    if every:
        together = {name: torch.cat([logits[name] for _, logits in every]) for name in every[0][1]}
        yield [name for ids, _ in every for name in ids], together


def _on(inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    return {name: _on(value, device) for name, value in inputs.items()}


def _as_numpy(record: Any) -> Any:
    """A sample whose tensors are arrays, which every encoder reads."""
    if not isinstance(record, Mapping):
        return record  # refused with its place by `read_records`
    return {name: _array(value) if isinstance(value, Tensor) else value for name, value in record.items()}


def _array(tensor: Tensor) -> Any:
    plain = tensor.detach().cpu()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()  # numpy has no bfloat16
