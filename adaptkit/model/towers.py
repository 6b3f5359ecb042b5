"""The models inside an adapted model, backbone and towers, where what holds for one holds for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from adaptkit import sides
from adaptkit.adapters.base import ADAPTERS
from adaptkit.errors import SiteError
from adaptkit.sides import Side
from adaptkit.surgery.graft import FUSION, Graft

# B batch, F frames of a video, T tokens, D width


def path_of(model: str) -> str:
    """Where the tower of a modality is in an adapted model; "" is the backbone."""
    return f"encoders.{model}.tower.model" if model else "backbone"


def host_of(graft: Graft) -> str:
    """Where the host of a graft is in an adapted model."""
    if graft.site.name == FUSION:
        return graft.site.path
    return ".".join(part for part in (path_of(graft.model), graft.site.path) if part)


def depends_on_task(graft: Graft) -> bool:
    """Its output is another one for every task, so each takes a pass of its own."""
    return graft.per_task != "single" or ADAPTERS[graft.kind].reads_task


def hold_still(model: nn.Module, dropout: Literal["off", "keep"], mode: bool) -> None:
    """Training mode, in which the frozen part stays as it is: without dropout, with fixed batch statistics."""
    for name, module in model.named_modules():
        if ".adapters." in f".{name}.":
            continue
        fixed = dropout == "off" or isinstance(module, nn.modules.batchnorm._BatchNorm)
        # Blocks that checkpoint do so only in training mode; their dropout was set to 0 when they were loaded.
        module.training = mode and (not fixed or getattr(module, "gradient_checkpointing", False))


def recompute(model: Any, library: str, grafts: Sequence[Graft], *, where: str) -> None:
    """Recompute the blocks' activations in backward. The recomputation sees the sides of its own forward.

    Args:
        model: the backbone or a tower.
        library: that built it.
        grafts: in it.
        where: the place of the key that asks for it.

    Raises:
        SiteError: adapters read sides, and the library offers no way to hand them over, or the model has none.
    """
    if library == "python" and not hasattr(model, "gradient_checkpointing_enable"):
        raise SiteError(
            f"{type(model).__name__} has no gradient_checkpointing_enable().",
            where=where,
            hint="Write gradient_checkpointing = false, or a smaller batch_size with accumulation.",
        )
    if library == "timm":
        if any(graft.sides for graft in grafts):
            raise SiteError(
                "timm's gradient checkpointing cannot hand side inputs to the recomputation.",
                where=where,
                hint="Write gradient_checkpointing = false, or a smaller batch_size with accumulation.",
            )
        model.set_grad_checkpointing(True)
        return
    how = {"use_reentrant": False, "context_fn": sides.checkpoint_contexts}
    if hasattr(model, "activation_checkpointing_enable"):  # the name since transformers 5.20
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
    # transformers also makes the embeddings require gradients, which only reentrant checkpoints need: it would
    # send a gradient through every frozen layer, and its hook would outlive the removal of our adapters.
    model.disable_input_require_grads()


def of_samples(model: str, blocks: Mapping[str, Side], present: Tensor) -> dict[str, Side]:
    """What the blocks of a tower returned, absent samples masked, the frames of a video one after another.

    Args:
        model: the modality.
        blocks: address -> what a block returned, (B·F, T, D).
        present: (B,) bool.
    """
    found = {}
    for address, side in blocks.items():
        if address.startswith(f"{model}:"):
            tensor = side.tensor.unflatten(0, (len(present), -1)).flatten(1, 2)  # (B, F·T, D)
            mask = side.mask.unflatten(0, (len(present), -1)).flatten(1, 2) & present[:, None]
            found[address] = Side(tensor, mask, present)
    return found
