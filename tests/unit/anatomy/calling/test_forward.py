"""What comes out of a backbone is one sequence, wherever its channels are."""

from __future__ import annotations

import pytest
import torch

from adaptkit.anatomy import study
from adaptkit.anatomy.calling.forward import Call, as_sequence, run
from adaptkit.anatomy.calling.inputs import InputSpec
from adaptkit.errors import SiteError
from adaptkit.plan.planning import output_width
from tests.laws.zoo import ZOO

IMAGES = ("convnext", "resnet", "swin", "vit")
TIMM = ("timm_swin_transformer", "timm_convnext", "timm_vit", "timm_resnet", "timm_efficientnet")


@pytest.mark.parametrize("name", [*IMAGES, *TIMM])
def test_the_sequence_of_an_image_backbone(name: str) -> None:
    model, inputs = ZOO[name].fresh(), ZOO[name].inputs()
    spec = InputSpec("timm" if name in TIMM else "image", ("image",))
    width = output_width(model, study(model), spec)
    with torch.no_grad():
        sequence, mask = run(model, spec, Call(inputs), width)
    assert sequence.shape == (3, mask.shape[1], width)


def test_a_backbone_that_returns_several_sequences_is_refused() -> None:
    with pytest.raises(SiteError, match="returns list"):
        as_sequence([torch.zeros(1, 2, 3)], 3)
    with pytest.raises(SiteError, match=r"returns \(2, 5, 4\)"):
        as_sequence(torch.zeros(2, 5, 4), 3)
