"""Visual tokens of VL-BART: published numbers, and what the equation says of ids and grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adaptkit.errors import DataError
from adaptkit.modalities.visual_embedding import GridPool, VisualEmbedding

GOLDENS = Path(__file__).parents[2] / "goldens" / "vladapter"
EXACT = {"rtol": 0.0, "atol": 1e-10}


def golden(name: str) -> dict[str, Tensor]:
    with np.load(GOLDENS / f"{name}.npz") as found:
        return {key: torch.from_numpy(found[key]) for key in found if key != "config"}


def published() -> tuple[VisualEmbedding, dict[str, Tensor]]:
    g = golden("visual_embedding_bart")
    module = VisualEmbedding(10, nn.Embedding(30, 12)).double()
    names = {
        "feature": "feat_embedding.0",
        "feature_norm": "feat_embedding.1",
        "box": "absolute_vis_pos_embedding.0",
        "box_norm": "absolute_vis_pos_embedding.1",
    }
    state = {f"{o}.{kind}": g[f"w.{t}.{kind}"] for o, t in names.items() for kind in ("weight", "bias")}
    state |= {"words.weight": g["w.obj_order_embedding.weight"], "image.weight": g["w.img_order_embedding.weight"]}
    module.load_state_dict(state)
    return module, g


def test_published_visual_embedding() -> None:
    module, g = published()
    found = module(g["feats"], g["boxes"], g["img_order_ids"], g["obj_order_ids"])
    torch.testing.assert_close(found, g["y_two_images"], **EXACT)
    torch.testing.assert_close(module(g["feats"], g["boxes"]), g["y_default_ids"], **EXACT)


def test_grid_features_have_boxes_of_zeros() -> None:
    module, g = published()
    torch.testing.assert_close(module(g["feats"]), module(g["feats"], torch.zeros_like(g["boxes"])), **EXACT)


def test_the_words_stay_those_of_the_language_model() -> None:
    words = nn.Embedding(30, 12)
    module = VisualEmbedding(10, words, normalise="none")
    assert module.words is words
    before = module(torch.zeros(1, 3, 10))
    with torch.no_grad():
        words.weight[29] += 1  # object 0 is the last row
    after = module(torch.zeros(1, 3, 10))
    torch.testing.assert_close(after - before, torch.tensor([1.0, 0, 0]).view(1, 3, 1).expand(1, 3, 12))


@pytest.mark.parametrize("norm", [nn.LayerNorm, lambda width: nn.RMSNorm(width, eps=1e-6)])
def test_one_norm_on_the_sum(norm) -> None:
    module = VisualEmbedding(10, nn.Embedding(30, 12), normalise="sum", norm=norm)
    plain = VisualEmbedding(10, module.words, normalise="none")
    plain.load_state_dict(module.state_dict(), strict=False)
    x = torch.randn(2, 4, 10)
    torch.testing.assert_close(module(x), norm(12)(plain(x)))


def test_published_grid_pool() -> None:
    g, pool = golden("downsample_7to6"), GridPool(36)
    torch.testing.assert_close(pool(g["feats"]), g["y"], **EXACT)
    torch.testing.assert_close(pool(g["feats_nlvr"], images=2), g["y_nlvr"], **EXACT)
    images, objects = pool.ids(images=2)
    assert torch.equal(images.expand(2, -1), g["img_order_ids"])
    assert torch.equal(objects.expand(2, -1), g["obj_order_ids"])


def test_a_grid_of_the_wanted_size_stays_as_it_is() -> None:
    x = torch.randn(2, 64, 3)
    assert torch.equal(GridPool(64)(x), x)


@pytest.mark.parametrize(("tokens", "images"), [(48, 1), (49, 2), (96, 2)])
def test_what_is_no_square_grid_is_refused(tokens: int, images: int) -> None:
    with pytest.raises(DataError, match=r"no square grid|cannot be those of 2 images"):
        GridPool(36)(torch.randn(1, tokens, 3), images)
    with pytest.raises(DataError, match="35 tokens are no square grid"):
        GridPool(35)
