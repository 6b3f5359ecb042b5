"""What happens in a process that reads samples reaches the user as one error."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Sequence
from typing import Any

import pytest

from adaptkit.data.loading import Loader
from adaptkit.errors import DataError, Problem, RunError


def unreadable(samples: Sequence[int]) -> dict[str, Any]:
    if 3 in samples:
        raise DataError.all(
            [Problem("no picture.", "train.jsonl:4", "Mend it."), Problem("no sound.", "train.jsonl:4")]
        )
    return {"ids": samples}


def dying(samples: Sequence[int]) -> dict[str, Any]:
    if 3 in samples:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"ids": samples}


def batches(collate: Any, workers: int) -> list[Any]:
    chunks = [[0, 1], [2, 3], [4, 5]]
    return list(Loader(list(range(6)), collate, workers)(chunks))  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_sample_that_cannot_be_read_is_the_same_error_with_and_without_workers(workers: int) -> None:
    with pytest.raises(DataError) as caught:
        batches(unreadable, workers)
    assert [str(problem) for problem in caught.value.problems] == [
        "train.jsonl:4  no picture. Mend it.",
        "train.jsonl:4  no sound.",
    ]


def test_a_worker_that_is_killed_is_one_clear_error() -> None:
    with pytest.raises(
        RunError, match=r"train\.workers  a process that reads samples was ended by the system"
    ) as caught:
        batches(dying, 1)
    assert caught.value.code == 4
    assert "Traceback" not in str(caught.value)


def test_errors_survive_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(DataError("no picture.", where="train.jsonl:4", hint="Mend it.")))
    assert type(error) is DataError
    assert error.problems == (Problem("no picture.", "train.jsonl:4", "Mend it."),)
