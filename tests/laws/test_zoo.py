"""The zoo is complete, and its models are what the laws need: repeatable, alive in every block, and understood."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.laws.cases import total
from tests.laws.families import Family, outputs
from tests.laws.zoo import TIMM_FILES, ZOO

# One of each kind; `make conformance` takes them all.
KINDS = (
    "deberta-v2",
    "funnel",
    "mixtral",
    "mamba",
    "prophetnet",
    "swin",
    "videomae",
    "wav2vec2",
    "whisper",
    "lxmert",
    "llava",
    "qwen2_vl",
    "timm_xcit",
    "timm_maxxvit",
    "timm_efficientnet",
)


@pytest.fixture(params=KINDS)
def family(request: pytest.FixtureRequest) -> Family:
    return ZOO[request.param]


def test_every_file_of_timm_is_in_the_zoo() -> None:
    ours = {TIMM_FILES.get(name, name.removeprefix("timm_")) for name in ZOO if name.startswith("timm_")}
    assert set(timm.list_modules()) - ours == set()


def test_most_of_what_people_take_from_transformers_is_in_the_zoo() -> None:
    from transformers import CONFIG_MAPPING

    types = [name for name in ZOO if not name.startswith("timm_")]
    assert len(types) >= 85
    assert set(types) <= set(CONFIG_MAPPING)


def test_builds_and_forwards_are_repeatable(family: Family) -> None:
    model, other = family.build(), family.build()
    assert not model.training
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    expected = outputs(model, family.inputs())
    assert expected
    assert all(value.isfinite().all() for value in expected)
    for again in (outputs(model, family.inputs()), outputs(other, family.inputs())):
        assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))


def test_no_output_is_an_integer_or_a_cache(family: Family) -> None:
    found = outputs(family.build(), family.inputs())
    assert all(value.is_floating_point() and value.dim() > 0 for value in found)


def test_samples_are_told_apart(family: Family) -> None:
    """Also the padded one: a model that gives the same for every sample would hide what adapters do."""
    first = outputs(family.build(), family.inputs())[0]
    assert not torch.allclose(first[0], first[1], atol=1e-4)


def test_gradients_reach_every_block(family: Family) -> None:
    model = family.build()
    total(outputs(model, family.inputs())).backward()
    for stack in family.anatomy().stacks:
        for path in stack.blocks:
            own = [p.grad for p in model.get_submodule(path).parameters() if p.grad is not None]
            assert any(gradient.abs().max() > 0 for gradient in own), path


def test_a_change_in_the_first_block_is_seen_at_the_end(family: Family) -> None:
    """Float32 must not swallow it on its way through the stack."""
    model, inputs = family.build(), family.inputs()
    before = outputs(model, inputs)
    for stack in family.anatomy().stacks:
        handle = model.get_submodule(stack.blocks[0]).register_forward_hook(disturb)
        after = outputs(model, inputs)
        handle.remove()
        changes = [((a - b).norm() / b.norm()).item() for a, b in zip(after, before, strict=True)]
        assert max(changes) > 1e-4, stack.name


def disturb(module: nn.Module, args: tuple, output: Tensor | tuple) -> Tensor | tuple:
    h = output if isinstance(output, Tensor) else output[0]
    noise = torch.randn(h.shape, generator=torch.Generator().manual_seed(0))
    h = h + 0.1 * h.std() * noise
    return h if isinstance(output, Tensor) else (h, *output[1:])


def test_branches_are_named(family: Family) -> None:
    """Beyond the block's own in and out."""
    anatomy = family.anatomy()
    for stack in anatomy.stacks:
        names = {site.name for site in anatomy.sites if site.stack == stack.name}
        assert {name for name in names if not name.startswith(("block.", "embed.", "final."))}, stack.name
