"""Visual tokens of VL-BART: published numbers, and what the equation says of ids, boxes and grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adaptkit.errors import DataError, RecipeError
from adaptkit.modalities.features.grid import GridPool
from adaptkit.modalities.visual_embedding import VisualEmbedding

GOLDENS = Path(__file__).parents[2] / "goldens" / "vladapter"
EXACT = {"rtol": 0.0, "atol": 1e-10}


def golden(name: str) -> dict[str, Tensor]:
    with np.load(GOLDENS / f"{name}.npz") as found:
        return {key: torch.from_numpy(found[key]) for key in found if key != "config"}


def published(**keys: Any) -> tuple[VisualEmbedding, dict[str, Tensor]]:
    g = golden("visual_embedding_bart")
    wide = 14 if keys.get("boxes") == "last" else 10
    module = VisualEmbedding(wide, 12, 6, **keys).double()
    names = {
        "feature": "feat_embedding.0",
        "feature_norm": "feat_embedding.1",
        "box": "absolute_vis_pos_embedding.0",
        "box_norm": "absolute_vis_pos_embedding.1",
    }
    state = {f"{o}.{kind}": g[f"w.{t}.{kind}"] for o, t in names.items() for kind in ("weight", "bias")}
    module.load_state_dict(state | {"image.weight": g["w.img_order_embedding.weight"]})
    return module, g


def test_published_visual_embedding() -> None:
    module, g = published()
    words = g["w.obj_order_embedding.weight"]
    found = module.embedded(g["feats"], g["boxes"], g["img_order_ids"], g["obj_order_ids"], words)
    torch.testing.assert_close(found, g["y_two_images"], **EXACT)


def test_published_visual_embedding_of_one_image_with_boxes() -> None:
    """The box of a vector is its last four numbers; ids count from the first."""
    module, g = published(boxes="last")
    found = module(torch.cat([g["feats"], g["boxes"]], dim=-1), g["w.obj_order_embedding.weight"])
    torch.testing.assert_close(found, g["y_default_ids"], **EXACT)


def test_two_images_follow_each_other() -> None:
    """Objects are counted in each image anew, images in the sample."""
    module, g = published(per_image=3)
    ids = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 2, 0, 1, 2])
    words = g["w.obj_order_embedding.weight"]
    torch.testing.assert_close(
        module(g["feats"], words),
        module.embedded(g["feats"], torch.zeros_like(g["boxes"]), *ids, words),
        **EXACT,
    )


def test_objects_are_the_last_words_first() -> None:
    words = torch.randn(30, 12)
    module = VisualEmbedding(10, 12, 3, normalise="none")
    x = torch.zeros(1, 3, 10)
    before = module(x, words)
    words[29] += 1
    after = module(x, words)
    torch.testing.assert_close(after - before, torch.tensor([1.0, 0, 0]).view(1, 3, 1).expand(1, 3, 12))


def test_objects_may_have_a_table_of_their_own_or_none() -> None:
    own = VisualEmbedding(10, 12, 6, per_image=3, objects="trained", normalise="none")
    none = VisualEmbedding(10, 12, 6, per_image=3, objects="none", normalise="none")
    none.load_state_dict(own.state_dict(), strict=False)
    x = torch.randn(2, 6, 10)
    expected = own.object.weight.repeat(2, 1).expand(2, 6, 12)
    torch.testing.assert_close(own(x) - none(x), expected)


@pytest.mark.parametrize(("word", "norm"), [("layer", nn.LayerNorm(12)), ("rms", nn.RMSNorm(12, eps=1e-6))])
def test_one_norm_on_the_sum(word: Any, norm: nn.Module) -> None:
    module = VisualEmbedding(10, 12, 4, normalise="sum", norm=word)
    plain = VisualEmbedding(10, 12, 4, normalise="none")
    plain.load_state_dict(module.state_dict(), strict=False)
    x, words = torch.randn(2, 4, 10), torch.randn(30, 12)
    torch.testing.assert_close(module(x, words), norm(plain(x, words)))


def test_more_tokens_than_images_have_are_refused() -> None:
    with pytest.raises(RecipeError, match="108 tokens of a sample are not those of up to 2 images of 36"):
        VisualEmbedding(10, 12, 108, per_image=36)
    with pytest.raises(RecipeError, match="no feature besides their box"):
        VisualEmbedding(4, 12, 6, boxes="last")


def test_published_grid_pool() -> None:
    g, pool = golden("downsample_7to6"), GridPool((98, 3), size=7, pool=6)
    for given, expected in (("feats", "y"), ("feats_nlvr", "y_nlvr")):
        mask = torch.ones(g[given].shape[:2], dtype=torch.bool)
        found, counts = pool(g[given], mask)
        torch.testing.assert_close(found, g[expected], **EXACT)
        assert bool(counts.all())
    assert pool.tokens == 72


def test_the_ids_of_pooled_images_are_the_published_ones() -> None:
    g = golden("downsample_7to6")
    module = VisualEmbedding(3, 4, 72, per_image=36, normalise="none")
    words = torch.randn(50, 4)
    x = g["y_nlvr"].float()
    expected = module.embedded(x, None, g["img_order_ids"], g["obj_order_ids"], words)
    torch.testing.assert_close(module(x, words), expected)


def test_what_does_not_count_leaves_no_trace() -> None:
    """A sample of one image among samples of two: the second is not there, whatever stands in its place."""
    pool = GridPool((98, 3), size=7, pool=6)
    x = torch.randn(2, 98, 3) - 5  # all below the zeros of padding
    mask = torch.ones(2, 98, dtype=torch.bool)
    mask[1, 49:] = False
    found, counts = pool(x, mask)
    alone, _ = pool(x[1:, :49], mask[1:, :49])
    assert counts.sum(1).tolist() == [72, 36]
    torch.testing.assert_close(found[1, :36], alone[0], **EXACT)
    assert not found[1, 36:].any()


def test_a_grid_of_the_wanted_size_stays_as_it_is() -> None:
    x, mask = torch.randn(2, 64, 3), torch.ones(2, 64, dtype=torch.bool)
    assert torch.equal(GridPool((64, 3), size=8, pool=8)(x, mask)[0], x)


def test_arrays_of_an_image_are_laid_out_by_rows() -> None:
    pool, array = GridPool((98, 3), size=7, pool=6), np.random.default_rng(0).normal(size=(2, 7, 7, 3))
    for given in (array, array.reshape(2, 49, 3), array.reshape(98, 3)):
        assert np.array_equal(pool.laid_out(given, ""), array.reshape(98, 3))
    with pytest.raises(DataError, match=r"features of shape \(50, 3\) are not those of images of 7 x 7"):
        pool.laid_out(np.zeros((50, 3)), "train.jsonl:1")
    with pytest.raises(RecipeError, match="max_tokens = 48 is not that of images of 7 x 7 features"):
        GridPool((48, 3), size=7, pool=6)
