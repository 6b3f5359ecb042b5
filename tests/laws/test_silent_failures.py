"""What PEFT 0.20 and 0.21 were measured to get wrong without a word: here each is right, or an error that says so.

Proven elsewhere: a merge that is not finite, or that would change a shared weight, leaves the model bit for bit as it
was, and a merged bfloat16 weight is rounded once (tests/unit/artifact/test_merge.py); other ways in which an artifact
can be damaged (tests/unit/artifact/test_artifact_load.py).
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from adaptkit.anatomy import select, study
from adaptkit.anatomy.tables.renamed import current_path
from adaptkit.artifact import load_artifact, save_artifact
from adaptkit.artifact.initial import initialise, sources
from adaptkit.errors import AdaptkitError, ArtifactError, RecipeError, SiteError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.plan.grafting import PlanContext, plan_adapter
from adaptkit.recipe import load_recipe
from adaptkit.recipe.adapter import AdapterSpec
from adaptkit.surgery import Graft, insert, remove
from tests.fuzz.artifacts import describe, rewrite
from tests.laws.families import FAMILIES, SMALL, WORDS, Family, text

LORA = 'adapter.fuse={kind="lora", at=["attn.q", "mlp.up"], rank=2, alpha=4.0}'
UNREAD = 'modality.features={kind="features", width=4, route="fusion"}'
PROJECTIONS = ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down"]


def planned(family: Family, name: str = "a", **table: Any) -> tuple[Graft, ...]:
    """What a recipe's table [adapter.NAME] becomes on this family."""
    context = PlanContext(family.fresh(), family.anatomy())
    return plan_adapter(name, AdapterSpec.of(**{"kind": "lora", "rank": 2} | table), context)


def paths(grafts: tuple[Graft, ...]) -> list[str]:
    return [graft.site.path for graft in grafts]


def adapted(recipe: Path, *changes: str, lora: str = LORA) -> AdaptedModel:
    """The tiny BERT with LoRA and a head, all of it away from its initial values."""
    model = build_model(make_plan(load_recipe(recipe, [UNREAD, lora, *changes])))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.trainable_state().values():
            value.add_(0.3 * torch.randn(value.shape, generator=generator))
    return model


def hidden(model: AdaptedModel) -> Tensor:
    with torch.no_grad():
        return model.backbone(input_ids=torch.tensor([[2, 5, 6, 7, 3]])).last_hidden_state


def recipe_of(artifact: Path) -> str:
    return json.loads((artifact / "adapter.json").read_text())["recipe"]


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (["nowhere"], "no site 'nowhere'"),
        (["attn.q", "attn.w"], "no site 'attn.w'. Did you mean \"attn.v\""),
        (["attn.w", "attn.q"], "no site 'attn.w'. Did you mean \"attn.v\""),
        (["path:*.query", "path:*.vallue"], r"no module of bert matches path:\*\.vallue"),
        (["attn.q", "decoder.attn.q"], "no site 'decoder.attn.q'"),
    ],
)
def test_every_target_must_match(at: list[str], message: str) -> None:
    """PEFT is content when one of several targets matches, and adapts half of what was meant."""
    with pytest.raises(SiteError, match=message):
        planned(FAMILIES["bert"], at=at)


@pytest.mark.parametrize("layers", [[1, 99], [99], [-3], "1..2", "0..99", [0, 2]])
def test_every_layer_must_exist(layers: Any) -> None:
    """PEFT takes layers_to_transform = [1, 99] of two layers for [1]."""
    with pytest.raises(SiteError, match=r"goes past the last layer of bert \(0\.\.1\)"):
        planned(FAMILIES["bert"], at="attn.q", layers=layers)


def test_the_existing_layers_are_the_ones_adapted() -> None:
    for layers in ([0], [1], [-1], "0..0", "last"):
        index = 0 if layers in ([0], "0..0") else 1
        assert paths(planned(FAMILIES["bert"], at="attn.q", layers=layers)) == [
            f"encoder.layer.{index}.attention.self.query"
        ]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("task.answer.head.trian=true", RecipeError, 'trian: unknown key. Did you mean "train"'),
        ('backbone.train=["poler.dense.*"]', SiteError, 'matches no parameter. Did you mean "pooler.dense.bias"'),
        ('backbone.train=["clasifier"]', SiteError, "matches no parameter"),
        ('backbone.train=["norm", "nrom"]', SiteError, "'nrom' matches no parameter. Did you mean \"norm\""),
        ("adapter.fuse.modules_to_save=['classifier']", RecipeError, "modules_to_save: unknown key"),
        ("adapter.fuse.exclude=['attn.v']", RecipeError, "exclude: unknown key"),
        ("adapter.fuse.rank_pattern={q=4}", RecipeError, "rank_pattern: unknown key"),
        ("adapter.fuse.layers_to_transform=[1]", RecipeError, "layers_to_transform: unknown key"),
        ("adapter.fuse.rnak=4", RecipeError, 'rnak: unknown key. Did you mean "rank"'),
    ],
)
def test_every_key_and_every_name_of_a_parameter_must_exist(
    tiny_recipe: Path, change: str, error: type[AdaptkitError], message: str
) -> None:
    """PEFT skips a misspelt modules_to_save, and a misspelt exclude_modules beside a task_type."""
    with pytest.raises(error, match=message) as caught:
        make_plan(load_recipe(tiny_recipe, [UNREAD, LORA, change]))
    assert len(str(caught.value)) < 600, "a hint, not the names of all parameters"


def test_ranks_of_single_layers_are_tables_of_their_own() -> None:
    """In place of rank_pattern, of which PEFT ignores what matches nothing: `at` and `layers` must match."""
    family = FAMILIES["bert"]
    low = planned(family, "low", at="attn.q", layers=[0])
    grafts = (*low, *planned(family, "high", at="attn.q", layers=[1], rank=8))
    model = family.fresh()
    insert(model, grafts)
    ranks = {name: len(p) for name, p in model.named_parameters() if name.endswith(".A")}
    assert ranks == {
        "encoder.layer.0.attention.self.query.adapters.low.A": 2,
        "encoder.layer.1.attention.self.query.adapters.high.A": 8,
    }
    with pytest.raises(SiteError, match="already carries an adapter"):
        insert(family.fresh(), [*grafts, grafts[0]])


@pytest.mark.parametrize(
    ("kind", "at", "most"),
    [
        ("lora", "attn.q", 32),
        ("lora", "mlp.up", 32),
        ("dora", "attn.q", 32),
        ("loha", "attn.q", 32),
        ("loreft", "block.out", 32),
        ("low_rank", "mlp.out", 2),
    ],
)
def test_a_rank_that_cannot_be_one_is_refused(kind: str, at: str, most: int) -> None:
    """PEFT takes rank 64 on a layer of width 32."""
    planned(FAMILIES["bert"], kind=kind, at=at, rank=most)
    with pytest.raises(SiteError, match=f"rank = {most + 1} exceeds .* Write rank <= {most}"):
        planned(FAMILIES["bert"], kind=kind, at=at, rank=most + 1)


def test_heads_are_trained_and_saved_without_being_asked(tiny_recipe: Path, tmp_path: Path) -> None:
    """PEFT without a task_type does neither."""
    model = adapted(tiny_recipe)
    heads = {f"heads.{name}" for name, _ in model.heads.named_parameters()}
    assert all(parameter.requires_grad for parameter in model.heads.parameters())
    artifact = save_artifact(model, tmp_path / "artifact")
    assert heads == {name for name in load_file(artifact / "adapter.safetensors") if name.startswith("heads.")}
    again = load_artifact(artifact).state_dict()
    assert all(torch.equal(model.state_dict()[name], again[name]) for name in heads)


def test_a_checkpoint_of_another_depth_does_not_fit(tiny_recipe: Path, tmp_path: Path) -> None:
    """PEFT drops the keys it has no place for, and runs half adapted with a warning where some are missing."""
    one_layer = LORA.replace("rank=2", "rank=2, layers=[0]")
    deep = save_artifact(adapted(tiny_recipe), tmp_path / "deep")
    flat = save_artifact(adapted(tiny_recipe, lora=one_layer), tmp_path / "flat")
    deep_recipe, flat_recipe = recipe_of(deep), recipe_of(flat)
    describe(flat, lambda content: content.update(recipe=deep_recipe))
    describe(deep, lambda content: content.update(recipe=flat_recipe))
    with pytest.raises(ArtifactError, match=r"does not fit the model.*layer\.1.*is unexpected"):
        load_artifact(deep)
    with pytest.raises(ArtifactError, match=r"does not fit the model.*layer\.1.*is missing"):
        load_artifact(flat)


def test_adapters_that_start_from_others_must_fit_them(tiny_recipe: Path, tmp_path: Path) -> None:
    """`init_from`, PEFT's load_adapter into a model that is there."""
    one_layer = LORA.replace("rank=2", "rank=2, layers=[0]")
    artifact = save_artifact(adapted(tiny_recipe, lora=one_layer), tmp_path / "artifact")
    before = {}
    for change, message in (
        ("", r"layer\.1\..* is missing in"),
        ("adapter.fuse.rank=4", r"those of another function: adapter\.fuse\.rank was 2 and is 4"),
    ):
        changes = [UNREAD, LORA, f"adapter.fuse.init_from='{artifact.as_posix()}'", *filter(None, [change])]
        plan = make_plan(load_recipe(tiny_recipe, changes))
        model = build_model(plan)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ArtifactError, match=message):
            initialise(model, sources(plan))
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_adapter_starts_from_its_own_values_and_no_other_one_does(tiny_recipe: Path, tmp_path: Path) -> None:
    """Also where one name looks like another's slice of a fused projection: `fuse` and `fuse_q`."""
    other = 'adapter.fuse_q={kind="lora", at=["attn.v"], rank=2}'
    model = adapted(tiny_recipe, other)
    artifact = save_artifact(model, tmp_path / "artifact")
    changes = [UNREAD, LORA, other, f"adapter.fuse.init_from='{artifact.as_posix()}'"]
    plan = make_plan(load_recipe(tiny_recipe, changes))
    started = build_model(plan, seed=4)
    fresh = {name: value.clone() for name, value in started.trainable_state().items()}
    initialise(started, sources(plan))
    trained = model.trainable_state()
    for name, value in started.trainable_state().items():
        assert torch.equal(value, (trained if ".adapters.fuse." in name else fresh)[name]), name


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_no_numbers_are_neither_saved_nor_loaded(
    tiny_recipe: Path, tmp_path: Path, value: float
) -> None:
    """PEFT loads them, and the logits are NaN."""
    model = adapted(tiny_recipe)
    artifact = save_artifact(model, tmp_path / "artifact")
    rewrite(artifact, lambda tensors: tensors[sorted(tensors)[0]].view(-1)[:1].fill_(value))
    with pytest.raises(ArtifactError, match="NaN or infinite"):
        load_artifact(artifact)
    with torch.no_grad():
        next(iter(model.trainable_state().values())).view(-1)[0] = value
    with pytest.raises(ArtifactError, match="NaN or infinite"):
        save_artifact(model, tmp_path / "other")


def test_an_adapter_of_other_weights_of_the_same_shapes_is_refused(
    tiny_bert: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    """PEFT keeps no fingerprint of the backbone. Here one changed number of it is enough."""
    base = Path(shutil.copytree(tiny_bert, tmp_path / "base"))
    own_base = f"backbone.model='{base.as_posix()}'"
    artifact = save_artifact(adapted(tiny_recipe, own_base), tmp_path / "artifact")
    load_artifact(artifact)
    weights = load_file(base / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][-1, -1] += 1e-3
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match="belongs to another backbone"):
        load_artifact(artifact)
    plan = make_plan(
        load_recipe(tiny_recipe, [UNREAD, LORA, own_base, f"adapter.fuse.init_from='{artifact.as_posix()}'"])
    )
    with pytest.raises(ArtifactError, match="belongs to another backbone"):
        initialise(build_model(plan), sources(plan))


@pytest.mark.parametrize("change", ["alpha = 8.0", 'scaling = "rank_stabilized"'])
def test_the_scale_belongs_to_what_is_saved(tiny_recipe: Path, tmp_path: Path, change: str) -> None:
    """PEFT's lora_alpha stands in a file of its own that nothing vouches for; the weights do not tell."""
    model = adapted(tiny_recipe)
    artifact = save_artifact(model, tmp_path / "artifact")
    assert torch.equal(hidden(load_artifact(artifact)), hidden(model)), "alpha = 4 came back with the weights"
    other = adapted(tiny_recipe, lora=LORA.replace("alpha=4.0", change))  # the same tensors
    assert not torch.allclose(hidden(other), hidden(model)), "the scale says something"
    key = change.partition(" ")[0]
    recipe = recipe_of(artifact)
    lines = [change if line.startswith(f"{key} =") else line for line in recipe.splitlines(keepends=False)]
    assert "\n".join(lines) != recipe.rstrip("\n")
    describe(artifact, lambda content: content.update(recipe="\n".join(lines)), seal=False)
    with pytest.raises(ArtifactError, match="is not as it was when the adapter was saved"):
        load_artifact(artifact)


def test_a_tensor_of_another_shape_is_named(tiny_recipe: Path, tmp_path: Path) -> None:
    """PEFT is good at this one."""
    artifact = save_artifact(adapted(tiny_recipe), tmp_path / "artifact")
    name = sorted(load_file(artifact / "adapter.safetensors"))[0]
    rewrite(artifact, lambda tensors: tensors.update({name: torch.zeros(7)}))
    with pytest.raises(ArtifactError, match=rf"{name} is float32 \(7,\), not"):
        load_artifact(artifact)


def test_a_path_matches_what_it_says_and_the_plan_shows_each() -> None:
    """PEFT's "output.dense" on BERT is a suffix, and hits attention.output.dense too.

    A glob without `*` in front is the whole path; with one it crosses dots, the plan lists every match, and `expect`
    asserts how many were meant. `mlp.down` is the one projection and needs no care.
    """
    family = FAMILIES["bert"]
    layers = [f"encoder.layer.{layer}" for layer in (0, 1)]
    with pytest.raises(SiteError, match=r"no module of bert matches path:output\.dense"):
        planned(family, at="path:output.dense")
    both = [path for layer in layers for path in (f"{layer}.attention.output.dense", f"{layer}.output.dense")]
    assert paths(planned(family, at="path:*.output.dense")) == both
    with pytest.raises(SiteError, match="expect = 2, but 4 grafts"):
        planned(family, at="path:*.output.dense", expect=2)
    meant = [f"{layer}.output.dense" for layer in layers]
    assert paths(planned(family, at="path:encoder.layer.[0-9].output.dense", expect=2)) == meant
    assert paths(planned(family, at="mlp.down", expect=2)) == meant


def test_vit_names_of_transformers_4_are_known() -> None:
    """PEFT finds no module for most architectures that were renamed."""
    family = FAMILIES["vit"]
    found = {site.name: site.path for site in select(family.anatomy(), PROJECTIONS) if site.layer == 1}
    assert found == {
        name: current_path("vit", f"encoder.layer.1.{old}")
        for name, old in {
            "attn.q": "attention.attention.query",
            "attn.k": "attention.attention.key",
            "attn.v": "attention.attention.value",
            "attn.o": "attention.output.dense",
            "mlp.up": "intermediate.dense",
            "mlp.down": "output.dense",
        }.items()
    }


class TwoTowers(nn.Module):
    """A model of one's own: two towers, their poolers, a fusion layer and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.image = FAMILIES["bert"].fresh(), FAMILIES["vit"].fresh()
        self.fusion, self.head = nn.Linear(64, 16), nn.Linear(16, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor) -> Tensor:
        text = self.text(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        image = self.image(pixel_values=pixel_values).pooler_output
        return self.head(torch.tanh(self.fusion(torch.cat([text, image], dim=-1))))


def test_all_projections_of_two_towers_are_those_of_their_blocks() -> None:
    """PEFT's all-linear takes the poolers and the fusion layer of such a model too."""
    model = TwoTowers()
    anatomy = study(model, name="own")
    found = {site.path for site in select(anatomy, PROJECTIONS)}
    blocks = tuple(f"{block}." for stack in anatomy.stacks for block in stack.blocks)
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert linear - found == {"text.pooler.dense", "image.pooler.dense", "fusion", "head"}
    assert found == {name for name in linear if name.startswith(blocks)}
    only_text = select(anatomy, [f"text.{name}" for name in PROJECTIONS])
    assert {site.path for site in only_text} == {path for path in found if path.startswith("text.")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_removal_gives_back_a_head_that_was_trained(dtype: torch.dtype) -> None:
    """PEFT's unload() keeps the trained head, although it promises the base model."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(0)
    config = AutoConfig.for_model("bert", **SMALL, **WORDS, num_labels=3)
    model = AutoModelForSequenceClassification.from_config(config).eval().to(dtype)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before = model(**text()).logits
    grafts = planned(FAMILIES["bert"], at=["attn.q", "attn.v"])
    inside = model.get_submodule("bert")
    unfrozen = [name for name, _ in model.named_parameters() if name.startswith("classifier.")]
    head_receipt = insert(model, [], unfrozen=unfrozen)
    receipt = insert(inside, grafts)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(**text()).logits.float(), torch.tensor([0, 1, 2])).backward()
        optimizer.step()
    assert not torch.equal(model.classifier.weight, state["classifier.weight"])
    remove(inside, receipt)
    remove(model, head_receipt)
    assert torch.equal(model(**text()).logits, before)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_removal_gives_back_the_backbone_of_an_adapted_model(tiny_recipe: Path) -> None:
    """The head of an adapted model is no part of its backbone, and unfrozen norms return too."""
    model = adapted(tiny_recipe, 'backbone.train=["norm"]')
    fresh = build_model(make_plan(load_recipe(tiny_recipe, [UNREAD, LORA])))
    remove(model.backbone, model.receipt)
    remove(fresh.backbone, fresh.receipt)
    state, plain = model.backbone.state_dict(), fresh.backbone.state_dict()
    assert [*state] == [*plain]
    assert all(torch.equal(value, plain[name]) for name, value in state.items())


def test_the_documented_tables_name_tests_that_exist() -> None:
    """docs/surgery.md says of each failure which test shows that it is not ours."""
    page = (Path(__file__).parents[2] / "docs" / "surgery.md").read_text()
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", page.partition("## What other libraries do in silence")[2])
    assert len(named) >= 20
    assert not [name for name in named if f"def {name}(" not in tests]
