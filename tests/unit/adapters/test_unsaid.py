"""What is meant where nothing is said: of a kind of adapter, where it sits, a graft and an insertion."""

from __future__ import annotations

from typing import Any

from adaptkit.adapters.base import Adapter, Placement
from adaptkit.surgery.graft import Graft
from adaptkit.surgery.operation import Receipt

KIND = {
    "needs_sides": (0, 0),
    "mergeable": False,
    "reads_input": False,
    "reads_weight": False,
    "reads_blocks": False,
    "changes_experts": False,
    "reads_task": False,
    "reads_any_width": False,
    "mixes_tokens": "freely",
    "works_on": "stream",
    "fuses": False,
    "identity": True,
    "free_keys": frozenset({"dropout", "init", "bottleneck", "reduction_factor"}),
    "halves": None,
    "of_all_tasks": (),
    "keeps_length": True,
    "changes_input": False,
    "moves_positions": 0,
    "reads_earlier": False,
    "adopts": True,
    "placement": Placement("", "", None, 0, ()),
}


def test_a_kind_that_says_nothing_of_itself_is_trusted_with_nothing() -> None:
    """No sides, no merging, and in a causal stack none at all: nobody knows what it does to tokens."""
    assert {name: getattr(Adapter, name) for name in KIND} == KIND


def test_a_graft_and_an_insertion() -> None:
    told: Any = {name: field.default for name, field in Graft.__dataclass_fields__.items()}
    wanted = {"reads": (), "depth": 0, "tasks": (), "share": False, "per_task": "single", "train": True}
    assert told | wanted | {"in_step": False, "parameters": 0, "trainable": 0} == told
    assert (Receipt(()).readings, Receipt(()).captured, Receipt(()).insertion, Receipt(()).restorable) == (
        (),
        (),
        0,
        True,
    )
