"""Adapters against numbers computed with the published implementations, module by module (float64)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from adaptkit.adapters import GMU, Bottleneck, LoRA, Wander
from adaptkit.adapters.base import Shape
from adaptkit.sides import Side, Sides

GOLDENS = Path(__file__).parents[2] / "goldens"
EXACT = {"rtol": 0.0, "atol": 1e-10}


@pytest.fixture(scope="module")
def gmu() -> dict[str, Tensor]:
    return load_file(GOLDENS / "gmu" / "module.safetensors")


def arrays(path: str) -> dict[str, Tensor]:
    with np.load(GOLDENS / path) as found:
        return {name: torch.from_numpy(found[name]) for name in found if name != "config"}


def sides_of(golden: dict[str, Tensor], count: int) -> Sides:
    return Sides({f"m{i}": Side.of(golden[f"in.m{i}"]) for i in range(1, count + 1)})


def published_gmu(golden: dict[str, Tensor], case: str, count: int, **options) -> GMU:
    """Our module with the published weights of a case."""
    w = {name.removeprefix(f"{case}.w."): value for name, value in golden.items() if name.startswith(f"{case}.w.")}
    shapes = {f"m{i}": Shape(golden[f"in.m{i}"].shape[1]) for i in range(1, count + 1)}
    prefix = {f"m{i}": "m" if count == 1 else f"m{i}" for i in range(1, count + 1)}
    module = GMU(Shape(12), shapes, bottleneck=6, **options).double()
    gates = module.gate.out_features // 6
    state = {
        "norm.weight": w["adapter_down.0.weight"],
        "norm.bias": w["adapter_down.0.bias"],
        "down.weight": w["adapter_down.1.weight"],
        "down.bias": w["adapter_down.1.bias"],
        "up.weight": w["adapter_up.weight"],
        "up.bias": w["adapter_up.bias"],
        "gate.weight": w["gate.weight"] if count == 1 else torch.cat([w[f"gate{i + 1}.weight"] for i in range(gates)]),
    }
    for ours, theirs in prefix.items():
        for kind in ("weight", "bias"):
            state[f"side_norms.{ours}.{kind}"] = w[f"{theirs}_adapter_down.0.{kind}"]
            state[f"side_downs.{ours}.{kind}"] = w[f"{theirs}_adapter_down.1.{kind}"]
    module.load_state_dict(state)
    return module


def test_gmu_with_one_side_adds_to_the_residual_it_is_given(gmu: dict[str, Tensor]) -> None:
    module = published_gmu(gmu, "bi", 1)
    out = module(gmu["in.residual"], gmu["in.hidden"], sides_of(gmu, 1))
    torch.testing.assert_close(out, gmu["bi.out"], **EXACT)


@pytest.mark.parametrize(
    ("name", "ours"),
    [("relu", "relu"), ("tanh", "tanh"), ("swish", "silu"), ("leakyrelu", "leaky_relu")],
)
def test_gmu_activations(gmu: dict[str, Tensor], name: str, ours: str) -> None:
    module = published_gmu(gmu, "bi", 1, activation=ours)
    out = module(gmu["in.residual"], gmu["in.hidden"], sides_of(gmu, 1))
    torch.testing.assert_close(out, gmu[f"bi_{name}.out"], **EXACT)


@pytest.mark.parametrize(
    ("case", "weights", "count", "form"),
    [
        ("bi_full", "bi_full", 1, "readme"),
        ("tri", "tri", 2, "readme"),
        ("quad", "quad", 3, "published"),
        ("quad_fixed", "quad", 3, "readme"),
        ("quint_ext", "quint_ext", 4, "readme"),
    ],
)
def test_gmu_with_several_sides(gmu: dict[str, Tensor], case: str, weights: str, count: int, form: str) -> None:
    module = published_gmu(gmu, weights, count, form=form)
    out = module(gmu["in.hidden"], gmu["in.hidden"], sides_of(gmu, count))
    torch.testing.assert_close(out, gmu[f"{case}.out"], **EXACT)


def test_gmu_gradients_of_the_published_form(gmu: dict[str, Tensor]) -> None:
    module = published_gmu(gmu, "quad", 3, form="published")
    (module(gmu["in.hidden"], gmu["in.hidden"], sides_of(gmu, 3)) ** 2).sum().backward()
    for ours, theirs in {
        "down.weight": "adapter_down.1.weight",
        "up.weight": "adapter_up.weight",
        "norm.weight": "layer_norm_before.weight",
        "side_downs.m2.weight": "m2_adapter_down.1.weight",
        "side_norms.m3.bias": "m3_layer_norm_before.bias",
    }.items():
        found = module.get_parameter(ours).grad
        torch.testing.assert_close(found, gmu[f"quad.grad_sumsq.{theirs}"], rtol=1e-10, atol=1e-10)
    gates = torch.cat([gmu[f"quad.grad_sumsq.gate{i}.weight"] for i in (1, 2, 3)])
    torch.testing.assert_close(module.gate.weight.grad, gates, rtol=1e-10, atol=1e-10)


def test_text_only_adapter_of_multimodal_adapters_is_a_bottleneck_with_a_norm(gmu: dict[str, Tensor]) -> None:
    module = Bottleneck(Shape(12), {}, bottleneck=6, norm_before=True, activation="gelu_tanh").double()
    w = {name.removeprefix("text_only.w."): v for name, v in gmu.items() if name.startswith("text_only.w.")}
    module.load_state_dict(
        {
            "norm_before.weight": w["adapter_down.0.weight"],
            "norm_before.bias": w["adapter_down.0.bias"],
            "down.weight": w["adapter_down.1.weight"],
            "down.bias": w["adapter_down.1.bias"],
            "up.weight": w["adapter_up.weight"],
            "up.bias": w["adapter_up.bias"],
        }
    )
    h = gmu["in.hidden"]
    torch.testing.assert_close(module(h, h, Sides()), gmu["text_only.out"], **EXACT)


@pytest.mark.parametrize(
    ("sides", "options", "expected"),
    [({"poster": Shape(4096)}, {}, 379_264), ({"meta": Shape(312)}, {}, 3_108_480 // 24)],
)
def test_gmu_counts_of_the_published_table(sides: dict[str, Shape], options: dict, expected: int) -> None:
    module = GMU(Shape(768), sides, bottleneck=64, **options)
    assert sum(p.numel() for p in module.parameters()) == expected


def test_gmu_counts_with_four_and_three_modalities() -> None:
    four = GMU(Shape(768), {n: Shape(w) for n, w in zip("abcd", (4096, 4096, 96, 312), strict=True)}, bottleneck=64)
    three = GMU(Shape(768), {n: Shape(w) for n, w in zip("abc", (4096, 4096, 312), strict=True)}, bottleneck=64)
    assert sum(p.numel() for p in four.parameters()) == 770_928
    assert sum(p.numel() for p in three.parameters()) == 727_664


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
