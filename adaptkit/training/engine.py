"""One optimizer step: precision, accumulation, clipping, and checks that keep a bad step from being made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from adaptkit.errors import Diverged, OutOfMemory, UnavailableError
from adaptkit.recipe import Train
from adaptkit.surgery import adapters_of
from adaptkit.tasks import Task
from adaptkit.training.chance import random_state, restore_random_state
from adaptkit.training.checkpoint import LOWER_RATE
from adaptkit.training.optimisation import Schedule, build_optimizer

_MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def build_accelerator(precision: str) -> Accelerator:
    """Accelerate's view of the machine for this precision.

    Raises:
        UnavailableError: fp16 without a GPU, or several processes.
    """
    # Accelerate keeps the precision for the whole process; a second training may want another one.
    AcceleratorState._reset_state()
    try:
        accelerator = Accelerator(mixed_precision=_MIXED[precision])
    except ValueError as error:
        raise UnavailableError(f'train.precision = "{precision}" does not work here: {error}') from error
    if precision == "fp16" and accelerator.device.type == "cpu":
        raise UnavailableError('train.precision = "fp16" needs a GPU.', hint='Use "bf16" or "fp32" on the CPU.')
    if accelerator.num_processes > 1:
        raise UnavailableError("training runs in one process.", hint="Start it without `accelerate launch`.")
    return accelerator


class Engine:
    """Turns a group of batches into one optimizer step.

    Args:
        model: the adapted model; what requires a gradient is trained.
        tasks: name -> task, for the losses and their weights.
        spec: the recipe's [train] table.
        total: optimizer steps of the whole training, for the schedule.
        accelerator: device, precision and scaler.
    """

    def __init__(
        self,
        model: nn.Module,
        tasks: Mapping[str, Task],
        spec: Train,
        total: int,
        accelerator: Accelerator,
    ) -> None:
        self.model = model.to(accelerator.device)
        self._tasks = tasks
        self._clip = spec.clip
        self._accelerator = accelerator
        optimizer = build_optimizer(
            model,
            name=spec.optimizer.name,
            lr=spec.optimizer.lr,
            weight_decay=spec.optimizer.weight_decay,
            options=spec.optimizer.options,
        )
        schedule = spec.schedule
        self.schedule = Schedule(
            optimizer,
            name=schedule.name,
            warmup=schedule.warmup,
            total=total,
            factor=schedule.factor,
            patience=schedule.patience,
        )
        prepared = accelerator.prepare_optimizer(optimizer)
        assert isinstance(prepared, AcceleratedOptimizer)
        self._optimizer = prepared
        self._trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.idle: tuple[str, ...] | None = None  # adapters without any gradient in the first step

    @property
    def device(self) -> torch.device:
        return self._accelerator.device

    def step(self, group: Sequence[dict[str, Any]]) -> float:
        """One optimizer step over the group; returns the mean loss of its samples.

        Every batch weighs by its number of samples, so a short last batch or a short last group counts right
        and accumulation equals one large batch (up to class weights, which normalise within a batch).

        Raises:
            Diverged: loss or gradient is not finite; the parameters are as before the step.
            OutOfMemory: the batch does not fit.
        """
        samples = sum(len(batch["ids"]) for batch in group)
        self.model.train()
        with memory_errors():
            losses = [self._backward(batch, len(batch["ids"]) / samples) for batch in group]
            loss = float(torch.stack(losses).sum())
            self._clip_and_check(loss)
            if self.idle is None:
                self.idle = tuple(idle_adapters(self.model))
            self._optimizer.step()
            if not self._optimizer.step_was_skipped:
                self.schedule.after_step()
            self._optimizer.zero_grad()
        return loss

    def _backward(self, batch: dict[str, Any], share: float) -> Tensor:
        batch = to_device(batch, self.device)
        with self._accelerator.autocast():
            logits = self.model(batch["inputs"])
        # Losses in float32: in half precision a sum over a batch loses digits.
        terms = [
            task.weight * task.loss(logits[name].float(), batch["targets"][name]) for name, task in self._tasks.items()
        ]
        loss = torch.stack(terms).sum() * share
        self._accelerator.backward(loss)
        return loss.detach()

    def _clip_and_check(self, loss: float) -> None:
        """Clip, and check before the step is made. A scaler skips steps with infinite gradients by itself."""
        scaled = self._accelerator.scaler is not None
        norm = torch.tensor(0.0)
        if self._clip is not None:
            clipped = self._accelerator.clip_grad_norm_(self._trained, self._clip)
            assert clipped is not None, "a single process always has a norm"
            norm = clipped
        elif not scaled:
            norm = nn.utils.get_total_norm(
                [parameter.grad for parameter in self._trained if parameter.grad is not None]
            )
        if not _is_finite(loss) or not (scaled or _is_finite(float(norm))):
            self._optimizer.zero_grad()
            what = "loss" if not _is_finite(loss) else "gradient"
            raise Diverged(f"the {what} is not finite any more (loss {loss}).", hint=LOWER_RATE)

    def state_dict(self) -> dict[str, Any]:
        """Optimizer, schedule, scaler and random generators."""
        scaler = self._accelerator.scaler
        return {
            "optimizer": self._optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "random": random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as the engine that gave this state would have."""
        self._optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        restore_random_state(state["random"])


def idle_adapters(model: nn.Module) -> Iterator[str]:
    """`NAME at PATH` of every adapter none of whose parameters got a gradient: its host did not run."""
    for path, module in model.named_modules():
        for name, adapter in adapters_of(module).items():
            trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
            if trained and all(parameter.grad is None for parameter in trained):
                yield f"{name} at {path}"


def to_device(value: Any, device: torch.device) -> Any:
    """The same nest of dicts with every tensor on the device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    return value


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn the ways of running out of memory into one error.

    Raises:
        OutOfMemory: with what to change.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
            text = str(error).lower()
            if "out of memory" not in text and "can't allocate memory" not in text:
                raise
        raise OutOfMemory(
            "the machine ran out of memory.",
            hint="Lower train.batch_size and raise train.accumulation by the same factor, "
            "or set train.gradient_checkpointing = true.",
        ) from error


def _is_finite(value: float) -> bool:
    return value - value == 0.0
