"""The baselines of the multimodal benchmarks as recipes: each resolves, with the counts that its formula says."""

from __future__ import annotations

from typing import Any

import pytest

from adaptkit.errors import RecipeError, SiteError
from adaptkit.kinds import FUSIONS
from adaptkit.plan import Plan, make_plan
from adaptkit.recipe import parse_recipe

PLOT = {"plot": {"kind": "text", "route": "backbone"}}
SEEN = {"kind": "features", "width": 96, "missing": "zero"}
BERT = 109_482_240


def plan(modality: dict[str, Any], *, head: dict[str, Any] | None = None, **tables: Any) -> Plan:
    backbone = {"model": "bert-base", **tables.pop("backbone", {})}
    recipe = {
        "name": "baseline",
        "backbone": backbone,
        "modality": modality,
        "data": {"format": "jsonl"},
        "task": {"genres": {"kind": "multilabel", "labels": list("abc"), "head": head or {}}},
    }
    return make_plan(parse_recipe(recipe | tables))


def films(route: str, **more: Any) -> dict[str, Any]:
    trailer = SEEN | {"route": route, "width": 40, "pool": "mean"}
    return PLOT | {"poster": SEEN | {"route": route, "max_tokens": 1} | more, "trailer": trailer | more}


def test_text_only_frozen_with_a_head() -> None:
    found = plan(PLOT).parameters
    assert (found.backbone, found.trainable, found.heads) == (BERT, 768 * 3 + 3, 768 * 3 + 3)


def test_full_fine_tuning() -> None:
    found = plan(PLOT, backbone={"train": ["all"], "pool": "pooler"}).parameters
    assert found.trainable == found.total == BERT + 768 * 3 + 3


@pytest.mark.parametrize("trained", [[], ["all"]], ids=["frozen", "fine_tuned"])
@pytest.mark.parametrize("kind", FUSIONS.kinds)
def test_late_fusion(kind: str, trained: list[str]) -> None:
    sizes: dict[str, Any] = {"tensor": {"width": 20}, "cross_modal": {"width": 20, "layers": 1, "self_layers": 1}}
    found = plan(films("fusion"), fusion={"kind": kind, **sizes.get(kind, {})}, backbone={"train": trained})
    e = 768 + 96 + 40
    width, count = {
        "concat": (e, 0),
        "gmu": (512, 512 * e + 3 * 512 * e),
        "low_rank": (64, 4 * 64 * (e + 3) + 4 + 64),
        "tensor": (21**3, e * 20 + 60),
        "cross_modal": (120, 20 * e + 6 * (12 * 400 + 13 * 20 + 40) + 3 * (12 * 1600 + 13 * 40 + 80)),
    }[kind]
    count += 2 * e  # norms of the streams
    counts = found.parameters
    assert (found.head_width, counts.fusion, counts.heads) == (width, count, width * 3 + 3)
    assert counts.trainable == counts.fusion + counts.heads + (BERT if trained else 0)
    assert counts.total == BERT + counts.fusion + counts.heads


def test_mmbt() -> None:
    found = plan(films("tokens"), backbone={"prefix": "mmbt", "pool": "pooler", "train": ["all"]}).parameters
    assert found.encoders == (96 + 1 + 40 + 1) * 768 + 2 * 768
    assert found.trainable == found.total == BERT + found.encoders + found.heads


def test_what_is_frozen_does_not_count_as_trainable() -> None:
    frozen = {"fusion": {"kind": "gmu", "train": False}, "head": {"train": False}}
    assert plan(films("fusion"), **frozen).parameters.trainable == 0
    assert plan(films("tokens", train=False), backbone={"prefix": "mmbt"}).parameters.trainable == 768 * 3 + 3


def test_fusion_beside_an_adapter_that_reads_one_of_the_modalities() -> None:
    wander = {"kind": "wander", "at": "fusion", "sides": ["poster"], "out_tokens": 4}
    found = plan(films("fusion"), adapter={"w": wander}, fusion={"kind": "gmu", "width": 8})
    assert found.joined == ("trailer",)
    assert found.parameters.fusion == (768 + 40) * (8 * 2 + 2)  # two streams, their norms, one tied gate


def test_sizes_that_cannot_work_name_the_table() -> None:
    with pytest.raises(SiteError, match=r"fusion: the tensor of all products has 769 x 97 x 41"):
        plan(films("fusion"), fusion={"kind": "tensor"})


def test_the_input_embeddings_may_be_narrower_than_the_stream() -> None:
    """ALBERT's are 128 wide, its stream 768."""
    found = plan(
        films("tokens"), backbone={"model": "albert", "config": {"vocab_size": 30522}, "tokenizer": "bert-base"}
    )
    assert found.parameters.encoders == (96 + 1 + 40 + 1) * 128


@pytest.mark.parametrize("name", ["copy", "items"])
def test_names_that_torch_takes_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"modality.{name}: torch's modules have an attribute of this name"):
        plan(PLOT | {name: SEEN | {"route": "fusion"}}, fusion={"kind": "low_rank"})
