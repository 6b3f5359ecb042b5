"""What one training step costs, counted on the meta device: no weight is read and nothing is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry
from torch.utils.hooks import RemovableHandle

from adaptkit.anatomy.model_input import is_own
from adaptkit.anatomy.trace.fake_floats import FakeFloatMode
from adaptkit.formats.load import conversation_of
from adaptkit.modalities.encoder import Encoder
from adaptkit.modalities.text.encoder import TextEncoder
from adaptkit.model import AdaptedModel, build_model
from adaptkit.model.optimizers import states_per_parameter
from adaptkit.model.towers import path_of
from adaptkit.plan import Plan
from adaptkit.plan.frontier import Frontier
from adaptkit.recipe import Recipe

# B batch, T tokens

UNBOUNDED = 128  # tokens that are counted of a sequence that nothing bounds


@dataclass(frozen=True, slots=True)
class Flops:
    """Floating-point operations of one batch (a multiply-add counts as two); matrix products and attention only.

    Those of the frozen part are the same in every epoch, and spared where what it gives is kept.
    """

    forward: int
    step: int
    frozen: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one training step.

    Activations are what backward needs, with attention computed in full; fused kernels keep less of it.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True, slots=True)
class Cost:
    """What one training step of a plan costs, at its batch size and its longest inputs.

    Attributes:
        batch_size: B.
        tasks: those that have targets in the batch: all, or where the data has several sources those of one.
        tokens: modality -> T that was counted.
        flops: operations.
        memory: bytes.
    """

    batch_size: int
    tasks: tuple[str, ...]
    tokens: Mapping[str, int]
    flops: Flops
    memory: Memory

    def as_dict(self) -> dict[str, Any]:
        """The keys `flops`, `memory`, `batch_size`, `batch_tasks` and `tokens` of `adaptkit plan --json`."""
        return {
            "batch_size": self.batch_size,
            "batch_tasks": list(self.tasks),
            "tokens": dict(self.tokens),
            "flops": asdict(self.flops),
            "memory": {**asdict(self.memory), "total": self.memory.total},
        }


def cost(plan: Plan) -> Cost:
    """Run one training step of the adapted model on the meta device and count; where batches are of several sources,
    that of the batch that takes most memory."""
    model, mode = build_model(plan, weights=False), CountingMode()
    if plan.recipe.train.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    model.train()
    # A module of one's own may make tensors without saying on which device.
    own = any(is_own(part) for part in (model.backbone, *model.towers.values()))
    with torch.device("meta") if own else nullcontext():
        found = [count(model, tasks, mode) for tasks in batches(plan.recipe)]
    return max(found, key=lambda each: each.memory.total)


def batches(recipe: Recipe) -> list[tuple[str, ...]]:
    """The tasks that meet in a batch, for every sort of batch there is, without those that are smaller all round."""
    sources = recipe.data.sources_of_tasks(recipe.task)
    meeting: dict[tuple[str, ...], tuple[str, ...]] = {}
    for name in recipe.task:
        meeting[sources.get(name, ())] = (*meeting.get(sources.get(name, ()), ()), name)
    sizes = {
        tasks: (recipe.batch_size(tasks), recipe.task[tasks[0]].answer_tokens)
        for tasks in meeting.values()
        if len(tasks) == 1 and recipe.task[tasks[0]].generates  # others are not to be compared by two numbers
    }
    largest = {size: tasks for tasks, size in sizes.items() if not any(_within(size, o) for o in sizes.values())}
    return [tasks for tasks in meeting.values() if tasks not in sizes or tasks in largest.values()] or [()]


def _within(size: tuple[int, int], other: tuple[int, int]) -> bool:
    return size != other and size[0] <= other[0] and size[1] <= other[1]


def count(model: AdaptedModel, tasks: tuple[str, ...], mode: CountingMode) -> Cost:
    """One step with a batch in which these tasks have targets."""
    recipe, saved, before = model.plan.recipe, SavedTensors(model.parameters()), mode.flops
    size = recipe.batch_size(tasks)
    batch = {name: dummy(encoder, size) for name, encoder in model.named_encoders()}
    with mode:
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack), Below(model, mode) as below:
            logits = model(batch, targets=longest_targets(model.plan, tasks, size), tasks=tasks)
        forward = mode.flops - before
        losses = [value.sum() for value in logits.values() if value.requires_grad]
        if losses:
            torch.stack(losses).sum().backward()
        step = mode.flops - before
    model.zero_grad()
    trainable = sum(nbytes(p) for p in model.parameters() if p.requires_grad)
    memory = Memory(
        weights=sum(map(nbytes, model.parameters())),
        gradients=trainable,
        optimizer=round(trainable * states_per_parameter(recipe)),
        activations=saved.bytes,
    )
    counted = {name: tokens_of(encoder, batch[name]) for name, encoder in model.named_encoders()}
    tokens = {name: count for name, count in counted.items() if count is not None}
    return Cost(size, tasks, tokens, Flops(forward, step, below.flops), memory)


class Below:
    """Counts what runs below the frontiers of a model, while it is entered.

    Args:
        model: adapted, on the meta device.
        mode: that counts.
    """

    def __init__(self, model: AdaptedModel, mode: CountingMode) -> None:
        self.mode, self.flops, self._depth, self._began = mode, 0, 0, 0
        self._parts = [part for each in model.plan.frontiers.values() for part in frozen_modules(model, each)]
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for part in self._parts:
            for module in part.modules():  # some are called by methods of their own, whose parts are modules again
                self._hooks += [
                    module.register_forward_pre_hook(self._enter),
                    module.register_forward_hook(self._leave),
                ]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enter(self, *call: Any) -> None:
        if self._depth == 0:
            self._began = self.mode.flops
        self._depth += 1

    def _leave(self, *call: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.flops += self.mode.flops - self._began


def frozen_modules(model: AdaptedModel, frontier: Frontier) -> list[nn.Module]:
    """What need not run."""
    part = model.get_submodule(path_of(frontier.model))
    return [part] if frontier.whole else [part.get_submodule(path) for path in frontier.blocks[: frontier.first]]


def longest_targets(plan: Plan, tasks: Sequence[str], size: int) -> dict[str, dict[str, Tensor]]:
    """Encoded targets of those of the tasks that generate, as long as they can be, on the meta device."""
    said, found = conversation_of(plan.recipe), {}
    whole = None if said is None else plan.limits[said] or UNBOUNDED
    for name in (name for name in tasks if plan.recipe.task[name].generates):
        tokens = whole or plan.recipe.task[name].answer_tokens
        labels = torch.zeros(size, tokens, dtype=torch.long, device="meta")
        found[name] = {"labels": labels} if whole is None else {"labels": labels[:, 1:], "ids": labels}
    return found


class CountingMode(FakeFloatMode):
    """Forward and backward on the meta device, with the operations of matrix products, convolutions and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


class SavedTensors:
    """Counts what autograd keeps for backward, each storage once, weights not."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.bytes = 0
        self.kept: dict[int, Tensor] = {}
        self.weights = {weight.untyped_storage()._cdata for weight in weights}

    def pack(self, tensor: Tensor) -> Tensor:
        key = tensor.untyped_storage()._cdata
        if key not in self.weights and key not in self.kept:
            self.kept[key] = tensor  # held, so that no later storage can take the same address
            self.bytes += tensor.untyped_storage().nbytes()
        return tensor

    def unpack(self, tensor: Tensor) -> Tensor:
        return tensor


def dummy(encoder: Encoder, batch: int, most: int | None = None) -> dict[str, Tensor]:
    """A collated batch of this modality on the meta device, every sample present and as long as it can be.

    Args:
        encoder: of the modality.
        batch: samples.
        most: they are no longer than this, in the encoder's unit.
    """
    longest = min(length for length in (encoder.longest or UNBOUNDED, most) if length is not None)
    with torch.device("meta"):
        if isinstance(encoder, TextEncoder):
            ids = torch.zeros(batch, longest, dtype=torch.long)
            present = torch.ones(batch, dtype=torch.bool)
            return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "present": present}
    blank = encoder.collate([None], [""])  # one, on the CPU; an absent sample is as short as it can be
    lasts = "mask" in blank and not (encoder.tower is not None and encoder.tower.has_fixed_frames)
    return {
        key: torch.ones(
            (batch, longest, *tensor.shape[2:]) if lasts and tensor.dim() > 1 else (batch, *tensor.shape[1:]),
            dtype=tensor.dtype,
            device="meta",
        )
        for key, tensor in blank.items()
    }


def tokens_of(encoder: Encoder, batch: Mapping[str, Tensor]) -> int | None:
    """T of a batch of this modality, before pooling; None for an image."""
    steps = batch.get("mask", batch.get("input_ids"))
    if steps is None:
        return None
    return steps.shape[1] if encoder.tower is None else encoder.tower.heard(steps.shape[1])


def nbytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
