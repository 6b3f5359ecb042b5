from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from adaptkit.errors import OutOfMemory, UnavailableError
from adaptkit.recipe import load_recipe
from adaptkit.training import train
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


def test_one_of_several_processes_does_not_train(
    tiny_recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """torchrun on the CPU started as many trainings as processes, all into one folder."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UnavailableError, match="one of 2 processes, and a training runs in one"):
        train(load_recipe(tiny_recipe), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    monkeypatch.setenv("WORLD_SIZE", "1")
    build_accelerator("fp32")
