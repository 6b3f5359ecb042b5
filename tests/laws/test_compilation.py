"""torch.compile, torch.export and gradient checkpointing see adapted models as they see plain ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adaptkit import sides
from adaptkit.errors import SiteError
from adaptkit.surgery import insert, remove
from tests.laws.cases import CASES, Case, side_inputs, total
from tests.laws.families import FAMILIES, Family, outputs
from tests.laws.test_surgery import equal, inserted, run, stirred

# Every adapter on one family, one adapter on every family: compilation costs seconds a cell.
CELLS = [pytest.param(FAMILIES["bert"], case, id=f"bert-{case.name}") for case in CASES.values()] + [
    pytest.param(family, CASES["gmu_gates"], id=f"{family.name}-gmu_gates")
    for family in FAMILIES.values()
    if family.name != "bert"
]
CHECKPOINTING = [
    pytest.param(family, case, id=f"{family.name}-{case.name}")
    for family in FAMILIES.values()
    if not family.name.startswith("timm")
    for case in CASES.values()
]


class WithSides(nn.Module):
    """Lays out the sides inside the forward, as the adapted model does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: dict[str, torch.Tensor], given: dict[str, torch.Tensor]):
        with sides.use_sides(given):
            return outputs(self.model, inputs)


def tensors() -> dict[str, torch.Tensor]:
    return {name: side.tensor for name, side in side_inputs().items()}


@pytest.mark.parametrize(("family", "case"), CELLS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_compiled_equals_eager(family: Family, case: Case) -> None:
    """`backend="eager"` runs the captured graph: what is tested is that capture is whole and right."""
    torch._dynamo.reset()
    model = WithSides(stirred(inserted(family, case)))
    with torch.no_grad():
        expected = model(family.inputs(), tensors())
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        found = compiled(family.inputs(), tensors())
        again = compiled(family.inputs(), {name: 2 * value for name, value in tensors().items()})
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))
    if case.sides:
        assert not equal(again, found), "the compiled model reads the sides of its own call"


@pytest.mark.parametrize(("family", "case"), CELLS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_exported_equals_eager(family: Family, case: Case) -> None:
    torch._dynamo.reset()
    model = WithSides(stirred(inserted(family, case)))
    with torch.no_grad():
        program = torch.export.export(model, (family.inputs(), tensors()))
        doubled = {name: 2 * value for name, value in tensors().items()}
        found, expected = program.module()(family.inputs(), doubled), model(family.inputs(), doubled)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_surgery_after_compilation_is_refused(case: Case) -> None:
    family = FAMILIES["bert"]
    grafts = case.grafts(family)
    in_place = family.build()
    in_place.compile(backend="eager")
    for model in (in_place, torch.compile(family.build(), backend="eager")):
        before = list(model.state_dict())
        with pytest.raises(SiteError, match="compiled already"):
            insert(model, grafts)
        assert list(model.state_dict()) == before


@pytest.mark.parametrize(("family", "case"), CHECKPOINTING)
def test_gradient_checkpointing_gives_the_same_gradients(family: Family, case: Case) -> None:
    """Even though the sides of another batch are laid out when backward recomputes."""
    gradients = []
    for checkpointing in (False, True):
        model = stirred(inserted(family, case)).train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            for rate in ("dropout", "activation_dropout", "attention_dropout", "dropout_rate"):
                if isinstance(getattr(module, rate, None), float):
                    setattr(module, rate, 0.0)
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            enable({"use_reentrant": False, "context_fn": sides.checkpoint_contexts})
            model.disable_input_require_grads()
        loss = total(run(model, family))
        with sides.use_sides({name: torch.zeros_like(value) for name, value in tensors().items()}):
            loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-6), name


def test_removal_leaves_no_hook_of_gradient_checkpointing() -> None:
    family, case = FAMILIES["bert"], CASES["houlsby"]
    model = family.build()
    receipt = insert(model, case.grafts(family))
    before = sum(len(module._forward_hooks) for module in family.build().modules())
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": False, "context_fn": sides.checkpoint_contexts})
    model.disable_input_require_grads()
    remove(model, receipt)
    assert sum(len(module._forward_hooks) for module in model.modules()) == before
