from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from adaptkit.errors import OutOfMemory, UnavailableError
from adaptkit.training.machine import build_accelerator, changes, environment, memory_errors


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


def test_another_version_or_machine_is_told_once(tmp_path: Path) -> None:
    now = environment("cpu")
    then = {**now, "packages": {**now["packages"], "torch": "2.0.0"}, "threads": 64, "recipe_folder": "here"}
    (tmp_path / "env.json").write_text(json.dumps(then))
    told = changes(tmp_path / "env.json", now)
    assert [text.partition(" was")[0] for text in told] == ["threads", "torch"]
    assert f"torch was 2.0.0 before, and is {now['packages']['torch']} now" in told[1]
    assert changes(tmp_path / "env.json", now) == []
    assert json.loads((tmp_path / "env.json").read_text())["packages"]["torch"] == "2.0.0"
    (tmp_path / "env.json").write_text("{")
    assert "not readable" in changes(tmp_path / "env.json", now)[0]
