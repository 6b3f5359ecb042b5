"""What `adapters` 1.3 was measured to get wrong: here each is right.

Proven elsewhere: a fresh adapter is the identity, and adapted models pickle, for every adapter on every family
(laws `identity_and_undo` and `copies`); timm models and multimodal adapters are under all laws; adapted models can be
exported as graphs (tests/laws/whole.py); tensors that do not fit are named (tests/unit/artifact/test_artifact_load.py).
"""

from __future__ import annotations

import copy
import pickle
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit import sides
from adaptkit.adapters.base import Shape
from adaptkit.artifact import load_artifact, merge, save_artifact
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.plan.grafting import PlanContext, plan_adapter
from adaptkit.recipe import load_recipe
from adaptkit.recipe.adapter import AdapterSpec
from adaptkit.surgery import Graft, adapters_of, insert, remove
from adaptkit.surgery.hooks import Adapters
from tests.laws.cases import total
from tests.laws.families import FAMILIES, Family, calm_outputs
from tests.laws.laws import Outputs, close, equal

UNREAD = 'modality.features={kind="features", width=4, route="fusion"}'
POSTER = torch.randn(3, 1, 5, generator=torch.Generator().manual_seed(6))


def planned(family: Family, name: str = "a", **table: Any) -> tuple[Graft, ...]:
    """What a recipe's table [adapter.NAME] becomes on this family."""
    return plan_adapter(
        name, AdapterSpec.of(**table), PlanContext(family.fresh(), family.anatomy(), {"poster": Shape(5, 1)})
    )


def run(model: nn.Module, family: Family) -> Outputs:
    with torch.no_grad(), sides.use_sides({"poster": POSTER}):
        return calm_outputs(model, family.inputs())


def stir(model: nn.Module, seed: int = 1) -> None:
    """Adapters away from their initial values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".adapters." in name and parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("rule", ["shared", "own"])
def test_the_rule_of_compacter_is_saved_with_any_model(tiny_recipe: Path, tmp_path: Path, rule: str) -> None:
    """`adapters` keeps `phm_rule` at a place that only models with a head save."""
    table = f'adapter.fuse={{kind="compacter", at=["mlp.sum"], phm_dim=2, bottleneck=4, rule="{rule}"}}'
    model = build_model(make_plan(load_recipe(tiny_recipe, [UNREAD, table])))
    stir(model)
    rules = [name for name in model.trainable_state() if ".rule." in name]
    assert len(rules) == (1 if rule == "shared" else 4), "each once"
    again = load_artifact(save_artifact(model, tmp_path / "artifact"))
    one, other = (each.backbone(torch.tensor([[2, 5, 6, 7, 3]]))[0] for each in (model, again))
    assert torch.equal(one, other)
    bare = {name: value for name, value in model.backbone.state_dict().items() if ".adapters." in name}
    assert any(".rule." in name for name in bare), "the bare model's state dict has it as well"


@pytest.mark.parametrize("kind", ["bottleneck", "gmu"])
@pytest.mark.parametrize("members", [2, 3])
def test_the_mean_of_equal_adapters_is_the_adapter(kind: str, members: int) -> None:
    """`adapters` divides by their number twice."""
    family = FAMILIES["bert"]
    table: dict[str, Any] = {"kind": kind, "at": ["mlp.out"], "bottleneck": 4}
    table |= {"sides": ["poster"]} if kind == "gmu" else {}
    single = family.fresh()
    insert(single, planned(family, "a0", **table), seed=3)
    stir(single)
    names = [f"a{index}" for index in range(members)]
    grafts = [graft for name in names for graft in planned(family, name, **table)]
    mean = {"kind": "parallel", "combine": "mean", "sides": [f"adapter:{name}" for name in names]}
    several = family.fresh()
    insert(several, [*grafts, *planned(family, "mean", at=["mlp.out"], **mean)], seed=4)
    values = {name: value for name, value in single.state_dict().items() if ".adapters." in name}
    for name in names:
        own = {key.replace(".adapters.a0.", f".adapters.{name}."): value for key, value in values.items()}
        assert not several.load_state_dict(own, strict=False).unexpected_keys
    assert not equal(run(single, family), run(family.fresh(), family)), "the adapter acts"
    assert close(run(several, family), run(single, family), 1e-6)


MERGES = [
    ("ia3", {}),
    ("ia3", {"on": "input"}),
    ("lora", {"rank": 2, "alpha": 7.0}),
    ("dora", {"rank": 2, "alpha": 2.0}),
    ("dora", {"rank": 2, "alpha": 7.0}),
    ("dora", {"rank": 4, "scaling": "rank_stabilized"}),
]


@pytest.mark.parametrize("name", ["bert", "gpt2", "timm_vit"])
@pytest.mark.parametrize(("kind", "options"), MERGES)
def test_merges_are_right_with_a_bias_and_with_any_alpha(name: str, kind: str, options: dict[str, Any]) -> None:
    """`adapters` forgets the bias of (IA)3 and DoRA, and the scale of DoRA."""
    family, at = FAMILIES[name], ["mlp.up", "mlp.down"] if options else ["attn.k", "attn.v", "mlp.down"]
    model: Any = family.fresh()
    plain: Any = family.fresh()
    receipt = insert(model, planned(family, kind=kind, at=at, **options))
    hosts = sorted({path for path, _ in receipt.grafts})
    assert all(model.get_submodule(path).bias.abs().max() > 0 for path in hosts), "each has a bias"
    stir(model)
    expected = run(model, family)
    merge(model, receipt)
    assert not close(run(plain, family), expected, 1e-3), "the adapters act"
    assert close(run(model, family), expected, 1e-5)
    for path in hosts:
        same = torch.equal(model.get_submodule(path).bias, plain.get_submodule(path).bias)
        assert same == (kind != "ia3" or "on" in options), "(IA)3 on the output scales the bias, nothing else does"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dora_leaves_the_backbone_as_it_was(dtype: torch.dtype) -> None:
    """The reset of `adapters` leaves other weights behind."""
    family = FAMILIES["bert"]
    model, plain = family.fresh().to(dtype), family.fresh().to(dtype)
    receipt = insert(model, planned(family, kind="dora", at=["attn.q", "attn.v", "mlp.up"], rank=2, alpha=7.0))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        total(calm_outputs(model, family.inputs())).backward()
        optimizer.step()
    assert not equal(run(model, family), run(plain, family))
    remove(model, receipt)
    assert equal(run(model, family), run(plain, family))
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in model.state_dict().items())


def test_vera_trains_vectors_only() -> None:
    """`adapters` trains its two matrices too."""
    family = FAMILIES["bert"]
    model = family.fresh()
    grafts = planned(family, kind="vera", at=["attn.q", "mlp.up"], rank=8)
    insert(model, grafts)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {name.rpartition(".")[2] for name in trainable} == {"d", "b"}
    assert all(parameter.dim() == 1 for parameter in trainable.values())
    assert (
        sum(p.numel() for p in trainable.values()) == sum(graft.trainable for graft in grafts) == 4 * 8 + 2 * (32 + 48)
    )
    matrices = {id(p) for name, p in model.named_parameters() if name.endswith((".A", ".B"))}
    assert len(matrices) == 2, "one pair for all layers"


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3", "vera", "loha", "lokr"])
def test_a_merged_model_is_a_plain_model(tmp_path: Path, kind: str) -> None:
    """In `adapters`, deleting what was merged raises; here nothing of it is left, and transformers saves the model."""
    from transformers import AutoModel

    family = FAMILIES["bert"]
    model: Any = family.fresh()
    modules = {name: type(module) for name, module in model.named_modules()}
    receipt = insert(model, planned(family, kind=kind, at=["attn.q", "mlp.down"]))
    stir(model)
    expected = run(model, family)
    merge(model, receipt)
    assert {name: type(module) for name, module in model.named_modules()} == modules
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert list(model.state_dict()) == list(family.fresh().state_dict())
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    assert equal(run(again, family), run(model, family))
    assert close(run(again, family), expected, 1e-5)


def seen_by(model: nn.Module, grafts: tuple[Graft, ...], family: Family) -> dict[str, tuple[Tensor, Tensor]]:
    """Path of the host -> what its adapter was given: the stream, and what it reads."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for graft in grafts:
        adapter = adapters_of(model.get_submodule(graft.site.path))[graft.child]
        keep = graft.site.path
        adapter.register_forward_hook(lambda _, args, output, keep=keep: seen.update({keep: args[:2]}))
    run(model, family)
    return seen


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "bart"])
@pytest.mark.parametrize("at", [["mlp.sum"], ["attn.sum"], ["attn.sum", "mlp.sum"]])
def test_every_layer_reads_its_stream_through_its_own_norm(name: str, at: list[str]) -> None:
    """The plug-in interface of `adapters` uses the last layer's norm in every layer."""
    family = FAMILIES[name]
    model = family.fresh()
    grafts = planned(family, kind="bottleneck", at=at, bottleneck=4)
    insert(model, grafts)
    stir(model)
    seen = seen_by(model, grafts, family)
    norms = {graft.site.path: model.get_submodule(graft.site.path) for graft in grafts}
    assert len(norms) == len(grafts) == len(seen) == sum(stack.depth for stack in family.anatomy().stacks) * len(at)
    for path, (h, z) in seen.items():
        for other, norm in norms.items():
            assert isinstance(norm, nn.LayerNorm)
            normed = functional.layer_norm(h, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
            assert torch.equal(z, normed) == (path == other), f"{path} through {other}"


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_self_attention_and_cross_attention_have_an_adapter_each(name: str) -> None:
    """In the plug-in interface of `adapters` the second takes the place of the first."""
    family = FAMILIES[name]
    model, plain = family.fresh(), run(family.fresh(), family)
    both = planned(family, kind="bottleneck", at=["decoder.attn.out", "decoder.cross_attn.out"], bottleneck=4)
    insert(model, both)
    hosts = {graft.site.path: graft.site.name for graft in both}
    adapters = {id(adapters_of(model.get_submodule(path))["a"]) for path in hosts}
    assert len(both) == len(hosts) == len(adapters) == 4
    words = {"bart": {"attn": "self_attn", "cross_attn": "encoder_attn"},
             "t5": {"attn": "SelfAttention", "cross_attn": "EncDecAttention"}}[name]  # fmt: skip
    assert all(f".{words[site.partition('.')[0]]}." in path for path, site in hosts.items())
    found = []
    for branch in ("attn", "cross_attn"):
        twin = copy.deepcopy(model)
        with torch.no_grad():
            for path, site in hosts.items():
                if site.startswith(f"{branch}."):
                    adapters_of(twin.get_submodule(path))["a"].up.bias.fill_(0.5)  # type: ignore[union-attr]
        found.append(run(twin, family))
        assert not equal(found[-1], plain), f"the adapter at {branch} acts"
    assert not equal(*found)


@pytest.mark.parametrize("name", ["llama", "bert", "gpt2", "bart", "t5", "vit", "timm_vit", "distilbert"])
def test_up_down_and_gate_are_the_projections_of_these_names(name: str) -> None:
    """`adapters` swaps the two of Llama and Mistral. Changed through LoRA or in the weight: the same outputs."""
    family = FAMILIES[name]
    names = {site.name for site in family.anatomy().sites} & {"mlp.up", "mlp.gate", "mlp.down"}
    assert {"mlp.up", "mlp.down"} <= names
    for place in sorted(names):
        model, changed = family.fresh(), family.fresh()
        grafts = planned(family, kind="lora", at=[place], rank=2)
        insert(model, grafts)
        stir(model)
        for graft in grafts:
            ends = graft.site.in_width or 0, graft.site.width
            narrow, wide = reversed(ends) if place == "mlp.down" else ends
            assert narrow == 32 < wide
            adapter = adapters_of(model.get_submodule(graft.site.path))["a"]
            weight: Any = changed.get_submodule(graft.site.path).weight
            delta = adapter.delta_weight()
            with torch.no_grad():
                weight.add_(delta.T if type(changed.get_submodule(graft.site.path)).__name__ == "Conv1D" else delta)
        assert close(run(model, family), run(changed, family), 1e-5)
        assert not close(run(model, family), run(family.fresh(), family), 1e-4)
    if name == "llama":
        last = [
            site.path.rpartition(".")[2] for site in family.anatomy().sites if site.name in names and site.layer == 0
        ]
        assert sorted(last) == ["down_proj", "gate_proj", "up_proj"]


def test_a_whole_adapted_model_pickles(tiny_recipe: Path) -> None:
    """With its plan, encoders and heads, so that it can be sent to another process."""
    model = build_model(make_plan(load_recipe(tiny_recipe)))
    stir(model.backbone)
    twin = pickle.loads(pickle.dumps(model))
    assert twin.plan == model.plan
    state = twin.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    given = torch.ones(1, 1, 4)
    with torch.no_grad(), sides.use_sides({"features": given}):
        ids = torch.tensor([[2, 5, 6, 7, 3]])
        expected = model.backbone(ids)[0]
        assert torch.equal(twin.backbone(ids)[0], expected)
        remove(twin.backbone, twin.receipt)
        assert not any(isinstance(module, Adapters) for module in twin.backbone.modules())
        assert torch.equal(model.backbone(ids)[0], expected), "the original keeps its own"


def test_no_library_is_held_back() -> None:
    """`adapters` needs one minor version of transformers; here each library has a least version and no greatest."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    needed = {
        word: each
        for each in project["dependencies"]
        for word in ("torch", "transformers", "timm")
        if each.startswith(word)
    }
    assert needed.keys() == {"torch", "transformers", "timm"}
    assert not any(sign in each for each in needed.values() for sign in ("<", "==", "~=", "!="))
