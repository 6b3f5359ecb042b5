"""Adapters against numbers computed with the published implementations, module by module (float64)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from adaptkit.adapters import Bottleneck, LoRA, Wander
from adaptkit.adapters.base import Shape
from adaptkit.sides import Side, Sides

GOLDENS = Path(__file__).parents[2] / "goldens"
EXACT = {"rtol": 0.0, "atol": 1e-10}


def arrays(path: str) -> dict[str, Tensor]:
    with np.load(GOLDENS / path) as found:
        return {name: torch.from_numpy(found[name]) for name in found if name != "config"}


@pytest.mark.parametrize("case", ["bi", "tri"])
@pytest.mark.parametrize(("combine", "golden"), [("cp", "fused_cp"), ("published", "fused_sum_then_product")])
def test_wander(case: str, combine: str, golden: str) -> None:
    g = arrays(f"wander/{case}.npz")
    xs = [g[name] for name in sorted(g) if name.startswith("x")]
    out = g[golden].shape[1]
    shapes = [Shape(x.shape[2], x.shape[1]) for x in xs]
    module = Wander(
        shapes[0],
        {f"m{i}": shape for i, shape in enumerate(shapes) if i},
        rank=out,
        drank=len(g["D0"]),
        trank=len(g["T0"]),
        combine=combine,
        out_tokens=out,
    ).double()
    with torch.no_grad():
        for i in range(len(xs)):
            module.downs[i].weight.copy_(g[f"down{i}.weight"])
            module.downs[i].bias.copy_(g[f"down{i}.bias"])
            module.width_factors[i].copy_(g[f"D{i}"])
            module.token_factors[i].copy_(g[f"T{i}"])
    sides = Sides({f"m{i}": Side.of(x) for i, x in enumerate(xs) if i})
    torch.testing.assert_close(module.delta(xs[0], sides), g[golden], rtol=1e-12, atol=1e-10)
    if combine == "published":
        torch.testing.assert_close(module(xs[0], xs[0], sides), g["out_official"], rtol=1e-12, atol=1e-10)


def test_bottleneck_of_vl_adapter() -> None:
    g = arrays("vladapter/adapter.npz")
    module = Bottleneck(Shape(12), {}, reduction_factor=2, activation="gelu_tanh").to(g["x"].dtype)
    names = {"down": "down_sampler", "up": "up_sampler"}
    module.load_state_dict({f"{o}.{k}": g[f"w.{t}.{k}"] for o, t in names.items() for k in ("weight", "bias")})
    tolerance = EXACT if g["x"].dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(module.delta(g["x"], Sides()), g["y"], **tolerance)


@pytest.mark.parametrize("sample", ["lora_linear_single", "lora_linear_multiple"])
@pytest.mark.parametrize("task", ["vqa", "gqa"])
def test_lora_of_vl_adapter(sample: str, task: str) -> None:
    """One pair of matrices for all tasks, or one per task; each task's pair is a LoRA."""
    g = arrays(f"vladapter/{sample}.npz")
    with np.load(GOLDENS / "vladapter" / f"{sample}.npz") as found:
        config = json.loads(str(found["config"]))
    module = LoRA(Shape(8, None, 12), {}, rank=config["r"], alpha=float(config["alpha"])).to(g["x"].dtype)
    with torch.no_grad():
        module.A.copy_(g[f"w.lora_As.{task}"])
        module.B.copy_(g[f"w.lora_Bs.{task}"])
    plain = torch.nn.functional.linear(g["x"], g["w.weight"], g["w.bias"])
    tolerance = EXACT if g["x"].dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(module(plain, g["x"], Sides()), g[f"y_{task}_eval"], **tolerance)
    merged = torch.nn.functional.linear(g["x"], g["w.weight"] + module.delta_weight(), g["w.bias"])
    torch.testing.assert_close(merged, g[f"y_{task}_eval"], **tolerance)
