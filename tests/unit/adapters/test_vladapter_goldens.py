"""Adapters of VL-Adapter against numbers computed with the published modules (float64)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adaptkit.adapters import ADAPTERS, Adapter, Bottleneck, Hyperformer
from adaptkit.adapters.base import Placement, Shape
from adaptkit.adapters.per_task import PerTask
from adaptkit.sides import Sides

GOLDENS = Path(__file__).parents[2] / "goldens" / "vladapter"
EXACT = {"rtol": 0.0, "atol": 1e-10}
HALVES = {"down": "down_sampler", "up": "up_sampler"}
PHM = {"left": "W_left", "right": "W_right", "weight": "W", "bias": "b", "rule.weight": "phm_rule"}


def golden(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The arrays of a golden and its settings."""
    with np.load(GOLDENS / f"{name}.npz") as found:
        arrays = {key: torch.from_numpy(found[key]) for key in found if key != "config"}
        return arrays, json.loads(str(found["config"]))


def of_task(task: str) -> Sides:
    sides = Sides()
    sides.task = task
    return sides


def fill(module: Adapter, g: dict[str, Tensor], names: dict[str, str], prefix: str = "w") -> None:
    """Both halves of a bottleneck from the published names."""
    missing, unexpected = module.load_state_dict(
        {
            f"{ours}.{name}": g[f"{prefix}.{theirs}.{published}"]
            for ours, theirs in HALVES.items()
            for name, published in names.items()
            if f"{prefix}.{theirs}.{published}" in g
        }
    )
    assert not missing
    assert not unexpected


def test_adapter_beside_the_language_models_head() -> None:
    """It reads another width than it writes: 32 -> 32 // 16 -> 7."""
    g, config = golden("output_parallel_adapter")
    host = Shape(config["out"], in_width=config["d"], read_width=config["d"])
    module = Bottleneck(host, {}, reduction_factor=16, activation="gelu_tanh").double()
    fill(module, g, {"weight": "weight", "bias": "bias"}, "w.adapter")
    torch.testing.assert_close(module.delta(g["x"], Sides()), g["y"], **EXACT)
    logits = torch.randn(2, 4, 7, dtype=torch.float64)
    torch.testing.assert_close(module(logits, g["x"], Sides()), logits + g["y"], **EXACT)
    plain = Bottleneck(Shape(7, in_width=32), {}, bottleneck=2)
    assert plain.down.in_features == 7, "without another place to read, an adapter at a projection reads its output"


def test_low_rank() -> None:
    g, config = golden("lowrank_rank1")
    module = ADAPTERS["low_rank"](Shape(12), {}, reduction_factor=2, rank=config["rank"], activation="gelu_tanh")
    fill(module.double(), g, {"left": "W_left", "right": "W_right", "bias": "b"})
    torch.testing.assert_close(module.delta(g["x"], Sides()), g["y"], **EXACT)


@pytest.mark.parametrize("name", ["full", "factorizedW_rank1", "shared_rule_fullW", "shared_rule_factorizedW"])
def test_compacter(name: str) -> None:
    g, config = golden(f"phm_{name}")
    module = ADAPTERS["compacter"](
        Shape(12),
        {},
        phm_dim=config["phm_dim"],
        rank=config.get("phm_rank", "full"),
        rule="shared" if config["shared_phm_rule"] else "own",
        reduction_factor=2,
        activation="gelu_tanh",
    ).double()
    fill(module, g, PHM)
    assert sum(p.numel() for p in module.parameters()) == sum(
        {v.sum().item(): v.numel() for k, v in g.items() if k.startswith("w.")}.values()
    )
    torch.testing.assert_close(module.delta(g["x"], Sides()), g["y"], **EXACT)


@pytest.mark.parametrize(
    ("name", "sharing"),
    [("plain", "multiple"), ("share_up", "half_shared_up"), ("share_down", "half_shared_down")],
)
def test_sharing_between_tasks(name: str, sharing: Any) -> None:
    g, config = golden(f"controller_{name}")
    copies = {task: Bottleneck(Shape(12), {}, bottleneck=6, activation="gelu_tanh") for task in ("vqa", "gqa")}
    module = PerTask(copies, sharing).double()
    for task, copy in copies.items():
        fill(copy, g, {"weight": "weight", "bias": "bias"}, f"w.adapters.{task}")
    assert sum(p.numel() for p in module.parameters()) == config["n_unique_params"]
    for task in copies:
        torch.testing.assert_close(module(g["x"], g["x"], of_task(task)), g[f"y_{task}"], **EXACT)
    if sharing == "multiple":
        assert not torch.equal(g["y_vqa"], g["y_gqa"])


def test_one_adapter_for_all_tasks() -> None:
    g, config = golden("controller_single")
    module = Bottleneck(Shape(12), {}, bottleneck=6, activation="gelu_tanh").double()
    fill(module, g, {"weight": "weight", "bias": "bias"}, "w.adapters.gqa")
    assert sum(p.numel() for p in module.parameters()) == config["n_unique_params"]
    for task in ("vqa", "gqa"):
        torch.testing.assert_close(module(g["x"], g["x"], of_task(task)), g[f"y_{task}"], **EXACT)


SITES = {"mlp.out": "feed_forward", "attn.out": "self_attention", "cross_attn.out": "cross_attention"}


def hyperformers(form: str, g: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Hyperformer]:
    """The adapters of the golden's layer in a stack of its depth, with the published weights."""
    adapters = {}
    for site in sorted(SITES):
        adapters[site] = Hyperformer(
            Shape(config["d"]),
            {},
            form=form,  # type: ignore[arg-type]
            reduction_factor=config["reduction"],
            activation="gelu_tanh",
            task_embedding_dim=config["task_embedding_dim"],
            task_hidden_dim=config["task_hidden_dim"],
            projected_task_embedding_dim=config["projected_task_embedding_dim"],
        )
        adapters[site].placement = Placement("decoder", site, config["layer_id"], config["num_layers"], ("vqa", "gqa"))
    Hyperformer.tie(list(adapters.values()))
    hypernet = adapters["mlp.out"].hypernet
    assert hypernet is not None
    names = {
        "tasks.0": "task.task_to_embeddings.vqa",
        "tasks.1": "task.task_to_embeddings.gqa",
        "layers": "hyper.layer_id_embeddings.weight",
        "blocks": "hyper.adapters_block_type.weight",
        "norm": "hyper.LayerNorm",
        "hidden": "hyper.task_hypernet.task_embeding_generator.0",
        "project": "hyper.task_hypernet.task_embeding_generator.2",
    }
    for index, site in enumerate(SITES.values() if form == "unique" else [""]):
        prefix = f"hyper.{site}_" if site else "hyper."
        for half, theirs in HALVES.items():
            names[f"generators.{index}.{half}"] = f"{prefix}{theirs}_hyper_net.weight_generator.0"
            names[f"generators.{index}.{half}_bias"] = f"{prefix}{theirs}_hyper_net.bias_generator.0"
    state = {}
    for ours, theirs in names.items():
        for suffix in ("", ".weight", ".bias"):
            if f"w.{theirs}{suffix}" in g:
                state[f"{ours}{suffix}"] = g[f"w.{theirs}{suffix}"]
    assert len(state) == sum(name.startswith("w.") for name in g)
    hypernet.double().load_state_dict(state)
    return adapters


@pytest.mark.parametrize("form", ["unique", "efficient"])
def test_hyperformer(form: str) -> None:
    g, config = golden(f"hyper_{form}")
    for site, adapter in hyperformers(form, g, config).items():
        published, hypernet = SITES[site], adapter.hypernet
        assert hypernet is not None
        torch.testing.assert_close(hypernet.joint(1, 2, site)[0], g[f"I_{published}"], **EXACT)
        made = hypernet(1, adapter)
        for half in HALVES:
            weight, bias = getattr(made, half), getattr(made, f"{half}_bias")
            torch.testing.assert_close(weight, g[f"gen_{published}_{half}_weight"], **EXACT)
            torch.testing.assert_close(bias, g[f"gen_{published}_{half}_bias"], **EXACT)
        out = adapter(g["x"], g["x"], of_task("gqa"))
        torch.testing.assert_close(out, g[f"y_{published}"], **EXACT)


def test_norms_are_one_for_all_tasks_of_a_place_where_that_is_asked() -> None:
    """As published: 372 parameters of two tasks, and 420 where each has its own."""

    def count(norms: Any, sharing: Any = "multiple") -> int:
        keys = {"bottleneck": 6, "norm_before": True, "norm_after": True, "norms": norms}
        copies = {task: Bottleneck(Shape(12), {}, **keys) for task in ("vqa", "gqa")}
        return sum(p.numel() for p in PerTask(copies, sharing).parameters())

    assert (count("own"), count("tasks")) == (420, 372)
    assert count("tasks", "half_shared_up") == 372 - (6 * 12 + 12)


def test_rules_are_one_for_all_tasks_of_a_place_where_that_is_asked() -> None:
    def count(rule: str) -> int:
        copies = {task: ADAPTERS["compacter"](Shape(12), {}, bottleneck=6, phm_dim=3, rule=rule) for task in ("a", "b")}
        module = PerTask(copies, "multiple")
        type(copies["a"]).tie([*copies.values()])
        return sum(p.numel() for p in module.parameters())

    each = 27  # 3 x 3 x 3
    assert count("own") - count("tasks") == 2 * each
    assert count("tasks") - count("shared") == each
