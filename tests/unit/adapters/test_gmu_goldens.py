"""Every number of Multimodal-Adapters' modules (float64), reproduced by ours: GMU, MAG, fusion, attention.

The published classes are named in the comments; `ALL` proves that no golden is left aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from adaptkit.adapters import GMU, MAG, Adapter, AdapterFusion, Bottleneck, CrossAttention
from adaptkit.adapters.base import Shape
from adaptkit.sides import Side, Sides

EXACT = {"rtol": 0.0, "atol": 1e-10}
FILE = Path(__file__).parents[2] / "goldens" / "gmu" / "module.safetensors"

# Tensors of the file that enter no result: parameters that the published classes create and never use.
UNUSED = re.compile(r"(tri|quad)\.w\.m\d_adapter_up\.|mag\.w\.dummy_param")
# The same tensors under a second name.
TWICE = re.compile(r"\.w\.(m\d?_)?layer_norm_before\.")


class Goldens(dict[str, Tensor]):
    """The file's tensors, and which of them were looked at."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__(tensors)
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.used.add(name)
        return super().__getitem__(name)

    def weights(self, case: str) -> Iterator[str]:
        return (name.removeprefix(f"{case}.w.") for name in self if name.startswith(f"{case}.w."))


@pytest.fixture(scope="module")
def golden() -> Goldens:
    return Goldens(load_file(FILE))


def sides_of(golden: Goldens, count: int) -> Sides:
    return Sides({f"m{i}": Side.of(golden[f"in.m{i}"]) for i in range(1, count + 1)})


def names_of_gmu(count: int) -> dict[str, str]:
    """Our parameter -> the published one, without the gates."""
    prefix = {f"m{i}": "m" if count == 1 else f"m{i}" for i in range(1, count + 1)}
    names = {f"up.{kind}": f"adapter_up.{kind}" for kind in ("weight", "bias")}
    for kind in ("weight", "bias"):
        names |= {f"norm.{kind}": f"adapter_down.0.{kind}", f"down.{kind}": f"adapter_down.1.{kind}"}
        for ours, theirs in prefix.items():
            names[f"side_norms.{ours}.{kind}"] = f"{theirs}_adapter_down.0.{kind}"
            names[f"side_downs.{ours}.{kind}"] = f"{theirs}_adapter_down.1.{kind}"
    return names


def published_gmu(golden: Goldens, case: str, count: int, **options) -> GMU:
    """Our module with the published weights of a case."""
    shapes = {f"m{i}": Shape(golden[f"in.m{i}"].shape[1]) for i in range(1, count + 1)}
    module = GMU(Shape(12), shapes, bottleneck=6, **options).double()
    state = {ours: golden[f"{case}.w.{theirs}"] for ours, theirs in names_of_gmu(count).items()}
    gates = ["gate"] if count == 1 else [f"gate{i + 1}" for i in range(module.gate.out_features // 6)]
    state["gate.weight"] = torch.cat([golden[f"{case}.w.{gate}.weight"] for gate in gates])
    module.load_state_dict(state)
    return module


def check_text_only(golden: Goldens) -> None:
    """BertAdapter is a bottleneck with a norm."""
    module = Bottleneck(Shape(12), {}, bottleneck=6, norm_before=True, activation="gelu_tanh").double()
    theirs = {"norm_before": "adapter_down.0", "down": "adapter_down.1", "up": "adapter_up"}
    module.load_state_dict(
        {f"{o}.{kind}": golden[f"text_only.w.{t}.{kind}"] for o, t in theirs.items() for kind in ("weight", "bias")}
    )
    h = golden["in.hidden"]
    torch.testing.assert_close(module(h, h, Sides()), golden["text_only.out"], **EXACT)


def check_one_side(golden: Goldens) -> None:
    """BertMultimodalAdapter: one tied gate; it adds to the residual that it is given."""
    module, sides = published_gmu(golden, "bi", 1), sides_of(golden, 1)
    h, residual = golden["in.hidden"], golden["in.residual"]
    torch.testing.assert_close(module(residual, h, sides), golden["bi.out"], **EXACT)
    torch.testing.assert_close(module.delta(h, sides), golden["bi.up"], **EXACT)
    torch.testing.assert_close(module.parts(h, sides)[2], golden["bi.gate"], **EXACT)


def check_activations(golden: Goldens) -> None:
    for name, ours in {"relu": "relu", "tanh": "tanh", "swish": "silu", "leakyrelu": "leaky_relu"}.items():
        module = published_gmu(golden, "bi", 1, activation=ours)
        out = module(golden["in.residual"], golden["in.hidden"], sides_of(golden, 1))
        torch.testing.assert_close(out, golden[f"bi_{name}.out"], **EXACT)


def check_one_side_of_the_full_model(golden: Goldens) -> None:
    """mmadapterfull.BertMultimodalAdapter, which also hands back m + U_m d_m(m), read by nobody."""
    module, sides = published_gmu(golden, "bi_full", 1), sides_of(golden, 1)
    h = golden["in.hidden"]
    torch.testing.assert_close(module(h, h, sides), golden["bi_full.out"], **EXACT)
    torch.testing.assert_close(module.parts(h, sides)[2], golden["bi_full.gate"], **EXACT)
    up = [golden[f"bi_full.w.m_adapter_up.{kind}"] for kind in ("weight", "bias")]
    moved = golden["in.m1"] + torch.nn.functional.linear(module.project_sides(sides)[:, 0], *up)
    torch.testing.assert_close(moved, golden["bi_full.mod_out"], **EXACT)


SEVERAL = {  # case: (its weights, number of sides, form)
    "tri": ("tri", 2, "readme"),  # Bert3MultimodalAdapter
    "quad": ("quad", 3, "published"),  # Bert4MultimodalAdapter as shipped
    "quad_fixed": ("quad", 3, "readme"),  # the same with its fourth gate
    "quint_ext": ("quint_ext", 4, "readme"),  # the diagram of the README
}


def check_several_sides(golden: Goldens) -> None:
    for case, (weights, count, form) in SEVERAL.items():
        module, sides = published_gmu(golden, weights, count, form=form), sides_of(golden, count)
        h = golden["in.hidden"]
        torch.testing.assert_close(module(h, h, sides), golden[f"{case}.out"], **EXACT)
        gates = [*module.parts(h, sides)[2].split(6, dim=-1)]
        if module.shares_last_gate:
            gates.append(gates[-1])
            torch.testing.assert_close(torch.cat(gates, dim=1), golden[f"{case}.scores_cat_dim1"], **EXACT)
        for index, gate in enumerate(gates, 1):
            torch.testing.assert_close(gate, golden[f"{case}.gate{index}"], **EXACT)


def check_gradients(golden: Goldens) -> None:
    """d sum(out²) of Bert4MultimodalAdapter; the file leaves out what has none."""
    module = published_gmu(golden, "quad", 3, form="published")
    h = golden["in.hidden"]
    (module(h, h, sides_of(golden, 3)) ** 2).sum().backward()
    theirs = names_of_gmu(3)
    for ours, parameter in module.named_parameters():
        if ours == "gate.weight":
            expected = torch.cat([golden[f"quad.grad_sumsq.gate{i}.weight"] for i in (1, 2, 3)])
        else:
            # The file has the norms by their own name.
            expected = golden[f"quad.grad_sumsq.{theirs[ours].replace('adapter_down.0', 'layer_norm_before')}"]
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-10, atol=1e-10)


def check_classic(golden: Goldens) -> None:
    """GMU and TextShifting3Layer: Arevalo's unit with a gate per input; its first input is our stream."""
    for case, count in {"gmu2": 2, "gmu3": 3}.items():
        xs = [golden[f"gmu.in.x{i}"] for i in range(1, count + 1)]
        shapes = {f"x{i}": Shape(x.shape[1]) for i, x in enumerate(xs[1:], 2)}
        module = GMU(Shape(xs[0].shape[1]), shapes, bottleneck=6, form="classic").double()
        weights = {"down.weight": golden[f"{case}.w.hidden1.weight"]}
        weights |= {f"side_downs.x{i}.weight": golden[f"{case}.w.hidden{i}.weight"] for i in range(2, count + 1)}
        weights["gate.weight"] = torch.cat([golden[f"{case}.w.x{i}_gate.weight"] for i in range(1, count + 1)])
        assert set(module.load_state_dict(weights, strict=False).missing_keys) == {"up.weight", "up.bias"}
        sides = Sides({f"x{i}": Side.of(x) for i, x in enumerate(xs[1:], 2)})
        a, b, gates = module.parts(xs[0].unsqueeze(1), sides)  # one token
        if f"{case}.z" in golden:  # only of the two
            torch.testing.assert_close(gates[:, 0], golden[f"{case}.z"], **EXACT)
        torch.testing.assert_close(module.mix(a, b, gates)[:, 0], golden[f"{case}.out"], **EXACT)


def members_of(golden: Goldens) -> tuple[Sides, dict[str, Shape]]:
    changes = golden["fusion.in.ups"]  # (B, T, M, D)
    sides = Sides({f"u{k}": Side.of(change) for k, change in enumerate(changes.unbind(2))})
    return sides, {name: Shape(12) for name in sides}


def check_fusion(golden: Goldens) -> None:
    """BertMultimodalFusion."""
    sides, shapes = members_of(golden)
    module = AdapterFusion(Shape(12), shapes).double().eval()
    state = {f"combine.{name}": golden[f"fusion.w.{name}"] for name in golden.weights("fusion")}
    module.load_state_dict(state)
    h, residual = golden["in.hidden"], golden["in.residual"]
    torch.testing.assert_close(module(residual, h, sides), golden["fusion.out"], **EXACT)
    weights = module.combine.weights(h, golden["fusion.in.ups"])
    torch.testing.assert_close(weights, golden["fusion.probs"], **EXACT)


def check_gated_fusion(golden: Goldens) -> None:
    """BertMultimodalFusion_."""
    sides, shapes = members_of(golden)
    module = AdapterFusion(Shape(12), shapes, form="gmu", bottleneck=6).double()
    theirs = {"up": "adapter_up", "norms.0": "adapter_down.0", "downs.0": "adapter_down.1"}
    theirs |= {"norms.1": "m_adapter_down.0", "downs.1": "m_adapter_down.1"}
    names = {f"{o}.{kind}": f"{t}.{kind}" for o, t in theirs.items() for kind in ("weight", "bias")}
    names["gate.weight"] = "gate.weight"
    module.load_state_dict({f"combine.{o}": golden[f"fusion_gmu.w.{t}"] for o, t in names.items()})
    h, residual = golden["in.hidden"], golden["in.residual"]
    torch.testing.assert_close(module(residual, h, sides), golden["fusion_gmu.out"], **EXACT)
    pairs = zip(module.combine.norms, module.combine.downs, golden["fusion.in.ups"].unbind(2), strict=True)
    b = torch.stack([module.combine.act(down(norm(u))) for norm, down, u in pairs], dim=2)
    torch.testing.assert_close(module.combine.gates(b)[:, :, 0], golden["fusion_gmu.gate"], **EXACT)


def check_mag(golden: Goldens) -> None:
    """BertMultimodalMAGAdapter."""
    module = MAG(Shape(12), {"m1": Shape(5)}, beta=1e-3, norm_sides=False, norm_after=True, dropout=0.5).double().eval()
    theirs = {"gates.m1": "W_hv", "values.m1": "W_v", "norm_after": "LayerNorm"}
    module.load_state_dict(
        {f"{o}.{kind}": golden[f"mag.w.{t}.{kind}"] for o, t in theirs.items() for kind in ("weight", "bias")}
    )
    h = golden["in.hidden"]
    torch.testing.assert_close(module(h, h, sides_of(golden, 1)), golden["mag.out"], **EXACT)
    torch.testing.assert_close(h + module.delta(h, sides_of(golden, 1)), golden["mag.out"], **EXACT)


def check_attention(golden: Goldens) -> None:
    """BertMultimodalAttentionAdapter cannot be built, so the file has only its input; here is its equation.

    q = (Wq h + bq) / sqrt(P), K = Wk m + bk, V = Wv m, U softmax(q K^T) V. Its bk changes nothing, and a norm stands
    before our queries.
    """
    h, m = golden["in.hidden"], golden["attn.in.mod"]  # (2, 3, 12), (2, 4, 5)
    module = CrossAttention(Shape(12), {"m": Shape(5)}, heads=1, bottleneck=6, norm_sides=False).double()
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    q = module.query(module.norm(h)) * 6**-0.5
    keys = m @ module.keys["m"].weight.T + torch.randn(6).double()
    expected = module.out(torch.softmax(q @ keys.mT, dim=-1) @ (m @ module.values["m"].weight.T))
    torch.testing.assert_close(module.delta(h, Sides({"m": Side.of(m)})), expected, **EXACT)


ALL = [value for name, value in list(globals().items()) if name.startswith("check_")]


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.__name__.removeprefix("check_"))
def test_published_numbers(golden: Goldens, check) -> None:
    check(golden)


def test_every_number_of_the_file_is_checked() -> None:
    golden = Goldens(load_file(FILE))
    for check in ALL:
        check(golden)
    left = {name for name in golden if name not in golden.used and not UNUSED.match(name)}
    for name in {name for name in left if TWICE.search(name)}:
        other = name.replace("layer_norm_before", "adapter_down.0")
        assert torch.equal(golden[name], golden[other])
        left.remove(name)
    assert not left


def count(adapter: Adapter) -> int:
    return sum(parameter.numel() for parameter in adapter.parameters())


def test_counts_of_the_published_table() -> None:
    assert count(GMU(Shape(768), {"poster": Shape(4096)}, bottleneck=64)) == 379_264
    assert count(GMU(Shape(768), {"meta": Shape(312)}, bottleneck=64)) == 3_108_480 // 24
    four = {name: Shape(width) for name, width in zip("abcd", (4096, 4096, 96, 312), strict=True)}
    three = {name: Shape(width) for name, width in zip("abc", (4096, 4096, 312), strict=True)}
    assert count(GMU(Shape(768), four, bottleneck=64)) == 770_928
    assert count(GMU(Shape(768), three, bottleneck=64)) == 727_664
    members = {name: Shape(768) for name in ("image", "video")}
    assert count(AdapterFusion(Shape(768), members)) == 1_771_008
    assert count(AdapterFusion(Shape(768), members, form="gmu", bottleneck=64)) == 3_830_784 // 24
