"""`[train]`: how the trainable parameters are found."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from adaptkit.recipe.table import Table


class Optimizer(Table):
    """Any optimizer of torch.optim; further keys are its own arguments."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(
        default="adamw", min_length=1, description='Class of torch.optim in lower case: "adamw", "sgd", ...'
    )
    lr: float = Field(default=1e-3, gt=0, description="Learning rate.")
    weight_decay: float = Field(default=0.0, ge=0, description="Weight decay; norms and biases are not decayed.")

    @property
    def options(self) -> dict[str, Any]:
        """The optimizer's own arguments that the recipe gives besides lr and weight_decay."""
        return dict(self.model_extra or {})


class Schedule(Table):
    """How the learning rate moves."""

    name: Literal["constant", "linear", "cosine", "plateau"] = Field(
        default="constant", description="Its course after the warm-up."
    )
    warmup: float = Field(default=0, ge=0, description="Steps of linear warm-up; below 1: share of all steps.")
    factor: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        examples=[0.5],
        description='"plateau": the learning rate is multiplied by it. Default there: 0.5.',
    )
    patience: int | None = Field(
        default=None,
        ge=0,
        examples=[2],
        description='"plateau": epochs without gain that are waited. Default there: 2.',
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_plateau(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("name") == "plateau":
            return {"factor": 0.5, "patience": 2} | data
        return data


class EarlyStopping(Table):
    """Stops when the monitored metric no longer gets better."""

    patience: int = Field(ge=1, examples=[3], description="Epochs without gain after which training ends.")
    min_delta: float = Field(default=0.0, ge=0, description="Smallest change that counts as a gain.")


class Train(Table):
    """How to train."""

    epochs: int = Field(default=3, ge=1, description="Passes over the training split.")
    max_steps: int | None = Field(
        default=None, ge=1, examples=[1000], description="Ends training after this many optimizer steps."
    )
    batch_size: int = Field(default=32, ge=1, description="Samples per forward pass in training.")
    eval_batch_size: int | None = Field(
        default=None,
        ge=1,
        examples=[256],
        description="Samples per forward pass in evaluation. Default: batch_size.",
    )
    optimizer: Optimizer = Field(default=Optimizer(), description="The optimizer.")
    schedule: Schedule = Field(default=Schedule(), description="The learning rate's course.")
    accumulation: int = Field(default=1, ge=1, description="Forward passes whose gradients make one optimizer step.")
    clip: float | None = Field(
        default=None, gt=0, examples=[1.0], description="Largest norm of the gradient. Default: no clipping."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="Number format of the computation.")
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute activations in the backward pass to save memory."
    )
    early_stopping: EarlyStopping | None = Field(
        default=None, examples=[{"patience": 3}], description="When to stop before the last epoch."
    )
    seeds: list[int] = Field(default=[0], min_length=1, description="One run per seed; reported as mean and deviation.")
    workers: int = Field(default=0, ge=0, description="Processes that prepare batches; 0: in the main process.")
    tensorboard: bool = Field(
        default=False, description='Short for track = ["tensorboard"]: write TensorBoard files (extra: tensorboard).'
    )
    track: list[str] = Field(
        default=[],
        examples=[["tensorboard", "wandb"]],
        description='Trackers of accelerate that get every number: "tensorboard", "wandb", "mlflow", "trackio", ... '
        "Each needs its package.",
    )
    log_every: int = Field(default=10, ge=1, description="Steps between two lines of metrics.jsonl.")
