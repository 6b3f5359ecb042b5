"""torch.compile, torch.export and gradient checkpointing see models with all adapters as they see plain ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adaptkit import sides
from adaptkit.errors import SiteError
from adaptkit.surgery import insert, remove
from tests.laws.cases import CASES, Case
from tests.laws.families import FAMILIES
from tests.laws.laws import LAWS, Cell
from tests.laws.whole import CAPTURED as WHOLE_NAMES
from tests.laws.whole import WHOLE, everything
from tests.laws.zoo import ZOO

# Families that between them have every adapter and every kind of host; the others are part of `make conformance`.
CAPTURED = ("bert", "bart", "clip", "timm_vit", "timm_resnet")
OF_MIXTURES = {"lora_experts"}  # test_mixtures.py
CHECKPOINTED = ("bert", "gpt2", "llama", "bart", "t5", "vit", "clip")


@pytest.mark.parametrize("name", CAPTURED)
@pytest.mark.parametrize("law", ["compilation", "export"])
def test_captured_equals_eager(law: str, name: str) -> None:
    WHOLE[law](FAMILIES[name])


@pytest.mark.parametrize("name", CHECKPOINTED)
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    WHOLE["gradient_checkpointing"](FAMILIES[name])


def test_between_them_the_captured_families_have_every_adapter() -> None:
    found = {graft.adapter for name in CAPTURED for graft in everything(FAMILIES[name])}
    assert {name for name in WHOLE_NAMES if CASES[name].kind} - OF_MIXTURES <= found
    kinds = {case.kind for case in CASES.values() if case.kind}
    assert {CASES[name].kind for name in WHOLE_NAMES} >= kinds, "every kind of adapter is captured"


def test_a_broken_law_is_seen() -> None:
    """The laws can fail: an adapter whose surgery forgets something breaks them."""
    cell = Cell(FAMILIES["bert"], CASES["houlsby"])
    with pytest.raises(AssertionError, match="no gradient in two steps"):
        LAWS["training"](Broken(cell.family, cell.case))


class Broken(Cell):
    """A cell whose first adapter has lost its hook."""

    def inserted(self, model: nn.Module | None = None, seed: int = 5):
        model, receipt = super().inserted(model, seed)
        model.get_submodule(self.grafts[0].site.path)._forward_hooks.clear()
        return model, receipt


@pytest.mark.parametrize("case", [case for case in CASES.values() if case.kind], ids=lambda case: case.name)
def test_surgery_after_compilation_is_refused(case: Case) -> None:
    family = FAMILIES["clip"] if case.reads_tower else ZOO["mixtral" if case.name in OF_MIXTURES else "bert"]
    grafts = case.grafts(family)
    in_place = family.fresh()
    in_place.compile(backend="eager")
    for model in (in_place, torch.compile(family.fresh(), backend="eager")):
        before = list(model.state_dict())
        with pytest.raises(SiteError, match="compiled already"):
            insert(model, grafts)
        assert list(model.state_dict()) == before


def test_removal_leaves_no_hook_of_gradient_checkpointing() -> None:
    family, case = FAMILIES["bert"], CASES["houlsby"]
    model = family.fresh()
    receipt = insert(model, case.grafts(family))
    before = sum(len(module._forward_hooks) for module in family.fresh().modules())
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": False, "context_fn": sides.checkpoint_contexts})
    model.disable_input_require_grads()
    remove(model, receipt)
    assert sum(len(module._forward_hooks) for module in model.modules()) == before
