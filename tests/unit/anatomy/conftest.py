"""One test for every family."""

from __future__ import annotations

import pytest
from torch import nn

from tests.unit.anatomy.tiny_families import FAMILIES, TRANSFORMERS, build


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return build(request.param)


@pytest.fixture(params=TRANSFORMERS)
def transformer(request: pytest.FixtureRequest) -> nn.Module:
    return build(request.param)
