"""Every fusion: its equation, its count of parameters, what padding and absent modalities do."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from adaptkit.adapters.base import Shape
from adaptkit.errors import SiteError
from adaptkit.fusions import Concat, CrossModal, Fusion, GatedUnit, LowRankFusion, TensorFusion
from adaptkit.fusions.cross_modal import Layer, Transformer
from adaptkit.kinds import FUSIONS
from adaptkit.sides import Side

GOLDEN = Path(__file__).parents[2] / "goldens" / "gmu" / "module.safetensors"
EXACT = {"rtol": 0.0, "atol": 1e-10}
SHAPES = {"backbone": Shape(6, 7), "video": Shape(4, 1), "sound": Shape(5, 3)}  # in no alphabetical order
MADE = {
    "concat": Concat(SHAPES),
    "concat_plain": Concat(SHAPES, norm=False),
    "concat_projected": Concat(SHAPES, width=3, norm=False),
    "concat_repeated": Concat(SHAPES, repeat=2),
    "gmu": GatedUnit(SHAPES, width=8),
    "gmu_plain": GatedUnit(SHAPES, width=8, norm=False),
    "low_rank": LowRankFusion(SHAPES, width=8, rank=3),
    "low_rank_plain": LowRankFusion(SHAPES, width=8, rank=3, norm=False),
    "tensor": TensorFusion(SHAPES),
    "tensor_plain": TensorFusion(SHAPES, norm=False),
    "tensor_projected": TensorFusion(SHAPES, width=2),
    "cross_modal": CrossModal(SHAPES, width=4, heads=2, layers=2),
    "cross_modal_plain": CrossModal(SHAPES, width=4, heads=2, layers=2, norm=False),
    "cross_modal_wide": CrossModal(SHAPES, width=4, heads=2, layers=1, self_layers=1, kernel=3, pool="mean"),
}
MADE = {name: module.double().eval() for name, module in MADE.items()}


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def streams(*, batch: int = 3, seed: int = 0) -> dict[str, Side]:
    """Sequences of several lengths, padded at the end, or with gaps in between; the second sample lacks the sound."""
    generator = torch.Generator().manual_seed(seed)

    def side(rows: list[list[int]], width: int) -> Side:
        mask = torch.tensor(rows, dtype=torch.bool)
        tensor = torch.randn(*mask.shape, width, generator=generator, dtype=torch.float64)
        return Side(torch.where(mask.unsqueeze(-1), tensor, 0.0), mask, mask.any(1))

    assert batch == 3
    backbone = side([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 1, 0]], 6)
    video = side([[1], [1], [0]], 4)
    return {"backbone": backbone, "video": video, "sound": side([[1, 1, 1], [0, 0, 0], [1, 0, 0]], 5)}


def without_padding(given: Mapping[str, Side], index: int) -> dict[str, Side]:
    """One sample alone; an absent modality is one token that does not count."""
    alone = {}
    for name, side in given.items():
        kept = side.tensor[index][side.mask[index]]
        if len(kept):
            alone[name] = Side.of(kept.unsqueeze(0))
        else:
            none = torch.zeros(1, 1, dtype=torch.bool)
            alone[name] = Side(side.tensor[index : index + 1, :1], none, none.any(1))
    return alone


@pytest.mark.parametrize("name", MADE)
def test_padding_changes_nothing(name: str) -> None:
    if name == "cross_modal_wide":  # its convolution sees neighbours, so gaps within a sequence are not padding
        given = streams()
        given["backbone"].mask[2] = torch.tensor([1, 1, 1, 0, 0, 0, 0], dtype=torch.bool)
    else:
        given = streams()
    module = MADE[name]
    together = module(given)
    assert together.shape == (3, module.out_width)
    for index in range(3):
        torch.testing.assert_close(module(without_padding(given, index))[0], together[index], **EXACT)


@pytest.mark.parametrize("name", MADE)
def test_what_does_not_count_is_not_read(name: str) -> None:
    """Not its values, and nothing becomes NaN where a modality is absent, in the gradients neither."""
    module, given = MADE[name], streams()
    before = module(given)
    for noise in (9.0, torch.nan):
        noisy = {
            key: Side(torch.where(side.mask.unsqueeze(-1), side.tensor, noise), side.mask, side.present)
            for key, side in given.items()
        }
        torch.testing.assert_close(module(noisy), before, **EXACT)
    leaves = {key: side.tensor.clone().requires_grad_() for key, side in noisy.items()}
    module.zero_grad()
    module({key: Side(leaves[key], side.mask, side.present) for key, side in given.items()}).pow(2).sum().backward()
    for key, leaf in leaves.items():
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
        assert (leaf.grad[~given[key].mask] == 0).all()
        assert (leaf.grad[given[key].mask] != 0).any()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("name", [name for name, module in MADE.items() if size(module)])
def test_every_parameter_learns(name: str) -> None:
    module = MADE[name]
    module.zero_grad()
    module(streams()).pow(3).sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in module.parameters())


@pytest.mark.parametrize("name", MADE)
def test_half_precision_comes_out_as_the_parameters_are(name: str) -> None:
    module = MADE[name]
    half = {k: Side(s.tensor.to(torch.bfloat16), s.mask, s.present) for k, s in streams().items()}
    expected = torch.float64 if size(module) else torch.bfloat16
    assert module(half).dtype == expected


def test_counts_are_those_of_the_formulas() -> None:
    """docs/fusion.md."""
    e, k = [6, 4, 5], 3
    norms = 2 * sum(e)
    assert size(Concat(SHAPES, norm=False)) == size(Concat({"backbone": Shape(6)})) == 0
    assert size(Concat(SHAPES, width=3, norm=False)) == sum(n * 3 + 3 for n in e)
    assert size(GatedUnit(SHAPES, width=8, norm=False)) == sum(e) * 8 + k * 8 * sum(e)
    for made in (Concat, GatedUnit, LowRankFusion, TensorFusion, CrossModal):
        assert size(made(SHAPES)) == size(made(SHAPES, norm=False)) + norms
    two = {name: SHAPES[name] for name in ("backbone", "video")}
    assert size(GatedUnit(two, width=8, norm=False)) == 10 * 8 + 8 * 10
    assert size(LowRankFusion(SHAPES, width=8, rank=3, norm=False)) == 3 * 8 * sum(n + 1 for n in e) + 3 + 8
    assert size(TensorFusion(SHAPES, width=2, norm=False)) == sum(n * 2 + 2 for n in e)
    assert TensorFusion(SHAPES).out_width == 7 * 5 * 6
    d, layers, own, c, kernel = 4, 2, 3, 8, 3
    assert size(CrossModal(SHAPES, width=d, heads=2, layers=layers, kernel=kernel, norm=False)) == kernel * d * sum(
        e
    ) + k * (k - 1) * (layers * (12 * d * d + 13 * d) + 2 * d) + k * (own * (12 * c * c + 13 * c) + 2 * c)


@pytest.mark.parametrize(("case", "count"), [("gmu2", 2), ("gmu3", 3)])
def test_the_gated_unit_gives_the_published_numbers(case: str, count: int) -> None:
    """GMU and TextShifting3Layer of the Multimodal-Adapters code: untied gates, for two inputs too."""
    golden = load_file(GOLDEN)
    xs = {f"x{i}": golden[f"gmu.in.x{i}"] for i in range(1, count + 1)}
    module = GatedUnit(
        {name: Shape(x.shape[1]) for name, x in xs.items()}, width=6, gates="untied", norm=False
    ).double()
    weights = {f"hidden.x{i}.weight": golden[f"{case}.w.hidden{i}.weight"] for i in range(1, count + 1)}
    weights["gate.weight"] = torch.cat([golden[f"{case}.w.x{i}_gate.weight"] for i in range(1, count + 1)])
    module.load_state_dict(weights)
    torch.testing.assert_close(module({n: Side.of(x) for n, x in xs.items()}), golden[f"{case}.out"], **EXACT)
    if f"{case}.z" in golden:
        torch.testing.assert_close(module.gates(torch.cat([*xs.values()], 1)), golden[f"{case}.z"], **EXACT)


def test_one_tied_gate_for_two_streams() -> None:
    """h = z * tanh(W_v x_v) + (1 - z) * tanh(W_t x_t), z = sigmoid(W_z [x_v; x_t])."""
    v, t = torch.randn(2, 4), torch.randn(2, 5)
    unit = GatedUnit({"v": Shape(4), "t": Shape(5)}, width=3, norm=False)
    weights = unit.state_dict()
    z = torch.sigmoid(torch.cat([v, t], 1) @ weights["gate.weight"].T)
    expected = z * torch.tanh(v @ weights["hidden.v.weight"].T) + (1 - z) * torch.tanh(t @ weights["hidden.t.weight"].T)
    torch.testing.assert_close(unit({"v": Side.of(v), "t": Side.of(t)}), expected)
    with pytest.raises(SiteError, match="two streams, not 3"):
        GatedUnit(SHAPES, gates="tied")


def test_low_rank_fusion_is_tensor_fusion_and_a_linear_layer_of_low_rank() -> None:
    """Liu et al. 2018: the factors spell out the weight of a linear layer on the tensor of all products."""
    low, full = MADE["low_rank_plain"], MADE["tensor_plain"]
    assert isinstance(low, LowRankFusion)
    a, b, c = (low.factors[name] for name in SHAPES)  # (R, E + 1, W) each
    weight = torch.einsum("r,rew,rfw,rgw->wefg", low.weights[0], a, b, c).flatten(1)
    given = streams()
    torch.testing.assert_close(low(given), full(given) @ weight.T + low.bias, **EXACT)


def test_tensor_fusion_holds_every_product() -> None:
    x, y = torch.tensor([[2.0, 3.0]]), torch.tensor([[5.0]])
    made = TensorFusion({"x": Shape(2), "y": Shape(1)}, norm=False)({"x": Side.of(x), "y": Side.of(y)})
    assert made.tolist() == [[10.0, 2.0, 15.0, 3.0, 5.0, 1.0]]


def test_a_vector_may_stand_for_several() -> None:
    given = {"backbone": Side.of(torch.tensor([[2.0, 3.0]]))}
    assert Concat({"backbone": Shape(2)}, repeat=3)(given).tolist() == [[2.0, 3.0] * 3]


def test_too_large_a_tensor_is_refused_with_a_width_that_works() -> None:
    wide = {"backbone": Shape(768), "poster": Shape(4096), "sound": Shape(74)}
    with pytest.raises(SiteError, match=r"769 x 4097 x 75 = 236,294,475") as caught:
        TensorFusion(wide)
    width = int(caught.value.problems[0].hint.split()[3])
    assert TensorFusion(wide, width=width).out_width <= 2**20
    with pytest.raises(SiteError):
        TensorFusion(wide, width=width + 1)


def test_an_absent_modality_leaves_the_products_of_the_others() -> None:
    """So the tensor of two streams is within that of three, and a concatenation has zeros."""
    given, whole = streams(), MADE["tensor"]
    pair = TensorFusion({name: SHAPES[name] for name in ("backbone", "video")}).double()
    found = whole(given)[1].unflatten(0, (7, 5, 6))
    torch.testing.assert_close(found[..., -1].flatten(), pair(given)[1], **EXACT)
    assert (found[..., :-1] == 0).all()
    assert (MADE["concat_projected"](given)[1, 6:] == 0).all()


def test_a_layer_that_attends_to_itself_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours = Layer(8, 2, 0.0).double().eval()
    theirs = nn.TransformerEncoderLayer(8, 2, 32, 0.0, batch_first=True, norm_first=True).double()
    names = {"attention": "self_attn", "norm_mlp": "norm2", "norm": "norm1", "up": "linear1", "down": "linear2"}
    state = {}
    for name, value in ours.state_dict().items():
        module, _, rest = name.partition(".")
        state[f"{names[module]}.{rest}"] = value
    theirs.load_state_dict(state)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    counts = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=torch.bool)
    expected = theirs(x, src_key_padding_mask=~counts)
    torch.testing.assert_close(ours(x, x, counts)[counts], expected[counts], **EXACT)


def test_attention_to_another_sequence_by_hand() -> None:
    """x + softmax(q k^T / sqrt(D)) v, q of norm(x), k and v of norm(source); then the feed-forward branch."""
    torch.manual_seed(1)
    layer = Layer(4, 1, 0.0).double()
    x, source = torch.randn(1, 3, 4, dtype=torch.float64), torch.randn(1, 5, 4, dtype=torch.float64)
    attention = layer.attention
    wq, wk, wv = attention.in_proj_weight.chunk(3)
    q, k, v = layer.norm(x) @ wq.T, layer.norm(source) @ wk.T, layer.norm(source) @ wv.T
    y = x + attention.out_proj(torch.softmax(q @ k.mT / 2, dim=-1) @ v)
    y = y + layer.down(torch.relu(layer.up(layer.norm_mlp(y))))
    torch.testing.assert_close(layer(x, source, torch.ones(1, 5, dtype=torch.bool)), y, **EXACT)


def test_cross_modal_transformers_by_hand() -> None:
    """Two streams: each target reads the other once, then itself; the last token of both goes on."""
    module = (
        CrossModal({"a": Shape(3), "b": Shape(2)}, width=4, heads=2, layers=1, self_layers=1, norm=False)
        .double()
        .eval()
    )
    a, b = (Side.of(torch.randn(1, length, width, dtype=torch.float64)) for length, width in ((3, 3), (2, 2)))
    xa, xb = module.embedded("a", a), module.embedded("b", b)
    angle = torch.tensor([[n, n * 1e-4] for n in (1.0, 2.0)], dtype=torch.float64)
    first = 2 * b.tensor @ module.state_dict()["embed.b.weight"][..., 0].T  # sqrt(4) = 2
    torch.testing.assert_close(xb, first + torch.cat([angle.sin(), angle.cos()], 1), rtol=0, atol=1e-6)
    parts = dict(module.named_modules())

    def by_hand(target: str, other: str, x: Tensor, source: Tensor) -> Tensor:
        pair, own = parts[f"cross.{target}.{other}"], parts[f"own.{target}"]
        assert isinstance(pair, Transformer)
        assert isinstance(own, Transformer)
        every = torch.ones(1, source.shape[1], dtype=torch.bool)
        seen = pair.norm(pair.layers[0](x, source, every))
        return own.norm(own.layers[0](seen, seen, torch.ones(1, x.shape[1], dtype=torch.bool)))[:, -1]

    expected = torch.cat([by_hand("a", "b", xa, xb), by_hand("b", "a", xb, xa)], dim=1)
    torch.testing.assert_close(module({"a": a, "b": b}), expected, **EXACT)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 7, "heads": 2}, "does not divide"), ({"kernel": 2}, "kernel = 3"), ({"layers": 0}, "layers = 0")],
)
def test_sizes_that_cannot_work(options: dict, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        CrossModal(SHAPES, **options)


@pytest.mark.parametrize("kind", ["gmu", "low_rank", "tensor", "cross_modal"])
def test_nothing_to_fuse(kind: str) -> None:
    with pytest.raises(SiteError, match="at least 2 streams"):
        FUSIONS[kind]({"backbone": Shape(4)})


def test_signatures_are_those_of_the_classes() -> None:
    signatures = FUSIONS.kinds
    assert signatures.keys() == FUSIONS.keys()
    for kind, entry in FUSIONS.items():
        signature = signatures[kind]
        keywords = {
            name: parameter.default
            for name, parameter in inspect.signature(entry).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        assert {name: parameter.default for name, parameter in signature.keys.items()} == keywords
        assert all(parameter.doc for parameter in signature.keys.values())
        for fact in ("paper", "formula", "least", "sequences"):
            assert signature.facts[fact] == getattr(entry, fact)
        assert issubclass(entry, Fusion)
