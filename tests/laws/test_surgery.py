"""The laws of surgery, for every adapter on representative families (docs/surgery.md lists them)."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from adaptkit.errors import SiteError
from tests.laws.cases import CASES, Case, NotHereError
from tests.laws.families import FAMILIES, Family
from tests.laws.laws import LAWS, Cell, NotApplicableError, applies

# Placements that these families lack. One that goes missing elsewhere fails here, instead of passing unseen.
SINGLE = {"bert", "roberta", "distilbert", "gpt2", "llama", "vit", "timm_vit", "timm_resnet"}
NOT_HERE = {
    "other_tower": SINGLE,
    "lora_experts": set(FAMILIES),  # test_mixtures.py
    "bitfit": {"llama", "t5"},
    "prefix": {"timm_vit", "timm_resnet"},
    "prompt": {"timm_resnet"},
    "pfeiffer": {"timm_resnet"},
    "parallel_stream": {"timm_resnet"},
    "shared_layers": {"timm_resnet"},
    "wander_cp": {"timm_resnet"},
    "wander_published": {"timm_resnet"},
    "wander_spans": {"gpt2", "llama", "timm_resnet"},
    "ladder": {"timm_resnet"},
    "vera": {"timm_resnet"},
}

# CLIP compares every text with every image, so its samples depend on each other with and without adapters.
SILENT = {("samples_apart", "clip")}

CELLS = [
    pytest.param(family, case, id=f"{family.name}-{case.name}")
    for family in FAMILIES.values()
    for case in CASES.values()
]


@pytest.mark.parametrize(("family", "case"), CELLS)
def test_every_placement_is_where_it_is_expected(family: Family, case: Case) -> None:
    if family.name in NOT_HERE.get(case.name, ()):
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
        if applies(law, cell.values[1]) and cell.values[0].name not in NOT_HERE.get(cell.values[1].name, ())
    ],
)
def test_law(law: str, family: Family, case: Case) -> None:
    expected = pytest.raises(NotApplicableError) if (law, family.name) in SILENT else nullcontext()
    with expected:
        LAWS[law](Cell(family, case))
