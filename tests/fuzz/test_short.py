"""A short form of `make fuzz`: the first cases of every campaign, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.campaign import SEED
from tests.fuzz.limits import tried
from tests.fuzz.worker import campaigns


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", [name for name, campaign in campaigns().items() if campaign.short])
def test_nothing_is_at_fault(name: str, folder: Path) -> None:
    campaign = campaigns()[name]
    found = {number: tried(campaign, number, SEED, folder) for number in range(campaign.short)}
    assert {number: case.fault for number, case in found.items() if case.fault} == {}
