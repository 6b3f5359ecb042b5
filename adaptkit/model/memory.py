"""Whether what trains fits into the memory of this machine, before any of it is made."""

from __future__ import annotations

import os

import torch

from adaptkit.amounts import in_bytes
from adaptkit.errors import OutOfMemory
from adaptkit.model.optimizers import states_per_parameter
from adaptkit.plan import Plan

FLOAT32 = 4  # bytes; what trains is kept in it


def check_memory(plan: Plan, device: str) -> None:
    """Refuse what can never fit: weights, gradients and optimizer states of what trains. Activations come on top.

    Raises:
        RecipeError: the optimizer refuses its keywords.
        OutOfMemory: it is more than the machine has, which the kernel would answer by ending the process.
    """
    needed = round(plan.parameters.trainable * FLOAT32 * (2 + states_per_parameter(plan.recipe)))
    there = memory_of(device)
    if there is not None and needed > there:
        raise OutOfMemory(
            f"{plan.parameters.trainable:,} trainable parameters take {in_bytes(needed)} with their gradients and "
            f"{plan.recipe.train.optimizer.name}'s states, and {device} has {in_bytes(there)}.",
            where=plan.recipe.where(""),
            hint="adaptkit plan shows which part is large.",
        )


def memory_of(device: str) -> int | None:
    """Bytes of memory in all, in use or not; None where the system does not say."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[1]
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
