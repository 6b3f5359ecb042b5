"""The 28 invariants of PEFT's own tests, as properties of ours; in half precision the values are checked too.

|  no | idea | where |
|---|---|---|
|  1 | a fresh adapter changes nothing | law `identity_and_undo`; in half precision, here (9) |
|  2 | values that are drawn otherwise do | here |
|  3 | training moves the adapters and nothing else | law `training`, to the bit |
|  4 | frozen parameters get no gradient | law `training` |
|  5 | switched off is the base, switched on again the adapter | laws `identity_and_undo`, `saving` |
|    | an error in the middle of a forward leaves no trace | here |
|  6 | merged equals unmerged, and nothing is left of the adapter | law `merging`; saved and then merged, here |
|  7 | merging A and then B is merging both; merging twice | here. There is no unmerging, which loses bits |
|  8 | what is not finite is not merged, and nothing changes | tests/unit/artifact/test_merge.py |
|  9 | half precision works | law `half_precision`; identity, merges and undoing, here |
| 10 | adapters stay in float32 over a half-precision backbone | here |
| 11 | saved and loaded is the same, whatever the random state | law `saving`; the files, here |
| 12 | loading without ever holding unused weights | here |
| 13 | chosen layers and no others | here |
| 14 | gradient checkpointing gives the same gradients | tests/laws/whole.py |
| 15 | deleting: one of several, an unknown one, a merged one | here |
| 16 | unloading gives the base model | law `identity_and_undo`, to the bit |
| 17 | what is refused leaves the model untouched | here |
| 18 | weighted combinations: zero is off, minus one negates | here |
| 19 | rows of a batch do not see each other; unknown names are errors | here |
| 20 | what is trainable with several adapters | here |
| 21 | matching: every graft is planned once, and made | here |
| 22 | names that look like ours or torch's | here |
| 23 | status: the plan's counts are the model's | here |
| 24 | the base model's state dict is still its own | here |
| 25 | configurations: unknown keys, written back, copied | tests/unit/recipe |
| 26 | compilation | tests/laws/whole.py |
| 27 | tied embeddings, batch statistics | here |
| 28 | outputs of published versions | tests/laws/test_placement_goldens.py |
"""

from __future__ import annotations

import copy
import itertools
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.anatomy import select
from adaptkit.artifact import load_artifact, merge, save_artifact
from adaptkit.errors import ArtifactError, RecipeError, SiteError
from adaptkit.kinds import ADAPTERS
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.plan.grafting import PlanContext, plan_adapter
from adaptkit.recipe import load_recipe, parse_recipe
from adaptkit.recipe.adapter import AdapterSpec
from adaptkit.sides import Side
from adaptkit.surgery import Graft, Receipt, adapters_of, insert, remove
from adaptkit.surgery.hooks import Adapters
from tests.laws.cases import CASES, SPANS, Case, side_inputs, total
from tests.laws.families import FAMILIES, Family, calm_outputs
from tests.laws.laws import Cell, Outputs, close, distance, equal, stirred

BERT = FAMILIES["bert"]
# What a model with one stack and no experts can have.
HERE = {name: case for name, case in CASES.items() if name not in ("other_tower", "lora_experts")}
GRAFTED = {name: case for name, case in HERE.items() if case.kind}
MERGEABLE = {name: case for name, case in HERE.items() if case.mergeable}
HALVES = [torch.bfloat16, torch.float16]
UNREAD = 'modality.features={kind="features", width=4, route="fusion"}'


def over(cases: dict[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases.values(), ids=cases)


def planned(family: Family, name: str = "a", **table: Any) -> tuple[Graft, ...]:
    """What a recipe's table [adapter.NAME] becomes on this family."""
    return plan_adapter(name, AdapterSpec.of(**table), PlanContext(family.fresh(), family.anatomy()))


def run(model: nn.Module, family: Family = BERT, **laid_out: Any) -> Outputs:
    with torch.no_grad(), sides.use_sides(**laid_out):
        return calm_outputs(model, family.inputs())


def own(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapters' parameters by name, each once."""
    return {name: parameter for name, parameter in model.named_parameters() if ".adapters." in f".{name}"}


def adapted(grafts: tuple[Graft, ...], seed: int = 1, dtype: torch.dtype = torch.float32) -> tuple[Any, Receipt]:
    """BERT with adapters away from their initial values."""
    model = BERT.fresh().to(dtype)
    receipt = insert(model, grafts, seed=seed)
    return stirred(model, set(own(model))), receipt


def same_state(model: nn.Module, other: nn.Module) -> bool:
    left, right = model.state_dict(), other.state_dict()
    return [*left] == [*right] and all(torch.equal(value, right[name]) for name, value in left.items())


def published() -> dict[str, Case]:
    found = {}
    for case in GRAFTED.values():
        if "init" in (options := ADAPTERS.kinds[case.kind].keys) and "published" in str(options["init"]):
            found[case.kind] = replace(case, table={**case.table, "init": "published"})
    return found


@over(published())
def test_02_published_initial_values_are_not_the_identity(case: Case) -> None:
    """The other properties would say little if nothing ever moved the output."""
    cell = Cell(BERT, case)
    assert not close(cell.run(cell.inserted()[0]), cell.run(BERT.fresh()), 1e-5)


class BoomError(Exception):
    """Raised by a block in the middle of a forward."""


def boom(*_: object) -> None:
    raise BoomError


@over(GRAFTED)
def test_05_a_forward_that_fails_leaves_nothing_behind(case: Case) -> None:
    """Whichever block it fails in: the next forward is right, and copies and pickles can be made."""
    cell = Cell(BERT, case)
    model, receipt = cell.inserted()
    expected = cell.run(stirred(model, cell.own(model)))
    for block in BERT.anatomy().stacks[0].blocks:
        handle = model.get_submodule(block).register_forward_hook(boom)
        with pytest.raises(BoomError):
            cell.run(model)
        handle.remove()
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert not any(getattr(module, "captured", None) for module in twin.modules()), "no tensor of that forward"
            assert equal(cell.run(twin), expected)
        with pytest.raises(SiteError, match="no side inputs are laid out"):
            sides.read(("poster",))
        assert equal(cell.run(model), expected)
    remove(model, receipt)
    assert same_state(model, BERT.fresh())


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3", "vera"])
def test_06_merging_commutes_with_saving(tiny_recipe: Path, tmp_path: Path, kind: str) -> None:
    """The merged model is the one that is loaded and then merged, to the bit."""
    table = f'adapter.fuse={{kind="{kind}", at=["attn.q", "mlp.down"]}}'
    model = tiny_model(tiny_recipe, table)
    again = load_artifact(save_artifact(model, tmp_path / "artifact"))
    merge(model)
    merge(again)
    assert same_state(model.backbone, again.backbone)
    assert not any(isinstance(module, Adapters) for module in again.backbone.modules())


def tiny_model(recipe: Path, *changes: str) -> AdaptedModel:
    """The tiny BERT with everything that is trainable away from its initial values."""
    model = build_model(make_plan(load_recipe(recipe, [UNREAD, *changes])))
    return stirred(model, {name for name, p in model.named_parameters() if p.requires_grad})  # type: ignore[return-value]


ADDITIVE: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2},
    "loha": {"rank": 2},
    "lokr": {"rank": 2},
    "vera": {"rank": 8},
}


@pytest.mark.parametrize(("first", "second"), [*itertools.combinations(ADDITIVE, 2), ("lora", "lora")])
def test_07_merging_one_after_the_other_is_merging_both(first: str, second: str) -> None:
    """And a second merge of the same is an error that changes nothing."""
    parts = [
        planned(BERT, f"{i}", kind=kind, at=["attn.q", "mlp.up"], **ADDITIVE[kind])
        for i, kind in enumerate((first, second))
    ]
    both, receipt = adapted((*parts[0], *parts[1]))
    expected, values = run(both), dict(own(both))
    merge(both, receipt)
    stepwise = BERT.fresh()
    receipts = [insert(stepwise, part) for part in parts]
    stepwise.load_state_dict({name: value.detach() for name, value in values.items()}, strict=False)
    assert equal(run(stepwise), expected)
    merge(stepwise, receipts[0])
    single = run(stepwise)
    merge(stepwise, receipts[1])
    assert close(run(stepwise), expected, 1e-6)
    assert close(run(both), expected, 1e-6)
    assert close(single, expected, 1e-6), "the second was still there, unmerged"
    for part in parts:
        alone, _ = adapted(part)
        assert not close(run(alone), expected, 1e-4), "either alone is another model"
    state = copy.deepcopy(both)
    with pytest.raises(ArtifactError, match="merged or removed already"):
        merge(both, receipt)
    assert same_state(both, state)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@over({name: case for name, case in GRAFTED.items() if case.identity})
def test_09_a_fresh_adapter_changes_nothing_in_half_precision(case: Case, dtype: torch.dtype) -> None:
    """To the bit: what is added is computed in float32, is zero there, and the stream is rounded back to itself."""
    cell = Cell(BERT, case)
    plain, given = BERT.fresh().to(dtype), BERT.inputs()
    expected, found = cell.run(plain, given), cell.run(cell.inserted(plain)[0], given)
    assert equal(found, expected)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@over(MERGEABLE)
def test_09_merges_in_half_precision_have_the_right_values(case: Case, dtype: torch.dtype) -> None:
    """Each merged weight is the nearest one to that of the float32 merge, so outputs differ by no more than rounding.

    PEFT's safe merge rounds twice: a tenth of its weights are not the nearest ones.
    """
    cell = Cell(BERT, case)
    model, receipt = cell.inserted(BERT.fresh().to(dtype))
    stirred(model, cell.own(model))
    wide, wide_receipt = cell.inserted(BERT.fresh().to(dtype).float())
    wide.load_state_dict({name: value.detach() for name, value in own(model).items()}, strict=False)
    expected, exact = cell.run(model), cell.run(wide)
    merge(model, receipt)
    merge(wide, wide_receipt)
    target = wide.state_dict()
    assert all(torch.equal(value, target[name].to(dtype)) for name, value in model.state_dict().items())
    limit = 3 * max(map(distance, expected, exact))
    assert max(map(distance, cell.run(model), exact)) <= limit < 0.1


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@over(GRAFTED)
def test_09_putting_in_and_taking_out_never_wears_the_weights(case: Case, dtype: torch.dtype) -> None:
    """21 times. With PEFT's merge and unmerge 13 % of the weights differ after one, and the error grows."""
    cell = Cell(BERT, case)
    model = BERT.fresh().to(dtype)
    for seed in range(21):
        _, receipt = cell.inserted(model, seed)
        stirred(model, set(own(model)))
        remove(model, receipt)
    assert same_state(model, BERT.fresh().to(dtype))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@over(GRAFTED)
def test_10_adapters_and_their_gradients_stay_in_float32(case: Case, dtype: torch.dtype) -> None:
    """Over a half-precision backbone, without any autocast; the stream keeps the backbone's type."""
    cell = Cell(BERT, case)
    model, _ = cell.inserted(BERT.fresh().to(dtype))
    outputs = cell.run(model)
    assert {output.dtype for output in outputs} == {dtype}
    total(tuple(output.float() for output in outputs)).backward()
    assert {parameter.dtype for parameter in own(model).values()} == {torch.float32}
    gradients = [p.grad for p in own(model).values() if p.grad is not None]
    assert gradients
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_10_the_precision_of_the_backbone_does_not_reach_what_is_saved(
    tiny_recipe: Path, tmp_path: Path, precision: str
) -> None:
    model = tiny_model(tiny_recipe, f'backbone.precision="{precision}"', 'adapter.fuse={kind="lora", at=["attn.q"]}')
    artifact = save_artifact(model, tmp_path / "artifact")
    assert {value.dtype for value in load_file(artifact / "adapter.safetensors").values()} == {torch.float32}
    again = load_artifact(artifact)
    assert {str(p.dtype) for name, p in again.backbone.named_parameters() if ".adapters." not in name} == {
        f"torch.{precision}"
    }
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    assert torch.equal(again.backbone(ids)[0], model.backbone(ids)[0])


def test_11_an_artifact_has_three_files_and_nothing_of_the_backbone(tiny_recipe: Path, tmp_path: Path) -> None:
    """Whatever the random state is when it is loaded."""
    model = tiny_model(tiny_recipe, 'adapter.fuse={kind="lora", at=["attn.q"]}')
    artifact = save_artifact(model, tmp_path / "artifact")
    assert sorted(os.listdir(artifact)) == ["README.md", "adapter.json", "adapter.safetensors"]
    saved = load_file(artifact / "adapter.safetensors")
    assert {name for name in saved if name.startswith("backbone.")} == {
        f"backbone.encoder.layer.{layer}.attention.self.query.adapters.fuse.{matrix}"
        for layer in (0, 1)
        for matrix in "AB"
    }
    for seed in (1, 2):
        torch.manual_seed(seed)
        assert same_state(load_artifact(artifact), model)


@over(GRAFTED)
def test_12_adapters_are_planted_without_weights_and_filled_later(case: Case) -> None:
    """Into a model on the meta device; nothing stays there."""
    cell = Cell(BERT, case)
    model, _ = cell.inserted()
    stirred(model, cell.own(model))
    empty = BERT.fresh()
    for module in empty.modules():  # buffers that are not saved stay where they are
        for name, parameter in module._parameters.items():
            module._parameters[name] = None if parameter is None else nn.Parameter(parameter.to("meta"))
    insert(empty, cell.grafts)
    assert all(parameter.is_meta for parameter in empty.parameters())
    empty.load_state_dict(model.state_dict(), assign=True)
    assert not any(parameter.is_meta for parameter in empty.parameters())
    assert equal(cell.run(empty), cell.run(model))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_13_a_layer_means_the_block_of_that_number(family: Family) -> None:
    """In every stack, whatever other numbers its paths have; the first is 0."""
    anatomy = family.anatomy()
    words = sorted({site.name for site in anatomy.sites if site.layer is not None})
    depth = min(stack.depth for stack in anatomy.stacks)
    for layer in range(depth):
        blocks = tuple(f"{stack.blocks[layer]}." for stack in anatomy.stacks)
        for word in words:
            here = [site for site in anatomy.sites if site.name == word and site.layer == layer]
            if not here:
                continue
            found = select(anatomy, [word], [layer])
            assert [*found] == here
            inside = [
                site
                for site in found
                if site.name != "block.out" and not site.norm and not site.name.endswith((".sum", ".stream"))
            ]
            assert all(f"{site.path}.".startswith(blocks) for site in inside), word


@pytest.mark.parametrize("layer", [0, 1])
def test_13_only_the_chosen_layer_has_parameters_and_gradients(layer: int) -> None:
    table = {"kind": "bottleneck", "at": ["attn.out", "mlp.out"], "bottleneck": 4}
    model, _ = adapted(planned(BERT, layers=[layer], **table))
    total(calm_outputs(model, BERT.inputs())).backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved == set(own(model))
    assert all(name.startswith(f"encoder.layer.{layer}.") for name in moved)
    everywhere = sum(graft.parameters for graft in planned(BERT, **table))
    assert 2 * sum(parameter.numel() for parameter in own(model).values()) == everywhere


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_15_adapters_of_several_insertions_leave_in_any_order(order: tuple[int, ...]) -> None:
    """What stays gives what it gives alone; what is gone, merged or was never there is an error."""
    tables = [
        {"kind": "lora", "at": ["attn.q"], "rank": 2},
        {"kind": "bottleneck", "at": ["mlp.out"], "bottleneck": 4},
        {"kind": "ia3", "at": ["attn.v"]},
    ]
    parts = [planned(BERT, f"a{i}", **table) for i, table in enumerate(tables)]
    model = BERT.fresh()
    receipts = [insert(model, part, seed=i) for i, part in enumerate(parts)]
    stirred(model, set(own(model)))
    for gone, index in enumerate(order, 1):
        remove(model, receipts[index])
        left = [i for i in range(3) if i not in order[:gone]]
        alone = BERT.fresh()
        for i in left:
            insert(alone, parts[i])
        alone.load_state_dict({name: value.detach() for name, value in own(model).items()}, strict=False)
        assert equal(run(model), run(alone))
        state = copy.deepcopy(model)
        with pytest.raises(SiteError, match="carries no adapter"):
            remove(model, receipts[index])
        assert same_state(model, state)
    assert same_state(model, BERT.fresh())
    if order == (2, 1, 0):  # each receipt gives back what was trainable when it was made
        assert all(parameter.requires_grad for parameter in model.parameters())


def test_15_what_was_merged_cannot_be_removed() -> None:
    model, receipt = adapted(planned(BERT, kind="lora", at=["attn.q"], rank=2))
    merge(model, receipt)
    state = copy.deepcopy(model)
    with pytest.raises(SiteError, match="carries no adapter"):
        remove(model, receipt)
    assert same_state(model, state)


@over(GRAFTED)
def test_17_one_bad_graft_among_good_ones_changes_nothing(case: Case) -> None:
    """All checks come first: one that is there twice, of a rank too large, of a host that does not exist."""
    grafts = Cell(BERT, case).grafts
    lora = planned(BERT, "bad", kind="lora", at=["attn.k"], layers="last", rank=2)[0]
    bad = [grafts[-1], replace(lora, options={"rank": 99}), replace(lora, site=replace(lora.site, path="nowhere"))]
    for last in bad:
        model = BERT.fresh()
        with pytest.raises(SiteError):
            insert(model, [*grafts, last])
        assert same_state(model, BERT.fresh())
        assert all(parameter.requires_grad for parameter in model.parameters())
        for module in model.modules():
            assert not module._forward_hooks
            assert not module._forward_pre_hooks
            assert not any(name.startswith("adapter") for name in vars(module))


def weighted(weights: tuple[float, ...]) -> Tensor:
    """What two bottlenecks at the end of BERT add to its last hidden states, with these weights."""
    table = {"at": ["block.out"], "layers": "last"}
    members = [planned(BERT, name, kind="bottleneck", bottleneck=4, **table) for name in ("one", "two")]
    both = {"kind": "parallel", "weights": "learned", "sides": ["adapter:one", "adapter:two"], **table}
    grafts = [*members[0], *members[1], *planned(BERT, "both", **both)]
    model, _ = adapted(tuple(grafts))
    with torch.no_grad():
        next(p for name, p in own(model).items() if name.endswith("both.weights")).copy_(torch.tensor(weights))
    return run(model)[0] - run(BERT.fresh())[0]


def test_18_weights_of_combined_adapters_scale_their_changes() -> None:
    one, two = weighted((1.0, 0.0)), weighted((0.0, 1.0))
    assert min(one.abs().max(), two.abs().max()) > 1e-3
    assert not weighted((0.0, 0.0)).any(), "zero is off, exactly"
    torch.testing.assert_close(weighted((-1.0, 0.0)), -one, rtol=0, atol=1e-6)
    torch.testing.assert_close(weighted((0.5, -2.0)), 0.5 * one - 2 * two, rtol=0, atol=1e-6)


def test_18_loras_of_any_ranks_add_up_and_alpha_is_their_weight() -> None:
    """PEFT's `cat` and `linear` of adapters: here they stand side by side, of whatever rank, until they are merged."""
    at = {"kind": "lora", "at": ["mlp.up"], "layers": [0]}
    model, receipt = adapted((*planned(BERT, "a", rank=2, **at), *planned(BERT, "b", rank=5, **at)))
    host = model.encoder.layer[0].intermediate.dense
    before = host.weight.detach().clone()
    changes = [adapter.delta_weight().detach() for adapter in adapters_of(host).values()]
    merge(model, receipt)
    torch.testing.assert_close(host.weight.detach(), before + changes[0] + changes[1], rtol=0, atol=1e-6)
    deltas = []
    for alpha in (3.0, 6.0):
        weighted, _ = adapted(planned(BERT, rank=2, alpha=alpha, **at))
        deltas.append(next(iter(adapters_of(weighted.encoder.layer[0].intermediate.dense).values())).delta_weight())
    assert torch.equal(2 * deltas[0], deltas[1])


@over(HERE)
def test_19_rows_of_a_batch_do_not_see_each_other(case: Case) -> None:
    """Each sample alone, with its own sides, gives what it gives in the batch."""
    cell = Cell(BERT, case)
    model, _ = cell.inserted()
    stirred(model, cell.own(model))
    task = "gqa" if case.tasks else None
    inputs, given = BERT.inputs(), side_inputs()

    def rows(chosen: slice) -> Outputs:
        part = {
            name: Side(side.tensor[chosen], side.mask[chosen], side.present[chosen]) for name, side in given.items()
        }
        with torch.no_grad(), sides.use_sides(part, task=task, spans=SPANS):
            return calm_outputs(model, {name: value[chosen] for name, value in inputs.items()})

    together = rows(slice(None))
    for row in range(3):
        chosen = slice(row, row + 1)
        assert close(rows(chosen), tuple(output[chosen] for output in together), 1e-5)


@over({name: case for name, case in HERE.items() if case.tasks})
def test_19_a_task_that_is_not_there_is_an_error(case: Case) -> None:
    cell = Cell(BERT, case)
    model, _ = cell.inserted()
    for task, message in ((None, "task"), ("vqaa", "'vqaa'")):
        with pytest.raises(SiteError, match=message):
            run(model, task=task)


@pytest.mark.parametrize("same_site", [True, False])
@pytest.mark.parametrize("trained", [*itertools.product([True, False], repeat=2)])
def test_20_what_is_trainable_with_two_adapters(same_site: bool, trained: tuple[bool, bool]) -> None:
    """Each says itself whether it trains, at one site or two, in one insertion or two; the backbone is frozen."""
    places = ["attn.q", "attn.q" if same_site else "attn.v"]
    parts = [
        planned(BERT, f"a{i}", kind="lora", at=[place], rank=2, train=train)
        for i, (place, train) in enumerate(zip(places, trained, strict=True))
    ]
    together, apart = BERT.fresh(), BERT.fresh()
    whole = insert(together, [*parts[0], *parts[1]])
    receipts = [insert(apart, part) for part in parts]
    for model in (together, apart):
        moving = {name.split(".adapters.")[-1][:2] for name, p in model.named_parameters() if p.requires_grad}
        assert moving == {f"a{i}" for i, train in enumerate(trained) if train}
    assert sum(graft.trainable for part in parts for graft in part) == sum(
        p.numel() for p in together.parameters() if p.requires_grad
    )
    remove(together, whole)
    remove(apart, receipts[1])
    assert {name for name, p in apart.named_parameters() if p.requires_grad} == (
        set(own(apart)) if trained[0] else set()
    )
    remove(apart, receipts[0])
    assert all(p.requires_grad for model in (together, apart) for p in model.parameters())


@over(GRAFTED)
def test_21_23_the_plan_is_what_is_made_and_counts_what_there_is(case: Case) -> None:
    """Every graft once, at its own place; the numbers of parameters are those of the model."""
    cell = Cell(BERT, case)
    model, receipt = cell.inserted()
    places = [(graft.site.path, graft.child) for graft in cell.grafts]
    assert len(set(places)) == len(places)
    assert [*receipt.grafts] == places
    there = {(path, name) for path, module in model.named_modules() for name in adapters_of(module)}
    assert there == set(places)
    assert all(
        type(adapters_of(model.get_submodule(path))[name]) in (*ADAPTERS.values(), wrapper(case))
        for path, name in places
    )
    assert sum(graft.parameters for graft in cell.grafts) == sum(p.numel() for p in own(model).values())
    moving = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(graft.trainable for graft in cell.grafts) == moving


def wrapper(case: Case) -> type[nn.Module]:
    from adaptkit.adapters.per_task import PerTask

    return PerTask if case.tasks else ADAPTERS[case.kind]


NAMES = ["weight", "bias", "lora_", "A", "adapters", "adapter", "law", "q", "encoder", "default", "_", "a_q"]
RESERVED = ["keys", "bindings", "train", "training", "forward", "pop", "T_destination", "parameters", "a.b", ""]


@pytest.mark.parametrize("name", NAMES)
def test_22_adapters_may_have_names_that_torch_or_models_use(name: str) -> None:
    """Beside one whose name begins the same, they are saved, found and removed by their own."""
    at = {"kind": "lora", "at": ["attn.q", "attn.v"], "rank": 2}
    grafts = (*planned(BERT, name, **at), *planned(BERT, f"{name}_1", **at))
    model, receipt = adapted(grafts)
    saved = {key: value.detach().clone() for key, value in own(model).items()}
    assert sum(f".adapters.{name}." in key for key in saved) == len(saved) / 2 == 8
    other = BERT.fresh()
    insert(other, grafts, seed=7)
    missing, unexpected = other.load_state_dict(saved, strict=False)
    assert not unexpected
    assert set(missing) == set(BERT.fresh().state_dict())
    assert equal(run(other), run(model))
    remove(model, receipt)
    assert same_state(model, BERT.fresh())


@pytest.mark.parametrize("name", RESERVED)
def test_22_names_that_no_module_can_have_are_refused(name: str) -> None:
    model = BERT.fresh()
    grafts = [replace(graft, adapter=name) for graft in planned(BERT, kind="lora", at=["attn.q"], rank=2)]
    with pytest.raises(SiteError, match="cannot be called"):
        insert(model, grafts)
    assert same_state(model, BERT.fresh())
    assert not any(hasattr(module, "adapters") for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_22_a_recipe_is_told_so_before_anything_is_built(tiny_recipe: Path) -> None:
    """Also of the one name that the container of our adapters has beside torch's own."""
    recipe = load_recipe(tiny_recipe, [UNREAD, 'adapter.bindings={kind="lora", at=["attn.q"]}'])
    with pytest.raises(RecipeError, match=r"adapter\.bindings: torch's modules have an attribute"):
        make_plan(recipe)


def test_22_slices_of_a_fused_projection_do_not_take_each_others_names() -> None:
    """`a` at attn.q of GPT-2 is the child `a_q` of c_attn, where another adapter may not be called so."""
    family = FAMILIES["gpt2"]
    ours = planned(family, "a", kind="lora", at=["attn.q", "attn.v"], rank=2)
    whole = planned(family, "a_q", kind="lora", at=["path:*.c_attn"], rank=2)
    with pytest.raises(SiteError, match="already carries an adapter 'a_q'"):
        insert(family.fresh(), [*ours, *whole])
    fused = family.fresh()
    insert(fused, [*ours, *planned(family, "b", kind="lora", at=["path:*.c_attn"], rank=2)])
    assert [*adapters_of(fused.get_submodule("h.0.attn.c_attn"))] == ["a_q", "a_v", "b"]


class Odd(nn.Module):
    """A backbone whose modules have the names of others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        for name in ("weight", "lora_A", "adapter", "fuse", "adapters_", "base_layer"):
            self.add_module(name, nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.tanh(layer(x))
        return x


def test_22_backbones_may_have_such_names_too() -> None:
    from adaptkit.anatomy import Site
    from adaptkit.surgery import host_shape

    model, x = Odd(), torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    plain = model(x)
    sites = [Site(f"path:{name}", "", None, name, "after", 8, in_width=8) for name, _ in model.named_children()]
    grafts = [Graft("fuse", "lora", site, host_shape(model, site), options={"rank": 2}) for site in sites]
    receipt = insert(model, grafts)
    stirred(model, set(own(model)))
    assert len(own(model)) == 2 * len(sites)
    other = Odd()
    insert(other, grafts, seed=9)
    assert not other.load_state_dict({**own(model)}, strict=False).unexpected_keys
    assert torch.equal(other(x), model(x))
    assert not torch.equal(model(x), plain)
    remove(model, receipt)
    assert torch.equal(model(x), plain)
    assert same_state(model, Odd())


@over(GRAFTED)
def test_24_the_base_models_state_dict_fits_the_adapted_model(case: Case) -> None:
    """Only the adapters are missing from it, nothing is unexpected; and the other way round."""
    cell = Cell(BERT, case)
    model, _ = cell.inserted()
    base = BERT.fresh()
    missing, unexpected = model.load_state_dict(base.state_dict(), strict=False)
    assert not unexpected
    assert missing
    assert all(".adapters." in f".{name}" for name in missing)
    missing, unexpected = base.load_state_dict(model.state_dict(), strict=False)
    assert not missing
    assert all(".adapters." in f".{name}" for name in unexpected)


def test_27_a_tied_embedding_is_not_merged_into() -> None:
    """T5's encoder, decoder and head read one matrix: an adapter at one of them must not reach the others."""
    family = FAMILIES["t5"]
    model = family.fresh()
    grafts = planned(family, kind="lora", at=["path:encoder.embed_tokens"], rank=2)
    receipt = insert(model, grafts)
    stirred(model, set(own(model)))
    expected, state = run(model, family), copy.deepcopy(model)
    with pytest.raises(ArtifactError, match="is shared with"):
        merge(model, receipt)
    assert same_state(model, state)
    assert equal(run(model, family), expected)


@pytest.mark.parametrize("dropout", ["off", "keep"])
def test_27_batch_statistics_of_the_backbone_do_not_move(dropout: str) -> None:
    """PEFT lets them, and does not save them. An adapted model trains with those that the backbone came with."""
    tables = {
        "schema": 1,
        "name": "test",
        "backbone": {"model": "timm/resnet18", "dropout": dropout},
        "modality": {"photo": {"kind": "image", "route": "backbone"}},
        "adapter": {"a": {"kind": "lora", "at": ["conv.1"], "rank": 2}},
        "data": {"format": "jsonl"},
        "task": {"genres": {"kind": "multilabel", "labels": ["a", "b"]}},
        "train": {},
    }
    model = build_model(make_plan(parse_recipe(tables)), weights=False).train()
    norms = [module for module in model.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 20
    assert not any(norm.training for norm in norms)
    assert all(module.training for module in all_adapters(model))


def all_adapters(model: nn.Module) -> Iterator[nn.Module]:
    return (adapter for module in model.modules() for adapter in adapters_of(module).values())
