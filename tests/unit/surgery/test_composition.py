"""Several adapters together: shared over layers, one per task, combined at a site, reading spans and other towers."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.adapters.base import Shape
from adaptkit.anatomy import study
from adaptkit.errors import SiteError
from adaptkit.plan.grafting import PlanContext, plan_adapter
from adaptkit.plan.parameters import unfrozen_parameters
from adaptkit.recipe.adapter import AdapterSpec
from adaptkit.surgery import Graft, insert, remove
from adaptkit.surgery.applying import Binding, check_rows
from adaptkit.surgery.capturing import capture_block, release_block
from adaptkit.surgery.lengthening import last_block
from tests.laws.families import FAMILIES, Family, outputs
from tests.laws.zoo import ZOO

GMU_AT_MLP: dict[str, Any] = {"kind": "gmu", "at": ["mlp.out"], "sides": ["poster"], "bottleneck": 4}
BERT, CLIP = FAMILIES["bert"], FAMILIES["clip"]


def context(model: nn.Module, **given: Any) -> PlanContext:
    return PlanContext(model, study(model, name="tiny"), **given)


def planned(model: nn.Module, given: PlanContext | None = None, name: str = "a", **table: Any) -> tuple[Graft, ...]:
    return plan_adapter(name, AdapterSpec.of(**table), given or context(model))


def stir(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".adapters." in name and parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def last(model: nn.Module, **kwargs: Any) -> Tensor:
    with torch.no_grad(), sides.use_sides(kwargs.pop("given", {}), **kwargs):
        return outputs(model, BERT.inputs())[0]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_an_adapted_model_has_the_anatomy_of_its_backbone(family: Family) -> None:
    """With an adapter at every site. Those that are there are neither blocks nor branches of the model."""
    model, plain = family.fresh(), family.anatomy()
    given = PlanContext(model, plain, lengths=family.lengths)
    kinds = {"sequence": {"kind": "prompt", "length": 2}, "attention": {"kind": "prefix", "length": 2}}
    small = {"kind": "bottleneck", "bottleneck": 2}
    for number, name in enumerate(dict.fromkeys(site.full_name for site in plain.sites)):
        when = next(site.when for site in plain.sites if site.full_name == name)
        grafts = planned(model, given, f"a{number}", at=[name], **kinds.get(when, small))
        insert(model, grafts, unfrozen=unfrozen_parameters(model, ["norm"]))
    keys, hooks = list(model.state_dict()), [list(module._forward_hooks.values()) for module in model.modules()]
    assert study(model, name=family.name) == plain
    assert list(model.state_dict()) == keys
    assert [list(module._forward_hooks.values()) for module in model.modules()] == hooks


def test_layers_share_one_adapter_that_is_counted_once() -> None:
    model = BERT.build()
    plain = last(model)
    grafts = planned(model, kind="bottleneck", at=["attn.out", "mlp.out"], share="layers", bottleneck=4)
    own = planned(model, kind="bottleneck", at=["attn.out", "mlp.out"], bottleneck=4)
    assert len(grafts) == len(own) == 4
    assert sum(graft.parameters for graft in grafts) == sum(graft.parameters for graft in own) / 2
    receipt = insert(model, grafts)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == sum(g.parameters for g in grafts)
    hosts = [model.get_submodule(graft.site.path).adapters["a"] for graft in grafts]
    assert len({id(host) for host in hosts}) == 2
    stir(model)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    assert torch.equal(last(twin), last(model))
    assert not torch.equal(last(model), plain)
    remove(model, receipt)
    assert torch.equal(last(model), plain)


def test_layers_of_different_width_cannot_share() -> None:
    model = FAMILIES["timm_resnet"].build()
    with pytest.raises(SiteError, match="cannot share one adapter"):
        planned(model, kind="bottleneck", at=["block.out"], share="layers", bottleneck=4)


@pytest.mark.parametrize("sharing", ["multiple", "half_shared_up", "half_shared_down"])
def test_every_task_has_its_own_copy(sharing: str) -> None:
    model = BERT.build()
    tasks = ("vqa", "gqa")
    grafts = planned(
        model, context(model, tasks=tasks), kind="bottleneck", at=["mlp.out"], per_task=sharing, bottleneck=4
    )
    insert(model, grafts, seed=1)
    stir(model)
    first, second = last(model, task="vqa"), last(model, task="gqa")
    assert not torch.equal(first, second)
    with pytest.raises(SiteError, match="task"):
        last(model)
    shared = {"multiple": 0, "half_shared_up": 4 * 32 + 32, "half_shared_down": 32 * 4 + 4}[sharing]
    one = 2 * 32 * 4 + 32 + 4
    assert sum(graft.parameters for graft in grafts) == 2 * (2 * one - shared)


def test_one_adapter_for_all_tasks_needs_no_task() -> None:
    model = BERT.build()
    insert(model, planned(model, context(model, tasks=("vqa", "gqa")), kind="bottleneck", at=["mlp.out"]))
    last(model)


def test_a_parallel_kind_adds_what_its_members_change() -> None:
    """Two members and their sum equal two adapters that read the same stream, and frozen members stay frozen."""
    model, given = BERT.build(), None
    given = context(model)
    table = {"kind": "bottleneck", "at": ["mlp.out"], "layers": "last", "bottleneck": 4}
    members = [*planned(model, given, "plot", **table, train=False), *planned(model, given, "poster", **table)]
    both = planned(
        model, given, "both", kind="parallel", at=["mlp.out"], layers="last", sides=["adapter:plot", "adapter:poster"]
    )
    receipt = insert(model, [*members, *both], seed=3)
    moving = [name for name, p in model.named_parameters() if p.requires_grad]
    assert moving
    assert not any("adapters.plot" in name for name in moving)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    stir(model)
    host = model.get_submodule(members[0].site.path)
    plot, poster = host.adapters["plot"], host.adapters["poster"]
    seen: dict[str, Tensor] = {}
    handle = host.register_forward_hook(lambda _, args, output: seen.setdefault("after", output))
    found = last(model)
    handle.remove()
    plain = host.forward(seen_input(model, host))
    expected = plain + plot.delta(plain, sides.Sides()) + poster.delta(plain, sides.Sides())
    torch.testing.assert_close(seen["after"], expected)
    remove(model, receipt)
    assert not torch.equal(last(model), found)


def seen_input(model: nn.Module, host: nn.Module) -> Tensor:
    seen: list[Tensor] = []
    handle = host.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    last(model)
    handle.remove()
    return seen[0]


def test_members_must_be_there_before_their_combination() -> None:
    model = BERT.build()
    given = context(model)
    both = planned(model, given, "both", kind="parallel", at=["mlp.out"], sides=["adapter:plot"])
    plot = planned(model, given, "plot", kind="bottleneck", at=["mlp.out"])
    with pytest.raises(SiteError, match="combines 'plot', which is not there"):
        insert(model, [*both, *plot])
    assert "adapters" not in "".join(model.state_dict())


def test_a_span_of_the_stream_is_a_side() -> None:
    model = BERT.build()
    spans = {"image": Shape(32, 2), "text": Shape(32, 4)}
    grafts = planned(model, context(model, spans=spans), kind="gmu", at=["mlp.out"], sides=["span:image"], bottleneck=4)
    insert(model, grafts, seed=1)
    stir(model)
    first = last(model, spans={"image": (0, 2)})
    assert not torch.equal(first, last(model, spans={"image": (2, 4)}))
    with pytest.raises(SiteError, match="not known where the tokens of 'image' are"):
        last(model)
    with pytest.raises(SiteError, match="no part of the backbone's sequence"):
        planned(model, context(model, spans=spans), kind="gmu", at=["mlp.out"], sides=["span:imag"])


def clip_outputs(model: nn.Module) -> tuple[Tensor, ...]:
    with torch.no_grad(), sides.use_sides():
        return outputs(model, CLIP.inputs())


def test_one_tower_reads_the_other_at_the_same_depth() -> None:
    model = CLIP.build()
    plain = clip_outputs(model)
    given = context(model)
    first, second = (stack.name for stack in given.anatomy.stacks)
    table = {"kind": "gmu", "at": [f"{second}.mlp.out"], "sides": [f"{first}@block.out"], "bottleneck": 4}
    grafts = planned(model, given, **table)
    assert [graft.towers[f"{first}@block.out"].layer for graft in grafts] == [graft.site.layer for graft in grafts]
    receipt = insert(model, grafts, seed=1)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(clip_outputs(model), plain, strict=True))
    stir(model)
    changed = clip_outputs(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        block = given.anatomy.stacks[0].blocks[0]
        for parameter in twin.get_submodule(block).parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    assert any(not torch.equal(a, b) for a, b in zip(clip_outputs(twin), changed, strict=True))
    with pytest.raises(SiteError, match="did not run before"):
        outputs(model, CLIP.inputs())
    remove(model, receipt)
    assert all(torch.equal(a, b) for a, b in zip(clip_outputs(model), plain, strict=True))
    assert not any(name.startswith("adapter") for module in model.modules() for name in vars(module))
    with pytest.raises(SiteError, match="runs after"):
        planned(model, given, kind="gmu", at=[f"{first}.mlp.out"], sides=[f"{second}@block.out"])
    with pytest.raises(SiteError, match="no other tower"):
        planned(model, given, kind="gmu", at=[f"{second}.mlp.out"], sides=["audio@block.out"])


def test_a_block_that_several_read_is_kept_until_the_last_has_left() -> None:
    block = BERT.build().encoder.layer[0]
    site = next(site for site in BERT.anatomy().sites if site.local_name == "block.out")
    plain = dict(vars(block)), len(block._forward_hooks)
    for returned in (False, True):
        for _ in range(3):
            capture_block(block, site, returned=returned)
        for left in (2, 1, 0):
            release_block(block, returned=returned)
            assert len(block._forward_hooks) == plain[1] + (left > 0)
    assert dict(vars(block)).keys() == plain[0].keys()


def test_what_was_unfrozen_comes_back_with_its_values() -> None:
    model = BERT.build()
    name = "encoder.layer.0.output.LayerNorm.weight"
    before = model.get_parameter(name).detach().clone()
    receipt = insert(model, [], unfrozen=[name])
    with torch.no_grad():
        model.get_parameter(name).add_(1.0)
    remove(model, receipt)
    assert torch.equal(model.get_parameter(name), before)
    receipt = insert(model, [], unfrozen=[name], restorable=False)
    with pytest.raises(SiteError, match="no copy of their values"):
        remove(model, receipt)


def test_a_receipt_of_what_has_left_means_nothing_that_came_later() -> None:
    """Of the same name and place, in the same model."""
    model = BERT.build()
    first = insert(model, planned(model, kind="bottleneck", at=["mlp.out"], bottleneck=4))
    remove(model, first)
    second = insert(model, planned(model, kind="bottleneck", at=["mlp.out"], bottleneck=4))
    with pytest.raises(SiteError, match="not in the model"):
        remove(model, first)
    remove(model, second)


@pytest.mark.parametrize(
    ("kind", "at", "instead"),
    [("prompt", "mlp.out", '"embed.in"'), ("bottleneck", "attn.kv", '"mlp.out"')],
)
def test_an_adapter_at_another_sort_of_place_is_told_a_good_one(kind: str, at: str, instead: str) -> None:
    model = BERT.build()
    with pytest.raises(SiteError, match=f"{kind} does not work on .* Write at = {instead}"):
        planned(model, PlanContext(model, BERT.anatomy(), lengths=BERT.lengths), kind=kind, at=[at])


def test_the_last_block_is_the_last_of_all() -> None:
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(4))
    assert last_block(model, "layers.0") is model.layers[3]


def test_adapters_behind_a_shared_one_are_settled_too() -> None:
    """DoRA takes its magnitudes from its host: without them it is no identity."""
    model = BERT.build()
    plain = last(model)
    shared = planned(model, kind="bottleneck", at=["mlp.out"], bottleneck=4, share="layers")
    insert(model, [*shared, *planned(model, name="d", kind="dora", at=["attn.q"], rank=2)])
    torch.testing.assert_close(last(model), plain, rtol=0, atol=1e-6)


def test_a_model_that_was_compiled_in_place_is_refused() -> None:
    model = BERT.build()
    grafts = planned(model, kind="bottleneck", at=["mlp.out"], bottleneck=4)
    model.compile(backend="eager")
    with pytest.raises(SiteError, match="compiled already"):
        insert(model, grafts)


def test_rows_of_several_tasks_are_told_apart_or_refused() -> None:
    """A projection of flattened tokens, or of tokens before samples, shows no sample to route."""
    with sides.use_sides(task=["a", "b"]):
        for layout in ("btd", "tbd"):
            binding = Binding("after", layout=layout)  # type: ignore[arg-type]
            check_rows(binding, torch.zeros(2, 8))
            if layout == "btd":
                check_rows(binding, torch.zeros(2, 3, 8))
            else:
                with pytest.raises(SiteError, match="rows are not the samples"):
                    check_rows(binding, torch.zeros(3, 2, 8))
    check_rows(Binding("after", layout="tbd"), torch.zeros(3, 2, 8))


def test_tokens_of_all_samples_in_one_row_are_told_apart_by_the_mask() -> None:
    """OPT's feed-forward sees (B*T, D)."""
    opt = ZOO["opt"]
    model, inputs = opt.fresh(), opt.inputs()
    grafts = planned(model, context(model, sides={"poster": Shape(5, 1)}), **GMU_AT_MLP)
    insert(model, grafts, seed=1)
    stir(model)
    poster, mask = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), inputs["attention_mask"].bool()
    with torch.no_grad():
        with sides.use_sides({"poster": poster}, {"": mask}):
            together = model(**inputs).last_hidden_state
        for row in range(3):
            one = slice(row, row + 1)
            with sides.use_sides({"poster": poster[one]}, {"": mask[one]}):
                alone = model(**{key: value[one] for key, value in inputs.items()}).last_hidden_state
            torch.testing.assert_close(alone, together[one])
        with sides.use_sides({"poster": poster}), pytest.raises(SiteError, match="the stream here has shape"):
            model(**inputs)
