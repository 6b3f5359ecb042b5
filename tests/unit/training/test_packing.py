from __future__ import annotations

import math
import random

import pytest
import torch

from adaptkit.errors import RunError
from adaptkit.training.packing import DamagedCheckpointError, all_finite, pack, unpack


def test_a_nested_state_survives_with_its_types() -> None:
    state = {
        "tensor": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3),
        "scalar": torch.tensor(3.0),
        1: (None, True, 2, 0.1 + 0.2, math.inf, "text"),
        "nest": {"list": [{"deep": torch.zeros(0)}], "empty": {}},
    }
    found = unpack(pack(state), where="here")
    assert torch.equal(found["tensor"], state["tensor"])
    assert found["tensor"].dtype == torch.bfloat16
    assert found["scalar"].shape == ()
    assert found[1] == state[1]
    assert isinstance(found[1], tuple)
    assert found["nest"]["list"][0]["deep"].shape == (0,)
    assert found["nest"]["empty"] == {}


def test_views_of_one_tensor_may_be_packed() -> None:
    whole = torch.arange(4.0)
    found = unpack(pack({"a": whole[:2], "b": whole, "c": whole.view(2, 2).T}), where="here")
    assert found["c"].tolist() == [[0.0, 2.0], [1.0, 3.0]]


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        pack({"x": object()})


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\0" * len(b)])
def test_damaged_bytes_are_a_clear_error(damage) -> None:
    content = pack({"x": torch.ones(100)})
    with pytest.raises(RunError, match="not a readable checkpoint"):
        unpack(damage(content), where="last.safetensors")


def test_all_finite() -> None:
    assert all_finite({"a": torch.ones(2), "b": torch.tensor([1, 2])})
    assert not all_finite({"a": torch.tensor([1.0, math.nan])})


def test_every_changed_bit_is_found() -> None:
    """Before there was a hash, eight of ten of these loaded as another state."""
    content = pack({"weight": torch.linspace(-1, 1, 64), "lr": 0.01, "text": '"adaptkit_state":"000"'})
    rng = random.Random(0)
    for place in [*range(16), *(rng.randrange(len(content)) for _ in range(400))]:
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        with pytest.raises(DamagedCheckpointError, match="not a readable checkpoint"):
            unpack(bytes(changed), where="last.safetensors")
    with pytest.raises(DamagedCheckpointError):
        unpack(content + b"\0", where="last.safetensors")
