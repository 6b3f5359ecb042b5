"""The laws of surgery on modules that no library built."""

from __future__ import annotations

import pytest

from adaptkit.errors import SiteError
from tests.laws.cases import CASES, Case, NotHereError
from tests.laws.families import Family
from tests.laws.laws import LAWS, Cell, applies
from tests.laws.zoo_own import FAMILIES

# Placements that these modules lack: another stack, words that can be replaced, attentions with an interface, maps.
NOT_HERE = {
    "own_transformer": {"other_tower", "prompt", "prefix", "lora_experts"},
    "own_convolutions": {
        "other_tower", "prompt", "prefix", "pfeiffer", "parallel_stream", "vera", "wander_cp", "wander_published",
        "wander_spans", "lora_experts",
    },
}  # fmt: skip

CELLS = [pytest.param(family, case, id=f"{family.name}-{case.name}") for family in FAMILIES for case in CASES.values()]


@pytest.mark.parametrize(("family", "case"), CELLS)
def test_every_placement_is_where_it_is_expected(family: Family, case: Case) -> None:
    if case.name in NOT_HERE[family.name]:
        with pytest.raises((NotHereError, SiteError)):
            case.grafts(family)
    else:
        assert case.grafts(family) or case.train


@pytest.mark.parametrize(
    ("law", "family", "case"),
    [
        pytest.param(law, *cell.values, id=f"{cell.id}-{law}")
        for cell in CELLS
        for law in LAWS
        if applies(law, cell.values[1]) and cell.values[1].name not in NOT_HERE[cell.values[0].name]
    ],
)
def test_law(law: str, family: Family, case: Case) -> None:
    LAWS[law](Cell(family, case))
