"""The benchmark recipes have the published numbers of parameters, and every one of them plans without its data."""

from __future__ import annotations

import pytest

from adaptkit.plan import Plan, make_plan
from adaptkit.recipe import load_recipe

GENRES = [f"genre{i}" for i in range(13)]


def planned(name: str, *sets: str) -> Plan:
    return make_plan(load_recipe(name, sets=[f"task.genres.labels={GENRES}", *sets]))


@pytest.mark.parametrize(
    ("name", "adapters", "head"),
    [
        ("moviescope_text", 2_416_128, 602_125),  # 24 x 100,672
        ("moviescope_poster", 9_102_336, 602_125),  # 24 x 379,264: one modality of width 4096
        ("moviescope_trailer", 9_102_336, 602_125),
        ("moviescope_gmu", 17_463_936, 602_125),  # 24 x 727,664: 4096, 4096 and 312, every gate alive
        ("moviescope_five", 18_552_960, 602_125),  # 24 x 773,040: and 128 bins of sound
        ("moviescope_fusion", 2 * 9_102_336 + 42_504_192, 602_125),  # and 24 x 1,771,008 of attention
    ],
)
def test_multimodal_adapters_have_the_published_number_of_parameters(name: str, adapters: int, head: int) -> None:
    counts = planned(name).parameters
    assert (counts.adapters, counts.heads) == (adapters, head)


@pytest.mark.parametrize(("width", "each"), [(4096, 379_264), (768, 159_616), (312, 129_520)])
def test_one_modality_of_another_width(width: int, each: int) -> None:
    """Of width 768 3,830,784 in all, of width 312 3,108,480."""
    plan = planned("moviescope_poster", f"modality.poster.width={width}")
    assert {graft.parameters for graft in plan.grafts} == {each}
    assert len(plan.grafts) == 24


def test_adapter_fusion_trains_itself_and_the_head_only() -> None:
    assert planned("moviescope_fusion").parameters.trainable == 42_504_192 + 602_125


@pytest.mark.parametrize(
    ("name", "grafts"),
    [
        ("moviescope_mmbt", 0),
        ("mmimdb_gmu", 24),
        ("mosi_late_fusion", 0),
        ("mosi_wander", 1),
        ("mosi_bert_wander", 12),
        ("mosei_wander", 1),
        ("iemocap_late_fusion", 0),
        ("iemocap_wander", 1),
        ("food101_fusion", 0),
        ("food101_wander", 1),
        ("food101_vit_bert_wander", 1),
        ("msrvtt_wander", 1),
        ("vqa_bart_gmu", 30),
    ],
)
def test_every_recipe_plans_with_its_own_backbones(name: str, grafts: int) -> None:
    """Without data and without weights: labels are the only thing that the data would have told."""
    labels = dict.fromkeys(("food101_vit_bert_wander", "food101_fusion", "food101_wander"), "dish")
    labels |= {"mmimdb_gmu": "genres", "moviescope_mmbt": "genres"}
    sets = [f"task.{labels[name]}.labels={GENRES}"] if name in labels else []
    plan = make_plan(load_recipe(name, sets=sets))
    assert len(plan.grafts) == grafts
    assert plan.parameters.trainable > 0


def test_the_second_stages_train_what_is_published() -> None:
    """The graft and the head, on everything else as it was pre-trained; the same head reads the same width."""
    for first, second, task in (
        ("mosi_late_fusion", "mosi_wander", "sentiment"),
        ("iemocap_late_fusion", "iemocap_wander", "emotions"),
        ("food101_fusion", "food101_wander", "dish"),
    ):
        sets = [f"task.{task}.labels={GENRES}"] if task == "dish" else []
        before, after = (make_plan(load_recipe(name, sets=sets)) for name in (first, second))
        assert after.parameters.trainable == after.parameters.adapters + after.parameters.heads
        assert (before.head_width, before.outputs) == (after.head_width, after.outputs)
        assert before.parameters.encoders == after.parameters.encoders
