from __future__ import annotations

import pytest
import torch

from adaptkit.errors import OutOfMemory, UnavailableError
from adaptkit.training.machine import build_accelerator, memory_errors


def test_fp16_needs_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UnavailableError, match="fp16"):
        build_accelerator("fp16")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_says_what_to_change(error: Exception) -> None:
    with (
        pytest.raises(OutOfMemory, match=r"batch_size.*accumulation.*gradient_checkpointing"),
        memory_errors(),
    ):
        raise error


def test_other_runtime_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_errors():
        raise RuntimeError("shape mismatch")
