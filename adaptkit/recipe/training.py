"""`[train]`: how the trainable parameters are found."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from annotated_types import Interval
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from adaptkit.errors import nearest
from adaptkit.kinds import OPTIMIZERS, SAMPLERS, SCHEDULES, Count, NotNegative, Positive, Seed, Steps
from adaptkit.kinds.kind import is_of
from adaptkit.kinds.words import in_toml, in_words
from adaptkit.recipe.adapter import own_keys
from adaptkit.recipe.kinded import OfKind
from adaptkit.recipe.optimizers import optimizer_keywords, optimizer_names
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Table, Written, WrittenRecipe

CHECKPOINTS_EXAMPLE = '"10 min", "30 s", "2 h", "500 steps" or "epoch"'
_CHECKPOINTS = r"(\d+(?:\.\d+)?) ?(s|min|h|steps?)"
_SECONDS = {"s": 1, "min": 60, "h": 3600}


def _checkpoints(value: Any) -> Any:
    found = re.fullmatch(_CHECKPOINTS, value) if isinstance(value, str) else None
    whole = found is not None and (found[2] in _SECONDS or "." not in found[1])
    if value == "epoch" or (found is not None and whole and float(found[1]) > 0):
        return value
    raise PydanticCustomError("checkpoints", f"should be {CHECKPOINTS_EXAMPLE}")


class OptimizerSpec(Table):
    """Any optimizer of torch.optim, or a registered one; further keys are its own arguments."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(
        default="adamw", min_length=1, description='Class of torch.optim in lower case: "adamw", "sgd", ...'
    )
    lr: Positive = Field(default=1e-3, description="Learning rate.")
    weight_decay: NotNegative = Field(default=0.0, description="Weight decay; norms and biases are not decayed.")

    @property
    def options(self) -> dict[str, Any]:
        """The optimizer's own arguments that the recipe gives besides lr and weight_decay."""
        return {**own_keys(self, OptimizerSpec), **(self.model_extra or {})}

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        if cls is not OptimizerSpec:  # a registered one, whose keys are known
            return
        name = str(table["name"]).lower()
        keywords, known = optimizer_keywords(name), [*optimizer_names(), *OPTIMIZERS.kinds]
        if not keywords:
            if optimizer_names():
                hint = nearest(name, known)
                yield Finding((*path, "name"), f"torch.optim has no {in_toml(name)} that fits.", hint)
            return
        for key, value in table.raw.items():
            ignorable = key == "name" or (key == "weight_decay" and value == 0)
            if key not in keywords and not ignorable:
                yield Finding((*path, key), f"{name} has no such keyword.", nearest(key, keywords))
            elif key in keywords and key not in cls.model_fields and not is_of(keywords[key], value):
                yield Finding((*path, key), f"should be {in_words(keywords[key], bounds=True)}, not {in_toml(value)}.")


class ScheduleSpec(Table):
    """How the learning rate moves."""

    name: str = Field(default="constant", description="Its course after the warm-up.")
    warmup: Annotated[float, Interval(ge=0, le=1e9)] = Field(
        default=0, description="Steps of linear warm-up; below 1: share of all steps."
    )

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of its function."""
        return own_keys(self, ScheduleSpec)


class SamplerSpec(Table):
    """In which order an epoch goes through the training split."""

    name: str = Field(default="shuffle", description="Which order.")

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of its function."""
        return own_keys(self, SamplerSpec)


class EarlyStopping(Table):
    """Stops when the monitored metric no longer gets better."""

    patience: Steps = Field(examples=[3], description="Epochs without gain after which training ends.")
    min_delta: NotNegative = Field(default=0.0, description="Smallest change that counts as a gain.")


class Train(Table):
    """How to train."""

    epochs: Steps = Field(default=3, description="Passes over the training split.")
    max_steps: Steps | None = Field(
        default=None, examples=[1000], description="Ends training after this many optimizer steps."
    )
    batch_size: Count = Field(default=32, description="Samples per forward pass in training.")
    eval_batch_size: Count | None = Field(
        default=None,
        examples=[256],
        description="Samples per forward pass in evaluation. Default: batch_size.",
    )
    optimizer: Annotated[OptimizerSpec, OfKind(OPTIMIZERS, "name", open=True)] = Field(
        default=OptimizerSpec(), description="The optimizer."
    )
    schedule: Annotated[ScheduleSpec, OfKind(SCHEDULES, "name")] = Field(
        default=ScheduleSpec(), description="The learning rate's course."
    )
    sampler: Annotated[SamplerSpec, OfKind(SAMPLERS, "name", short=True)] = Field(
        default=SamplerSpec(), description="The order of the training split in an epoch."
    )
    accumulation: Steps = Field(default=1, description="Forward passes whose gradients make one optimizer step.")
    clip: Positive | None = Field(
        default=None, examples=[1.0], description="Largest norm of the gradient. Default: no clipping."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="Number format of the computation.")
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute activations in the backward pass to save memory."
    )
    early_stopping: EarlyStopping | None = Field(
        default=None, examples=[{"patience": 3}], description="When to stop before the last epoch."
    )
    checkpoint_every: Annotated[
        str, BeforeValidator(_checkpoints), WithJsonSchema({"type": "string", "pattern": f"^({_CHECKPOINTS}|epoch)$"})
    ] = Field(
        default="10 min",
        description=f"How much a kill can cost: {CHECKPOINTS_EXAMPLE}. Every epoch ends with a checkpoint anyway.",
    )
    seeds: list[Seed] = Field(
        default=[0], min_length=1, description="One run per seed; reported as mean and deviation."
    )
    workers: Annotated[int, Interval(ge=0, le=1024)] = Field(
        default=0, description="Processes that prepare batches, in training and evaluation; 0: in the main process."
    )
    tensorboard: bool = Field(
        default=False, description='Short for track = ["tensorboard"]: write TensorBoard files (extra: tensorboard).'
    )
    track: list[str] = Field(
        default=[],
        examples=[["tensorboard", "wandb"]],
        description='Trackers of accelerate that get every number: "tensorboard", "wandb", "mlflow", "trackio", ... '
        "Each needs its package.",
    )
    log_every: Steps = Field(default=10, description="Steps between two lines of metrics.jsonl.")

    @property
    def checkpoint_interval(self) -> tuple[float, float]:
        """Optimizer steps and seconds after which a checkpoint is due; the one that does not count is infinite."""
        if self.checkpoint_every == "epoch":
            return math.inf, math.inf
        found = re.fullmatch(_CHECKPOINTS, self.checkpoint_every)
        assert found is not None, "the validator has seen it"
        amount = float(found[1])
        return (math.inf, amount * _SECONDS[found[2]]) if found[2] in _SECONDS else (amount, math.inf)

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        seeds = table["seeds"] if isinstance(table["seeds"], list) else []
        for seed in sorted({seed for seed in seeds if type(seed) is int and seeds.count(seed) > 1}):
            message = f"{seed} is named twice: one run would count twice in mean and deviation."
            yield Finding((*path, "seeds"), message, "Write every seed once.")
