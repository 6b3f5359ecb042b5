"""From samples to predictions, in memory: what `model.predict` and `adaptkit predict` do with every batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, islice
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.data import Sample
from adaptkit.data.collate import Collator
from adaptkit.errors import UsageError
from adaptkit.formats.records import Record, read_records
from adaptkit.model.kept import Kept
from adaptkit.model.tasks import build_tasks
from adaptkit.plan import Plan
from adaptkit.tasks.targets import Speaker

# B samples of a batch, N samples of all batches, O outputs of a task

Prediction = dict[str, Any]

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Predicts(nn.Module):
    """The base of an adapted model: predictions for plain dicts."""

    plan: Plan
    encoders: nn.ModuleDict
    kept: dict[str, Kept]

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

    def generate(self, samples: Iterable[Record], *, batch_size: int | None = None, **decoding: Any) -> list[str]:
        """The texts that a model with one task, which generates, answers to these samples.

            model.generate([{"question": "how many dogs?", "image": "park.jpg"}], beams=4, max_new_tokens=20)

        Args:
            samples: as of `predict`, whose errors it has.
            batch_size: samples per forward; by default the recipe's.
            decoding: keys of `[task.NAME.decoding]` that are to be other than in the recipe.

        Raises:
            UsageError: the model does not generate, or a key of decoding that cannot be.
        """
        check_generates(self.plan)
        found = predictions(self, self._records(samples), batch_size=batch_size, decoding=decoding)
        return [prediction["text"] for prediction in found]

    def predict_iter(self, samples: Iterable[Record], *, batch_size: int | None = None) -> Iterator[Prediction]:
        """`predict`, lazily: reads one batch of samples when its first prediction is asked for.

        A collective task searches among all samples, so there the first prediction comes after the last sample.
        Arguments and errors are those of `predict`.
        """
        return predictions(self, self._records(samples), batch_size=batch_size)

    def _records(self, samples: Iterable[Record]) -> Iterator[Sample]:
        if isinstance(samples, str | Mapping) or not isinstance(samples, Iterable):
            raise UsageError(
                f"samples is one {type(samples).__name__}, not several dicts.",
                where="predict",
                hint="Write [sample] for one sample.",
            )
        return read_records(self.plan.recipe, map(_as_numpy, samples))


def check_generates(plan: Plan) -> None:
    """Raise UsageError where the only task of a plan is not one that generates."""
    if [task.generates for task in plan.recipe.task.values()] != [True]:
        raise UsageError(
            "generating is for models whose one task generates text.", where="generate", hint="Write model.predict."
        )


def predictions(
    model: Predicts,
    samples: Iterable[Sample],
    *,
    batch_size: int | None = None,
    drop: Collection[str] = (),
    decoding: Mapping[str, Any] = MappingProxyType({}),
    write: Callable[[str], None] | None = None,
) -> Iterator[Prediction]:
    """The predictions of a model, lazily.

    Args:
        model: with its plan and encoders.
        samples: in order; read a batch at a time.
        batch_size: samples per forward; by default the recipe's.
        drop: modalities to leave out.
        decoding: keys of `decoding` that are to be other than in the recipe, of tasks that generate.
        write: gets the texts piece by piece while they are generated, a sample at a time.

    Raises as `predict_iter`.
    """
    train = model.plan.recipe.train
    size = (train.eval_batch_size or train.batch_size) if batch_size is None else batch_size
    if size < 1:
        raise UsageError(f"the batch size is {size}.", where="predict", hint="Write 1 or more.")
    if next(model.parameters()).is_meta:
        raise UsageError("the model was built without weights.", where="predict", hint="Write build_model(plan).")
    tasks = build_tasks(model.plan, None, decoding)
    speakers = {name: task.speaker for name, task in tasks.items() if task.speaker is not None}
    heads = len(speakers) < len(tasks)
    if write is not None:
        size = 1
    streamers = {name: None if write is None else speaker.streamer(write) for name, speaker in speakers.items()}
    collate = Collator(model.encoders, {}, model.plan.recipe.data.drop, kept=model.kept.values())  # type: ignore[arg-type]
    together = any(task.collective for task in tasks.values())

    def lines() -> Iterator[Prediction]:
        rest, ids, outcomes = iter(samples), [], {name: task.outcome() for name, task in tasks.items()}
        for number in count():
            chunk = list(islice(rest, size))
            if chunk:
                batch = collate(chunk)
                ids += batch["ids"]
                for name, values in (infer(model, batch["inputs"], train.precision, drop) if heads else {}).items():
                    outcomes[name].add(values, None)
                for name, speaker in speakers.items():
                    how = {"number": number, "streamer": streamers[name]}
                    inputs = batch["inputs"] if len(speakers) == 1 else collate(chunk, name)["inputs"]
                    outcomes[name].answer(answers_of(model, speaker, inputs, train.precision, drop, **how), None)
            if ids and not (together and chunk):
                yield from prediction_lines(ids, {name: outcome.decode(ids) for name, outcome in outcomes.items()})
                ids, outcomes = [], {name: task.outcome() for name, task in tasks.items()}
            if not chunk:
                return

    return lines()


def prediction_lines(ids: Sequence[str], decoded: Mapping[str, Sequence[Prediction]]) -> Iterator[Prediction]:
    """One per sample; what a task predicts stands directly in it if there is only one task.

    Args:
        ids: of the samples.
        decoded: task -> what it says of every sample.
    """
    for index, name in enumerate(ids):
        found = {task: values[index] for task, values in decoded.items()}
        yield {"id": name, **(next(iter(found.values())) if len(found) == 1 else found)}


def infer(
    model: nn.Module,
    inputs: Mapping[str, Any],
    precision: str,
    drop: Collection[str] = (),
    targets: Mapping[str, Any] = MappingProxyType({}),
    *,
    only: Collection[str] = (),
) -> dict[str, Tensor]:
    """Task -> (B, O) float32 logits of a batch: in evaluation mode, without gradients, where the model is.

    Args:
        model: `model(inputs, drop=...)` gives task -> (B, O).
        inputs: modality -> collated tensors.
        precision: as in training ("fp32", "bf16", "fp16").
        drop: modalities to leave out.
        targets: task -> encoded targets, of tasks that generate: without them there are no logits of theirs.
        only: the tasks that are asked for; none: all.
    """
    device = next(model.parameters()).device
    given: dict[str, Any] = {"targets": on_device(targets, device)} if targets else {}
    given |= {"tasks": only} if only else {}
    with evaluating(model), torch.no_grad(), autocast(device, precision):
        logits = model(on_device(inputs, device), drop=drop, **given)
    return {name: value.float() for name, value in logits.items()}


def answers_of(
    model: nn.Module,
    speaker: Speaker,
    inputs: Mapping[str, Any],
    precision: str,
    drop: Collection[str] = (),
    *,
    number: int = 0,
    streamer: Any = None,
) -> Any:
    """What a task that generates has as answers to a batch, under the conditions of `infer`.

    Args:
        number: of the batch; what is drawn depends on it and on the seed of the decoding, and on nothing else.
        streamer: gets the ids as they come.
    """
    device = next(model.parameters()).device
    with evaluating(model), torch.no_grad(), autocast(device, precision), torch.random.fork_rng(devices=_cards(device)):
        torch.manual_seed(speaker.seed + number)
        return speaker.answers(model, on_device(inputs, device), drop=drop, streamer=streamer)


def _cards(device: torch.device) -> list[torch.device]:
    return [] if device.type == "cpu" else [device]


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


def on_device(inputs: Any, device: torch.device) -> Any:
    """Nested tables of tensors where a model is; what is no tensor stays."""
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    return {name: on_device(value, device) for name, value in inputs.items()} if isinstance(inputs, Mapping) else inputs


def _as_numpy(record: Any) -> Any:
    """A sample whose tensors are arrays, which every encoder reads; what is none is refused by `read_records`."""
    if not isinstance(record, Mapping):
        return record
    return {name: _array(value) if isinstance(value, Tensor) else value for name, value in record.items()}


def _array(tensor: Tensor) -> Any:
    plain = tensor.detach().cpu()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()  # numpy has no bfloat16
