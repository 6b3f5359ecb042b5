"""Adapters that start from trained ones: `init_from`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adaptkit.adapters.base import ADAPTERS, Adapter
from adaptkit.artifact import load_artifact, save_artifact
from adaptkit.artifact.continuing import changed_head
from adaptkit.artifact.initial import initialise, newest_run, sources
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe
from adaptkit.training import train

FUSION = """
extends = "tiny.toml"
name = "fused"

[adapter.fuse]
init_from = "{source}"
train = false

[adapter.other]
kind = "bottleneck"
at = ["mlp.out"]
bottleneck = 4

[adapter.both]
kind = "adapter_fusion"
at = ["mlp.out"]
sides = ["adapter:fuse", "adapter:other"]
"""


def fused(tiny_recipe: Path, source: str, changes: tuple[str, ...] = ()) -> Path:
    path = tiny_recipe.parent / "fused.toml"
    path.write_text(FUSION.format(source=source))
    return train(load_recipe(path, list(changes)), runs=tiny_recipe.parent / "runs").run


def test_trained_adapters_are_fused_and_stay_what_they_were(tiny_run: Path, tiny_recipe: Path) -> None:
    run = fused(tiny_recipe, tiny_run.as_posix())
    before = load_file(tiny_run / "artifact" / "adapter.safetensors")
    after = load_file(run / "artifact" / "adapter.safetensors")
    members = [name for name in before if ".adapters.fuse." in name]
    assert members
    assert all(torch.equal(before[name], after[name]) for name in members)
    assert any(".adapters.both." in name for name in after)
    model = load_artifact(run)
    state = model.trainable_state()
    assert all(torch.equal(state[name], value) for name, value in after.items())


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        ("nowhere", (), "does not exist"),
        ("{run}", ("adapter.fuse.bottleneck=2",), "Give the adapter the kind, sites and sizes"),
    ],
)
def test_what_cannot_be_the_beginning(
    tiny_run: Path, tiny_recipe: Path, source: str, changes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        fused(tiny_recipe, source.format(run=tiny_run.as_posix()), changes)
    assert "fused.toml" in str(caught.value)


def test_the_newest_finished_run_is_found_in_a_folder_of_runs_alone(tiny_run: Path, tmp_path: Path) -> None:
    assert newest_run(tiny_run) is None
    assert newest_run(tiny_run / "artifact") is None
    for name, started, status in (
        ("a", "2026-01-02", "finished"),
        ("b", "2026-01-03", "running"),
        ("c", "1", "finished"),
    ):
        (tmp_path / "runs" / name).mkdir(parents=True)
        told = {"status": status, "started": started}
        (tmp_path / "runs" / name / "status.json").write_text(json.dumps(told))
    assert newest_run(tmp_path / "runs") == tmp_path / "runs" / "a"
    assert newest_run(tmp_path) == tmp_path / "runs" / "a"
    assert newest_run(tmp_path / "runs" / "b") is None
    for name in "ac":
        (tmp_path / "runs" / name / "status.json").unlink()
    with pytest.raises(ArtifactError, match="has no finished run"):
        newest_run(tmp_path / "runs")


def test_an_artifact_without_that_adapter(tiny_run: Path, tiny_recipe: Path) -> None:
    path = tiny_recipe.parent / "other.toml"
    more = f'[adapter.more]\nkind = "bottleneck"\nat = "attn.out"\ninit_from = "{tiny_run.as_posix()}"\n'
    path.write_text(f'extends = "tiny.toml"\n{more}')
    with pytest.raises(ArtifactError, match="has no adapter 'more'"):
        train(load_recipe(path), runs=tiny_recipe.parent / "runs")


def beginning(tiny_recipe: Path, source: Path, *changes: str) -> tuple[str, ...]:
    """The notes of a model that starts from the run, by `init_from` of one adapter or of the whole recipe."""
    plan = make_plan(load_recipe(tiny_recipe, [change.replace("{run}", source.as_posix()) for change in changes]))
    return initialise(build_model(plan), sources(plan))


@pytest.mark.parametrize("source", ["adapter.fuse.init_from='{run}'", "init_from='{run}'"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("adapter.fuse.activation=relu", "adapter.fuse.activation was None and is 'relu'"),
        ("modality.features.pool=mean", "modality.features.pool was 'none' and is 'mean'"),
    ],
)
def test_the_same_tensors_of_another_function_are_refused(
    tiny_run: Path, tiny_recipe: Path, source: str, change: str, message: str
) -> None:
    with pytest.raises(ArtifactError, match=f"are those of another function: {message}") as caught:
        beginning(tiny_recipe, tiny_run, source, change)
    assert "--set" in caught.value.problems[0].where


def test_the_scale_of_a_lora_belongs_to_its_values(tiny_recipe: Path, tmp_path: Path) -> None:
    features = "modality.features.route=fusion"
    lora = 'adapter.fuse={{kind="lora", at=["attn.q"], rank=2, alpha={alpha}, dropout={dropout}}}'
    trained = build_model(make_plan(load_recipe(tiny_recipe, [features, lora.format(alpha="4.0", dropout="0.0")])))
    source = save_artifact(trained, tmp_path / "lora").as_posix()
    for init in (f"init_from='{source}'", f"adapter.fuse.init_from='{source}'"):
        other, same = (
            make_plan(load_recipe(tiny_recipe, [features, lora.format(alpha=alpha, dropout=dropout), init]))
            for alpha, dropout in (("40.0", "0.0"), ("4.0", "0.5"))
        )
        with pytest.raises(ArtifactError, match=r"adapter.fuse.alpha was 4.0 and is 40.0"):
            initialise(build_model(other), sources(other))
        assert initialise(build_model(same), sources(same)) == ()


def test_how_an_adapter_starts_and_learns_may_change(tiny_run: Path, tiny_recipe: Path) -> None:
    changes = ("adapter.fuse.init=published", "adapter.fuse.train=false", "modality.features.modality_dropout=0.5")
    changes += ("modality.features.missing=zero",)
    assert beginning(tiny_recipe, tiny_run, "init_from='{run}'", *changes) == ()


def test_what_is_left_out_and_what_stays_fresh_is_told(tiny_run: Path, tiny_recipe: Path) -> None:
    changes = ("adapter.fuse.layers=[0]", "modality.features.missing=learned")
    left, fresh = beginning(tiny_recipe, tiny_run, "adapter.fuse.init_from='{run}'", *changes)
    assert left.startswith(f"adapter.fuse.init_from leaves out of {tiny_run / 'artifact'}: adapter fuse (")
    assert fresh == "init_from: these start fresh: encoder of features (1 tensor)"
    left, fresh = beginning(tiny_recipe, tiny_run, "init_from='{run}'", *changes)
    assert left.startswith(f"init_from leaves out of {tiny_run / 'artifact'}: adapter fuse (")
    assert fresh == "init_from: these start fresh: encoder of features (1 tensor)"


def test_statistics_that_the_recipe_no_longer_asks_for_are_told(tiny_recipe: Path, tmp_path: Path) -> None:
    """The mean of the training split, which stood in for what was absent, by either `init_from`."""
    path = tiny_recipe.with_name("averaged.toml")
    path.write_text(tiny_recipe.read_text())
    run = train(load_recipe(path, ["modality.features.missing=mean"]), runs=tmp_path / "runs").run
    for source in ("adapter.fuse.init_from='{run}'", "init_from='{run}'"):
        (left,) = beginning(tiny_recipe, run, source, "modality.features.missing=zero")
        assert left.endswith(f"leaves out of {run / 'artifact'}: encoder of features (1 tensor)")


def test_options_are_compared_before_anything_is_built(tiny_run: Path, tiny_recipe: Path) -> None:
    """So that `validate --plan` tells, and no run folder is begun."""
    for key in ("init_from", "adapter.fuse.init_from"):
        plan = make_plan(load_recipe(tiny_recipe, [f"{key}='{tiny_run.as_posix()}'", "adapter.fuse.activation=relu"]))
        with pytest.raises(ArtifactError, match=r"adapter.fuse.activation was None and is 'relu'"):
            sources(plan)


def test_an_adapters_own_source_has_the_last_word(tiny_run: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    """What the source of the recipe has by this name is neither compared nor left out."""
    relu = ["adapter.fuse.activation=relu"]
    other = save_artifact(build_model(make_plan(load_recipe(tiny_recipe, relu)), seed=3), tmp_path / "relu")
    changes = ("init_from='{run}'", f"adapter.fuse.init_from='{other.as_posix()}'", *relu)
    assert beginning(tiny_recipe, tiny_run, *changes) == ()


def test_an_adapter_whose_name_begins_like_anothers_is_another(tiny_recipe: Path, tmp_path: Path) -> None:
    """`fuse` takes nothing of `fuse_more`, though the source has both."""
    more = 'adapter.fuse_more={kind="bottleneck", at=["mlp.out"], bottleneck=2}'
    source = save_artifact(stirred(build_model(make_plan(load_recipe(tiny_recipe, [more])))), tmp_path / "both")
    init = f"adapter.fuse.init_from='{source.as_posix()}'"
    plan = make_plan(load_recipe(tiny_recipe, [more, init]))
    model, fresh = build_model(plan, seed=1), build_model(plan, seed=1).state_dict()
    assert initialise(model, sources(plan)) == ()
    saved = load_file(source / "adapter.safetensors")
    for name, value in model.trainable_state().items():
        assert torch.equal(value, saved[name] if ".adapters.fuse." in name else fresh[name]), name


def stirred(model: AdaptedModel) -> AdaptedModel:
    """With values that no fresh model has."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.trainable_state().values():
            value.add_(torch.randn(value.shape, generator=generator))
    return model


def saved_with(tiny_recipe: Path, folder: Path, *changes: str) -> str:
    """`init_from` of an artifact of the tiny recipe with these changes."""
    source = save_artifact(stirred(build_model(make_plan(load_recipe(tiny_recipe, list(changes))))), folder)
    return f"init_from='{source.as_posix()}'"


def test_options_of_a_fusion_belong_to_its_values(tiny_recipe: Path, tmp_path: Path) -> None:
    side = ["modality.features.route=fusion", "adapter.fuse={kind='bottleneck', at=['mlp.out'], bottleneck=2}"]
    mult = "fusion={{kind='cross_modal', width=4, heads=2, layers=1, self_layers=1, pool='{pool}', dropout={dropout}}}"
    init = saved_with(tiny_recipe, tmp_path / "mult", *side, mult.format(pool="last", dropout=0.1))
    assert beginning(tiny_recipe, tmp_path, *side, mult.format(pool="last", dropout=0.3), init) == ()
    with pytest.raises(ArtifactError, match=r"fusion\.pool was 'last' and is 'mean'"):
        beginning(tiny_recipe, tmp_path, *side, mult.format(pool="mean", dropout=0.1), init)


def test_options_of_a_head_belong_to_its_values(tiny_recipe: Path, tmp_path: Path) -> None:
    """Another dropout is none of its function; another kind is, also where the shapes are the same."""
    init = saved_with(tiny_recipe, tmp_path / "mlp", "task.answer.head={kind='mlp', hidden=16}")
    assert beginning(tiny_recipe, tmp_path, "task.answer.head={kind='mlp', dropout=0.5, train=false}", init) == ()
    notes = beginning(tiny_recipe, tmp_path, "task.answer.head={kind='residual'}", init)
    assert "init_from: the head of answer starts anew: it has" in notes[0]
    plan = make_plan(load_recipe(tiny_recipe, ["task.answer.head={kind='residual'}"]))
    there = load_recipe(tiny_recipe, ["task.answer.head={kind='mlp'}"])
    assert changed_head(build_model(plan), there, "answer") == ["head.kind was 'mlp' and is 'residual'"]


@pytest.mark.parametrize("name", [*ADAPTERS.kinds])
def test_free_keys_are_keys(name: str) -> None:
    """A key that is free by mistake would let another function pass; one that no kind has says nothing."""
    own = ADAPTERS[name].free_keys - Adapter.free_keys
    assert own <= ADAPTERS.kinds[name].keys.keys()
    everywhere = {key for kind in ADAPTERS.kinds.values() for key in kind.keys}
    assert everywhere >= Adapter.free_keys
    assert all(ADAPTERS[kind].free_keys >= Adapter.free_keys for kind in ADAPTERS)
    assert not ADAPTERS[name].free_keys & {"alpha", "scaling", "scale", "activation", "form", "combine", "on", "heads"}
