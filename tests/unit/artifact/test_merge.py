from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adaptkit.anatomy import fingerprint
from adaptkit.artifact import merge, save_artifact
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe

LORA = (
    'adapter.fuse={kind="lora", at=["attn.q", "mlp.up"], rank=2}',
    'modality.features={kind="features", width=4, route="fusion"}',
)


def lora_model(recipe: Path, *more: str) -> AdaptedModel:
    """With deltas that are not zero."""
    model = build_model(make_plan(load_recipe(recipe, [*LORA, *more])))
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.backbone.named_parameters():
            if name.endswith(".B"):
                parameter.copy_(torch.randn(parameter.shape, generator=chance) / 10)
    return model


def output(model: AdaptedModel) -> Tensor:
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    with torch.no_grad():
        return model.backbone(input_ids=ids).last_hidden_state


def test_merging_keeps_the_outputs_and_leaves_no_adapter(tiny_recipe: Path) -> None:
    model = lora_model(tiny_recipe)
    before = output(model)
    keys = {name for name in model.backbone.state_dict() if ".adapters." not in name}
    merge(model)
    torch.testing.assert_close(output(model), before, rtol=1e-5, atol=1e-6)
    assert set(model.backbone.state_dict()) == keys
    with pytest.raises(ArtifactError, match="no adapter to merge"):
        merge(model)


def test_half_precision_is_rounded_once(tiny_recipe: Path) -> None:
    model = lora_model(tiny_recipe, 'backbone.precision="bfloat16"')
    host = model.backbone.get_submodule(model.receipt.grafts[0][0])
    base = host.weight.detach().clone()
    expected = (base.float() + host.adapters["fuse"].delta_weight().float()).to(torch.bfloat16)
    merge(model)
    assert host.weight.dtype == torch.bfloat16
    assert torch.equal(host.weight, expected)


def test_what_cannot_be_merged_is_named_and_nothing_changes(tiny_recipe: Path) -> None:
    model = build_model(make_plan(load_recipe(tiny_recipe)))
    before = fingerprint(model.backbone)
    with pytest.raises(ArtifactError, match=r"cannot be merged.*fuse \(GMU\)"):
        merge(model)
    assert fingerprint(model.backbone) == before
    assert model.receipt.grafts


def test_a_delta_that_is_not_finite_changes_nothing(tiny_recipe: Path) -> None:
    model = lora_model(tiny_recipe)
    before = fingerprint(model.backbone)
    last = model.backbone.get_submodule(model.receipt.grafts[-1][0])
    with torch.no_grad():
        last.adapters["fuse"].B[0, 0] = math.nan
    with pytest.raises(ArtifactError, match=r"NaN or infinity; the model is unchanged"):
        merge(model)
    assert fingerprint(model.backbone) == before
    assert "fuse" in last.adapters


def test_a_shared_weight_is_refused(tiny_recipe: Path) -> None:
    model = lora_model(tiny_recipe)
    path = model.receipt.grafts[0][0]
    host = model.backbone.get_submodule(path)
    model.backbone.twin = nn.Linear(16, 16)
    model.backbone.twin.weight = host.weight
    with pytest.raises(ArtifactError, match="shared with twin"):
        merge(model)


def test_a_merged_model_has_no_adapter_to_save(tiny_recipe: Path, tmp_path: Path) -> None:
    model = lora_model(tiny_recipe)
    merge(model)
    with pytest.raises(ArtifactError, match="merged"):
        save_artifact(model, tmp_path / "artifact")
