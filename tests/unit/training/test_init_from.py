"""The `init_from` of a whole recipe: pre-train, freeze, graft, tune; and an artifact that needs no earlier run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from adaptkit.anatomy import fingerprint
from adaptkit.artifact import load_artifact, save_artifact
from adaptkit.artifact.initial import initialise, sources
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe
from adaptkit.training import train

BASE = """\
name = "base"

[backbone]
model = "{model}"
max_tokens = 8
train = ["all"]

[modality.question]
kind = "text"
route = "backbone"

[modality.features]
kind = "features"
width = 4
route = "fusion"
pool = "mean"
missing = "learned"

[fusion]
kind = "gmu"
width = 6

[data]
format = "jsonl"
root = "{data}"

[task.answer]
kind = "classification"

[train]
epochs = 1
batch_size = 8
optimizer = {{ name = "adamw", lr = 0.01 }}
"""

# Everything stays as it was pre-trained; only what is grafted into the blocks moves.
TUNED = """\
extends = "base.toml"
name = "tuned"
init_from = "runs/base"
backbone.train = []
modality.features.train = false
fusion.train = false
task.answer.head = { train = false }

[adapter.more]
kind = "bottleneck"
at = "mlp.out"
bottleneck = 2
"""

FRESH = "init_from: these start fresh: adapter more (8 tensors)"

# The published flow of Wander: it takes the place of the fusion, in front of a new head.
WANDER = """\
extends = "base.toml"
name = "wander"
init_from = "runs/base"
backbone.train = []
fusion.kind = "concat"

[adapter.wander]
kind = "wander"
at = "fusion"
sides = ["features"]
rank = 3
drank = 2
trank = 2
out_tokens = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, tiny_data: Path) -> Path:
    """A folder of recipes, in which the base was trained. Never write into it: copy it first."""
    folder = tmp_path_factory.mktemp("flow")
    (folder / "base.toml").write_text(BASE.format(model=tiny_bert.as_posix(), data=tiny_data.as_posix()))
    (folder / "tuned.toml").write_text(TUNED)
    (folder / "wander.toml").write_text(WANDER)
    train(load_recipe(folder / "base.toml"), runs=folder / "runs")
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "flow"))


def base_run(folder: Path) -> Path:
    (run,) = (folder / "runs" / "base").iterdir()
    return run


def tensors(run: Path) -> dict[str, Tensor]:
    return load_file(run / "artifact" / "adapter.safetensors")


def started(folder: Path, name: str, *changes: str) -> tuple[AdaptedModel, tuple[str, ...]]:
    plan = make_plan(load_recipe(folder / f"{name}.toml", changes))
    model = build_model(plan, seed=5)
    return model, initialise(model, sources(plan))


def logits(model: AdaptedModel) -> Tensor:
    encoders = dict(model.named_encoders())
    questions, vectors = ["is the thing red ?", "is it big ?"], [[1.0, 0.0, 0.3, 1.0], None]
    batch = {
        "question": encoders["question"].collate(questions, ["a", "b"]),
        "features": encoders["features"].collate([encoders["features"].prepare(v, "") for v in vectors], ["a", "b"]),
    }
    with torch.no_grad():
        return model(batch)["answer"]


def test_the_base_is_frozen_and_only_what_is_grafted_moves(copy: Path) -> None:
    run = train(load_recipe(copy / "tuned.toml"), runs=copy / "runs").run
    before, after = tensors(base_run(copy)), tensors(run)
    assert before.keys() < after.keys()
    assert any(name.startswith("backbone.encoder") for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(".adapters.more." in name for name in after.keys() - before.keys())
    summary = json.loads((run / "summary.json").read_text())
    assert FRESH in summary["warnings"]
    assert [text for text in summary["warnings"] if "init_from" in text] == [FRESH]


def test_the_artifact_needs_the_published_backbone_only(copy: Path) -> None:
    """It has the base in it, so it gives the same where the base's run does not exist."""
    run = train(load_recipe(copy / "tuned.toml"), runs=copy / "runs").run
    expected = logits(load_artifact(run))
    moved = copy.parent / "artifact"
    shutil.copytree(run / "artifact", moved)
    shutil.rmtree(copy)
    model = load_artifact(moved)
    assert torch.equal(logits(model), expected)
    published = build_model(make_plan(model.plan.recipe.model_copy(update={"adapter": {}})))
    assert fingerprint(model.backbone) != fingerprint(published.backbone)


def test_before_a_step_the_grafted_model_is_the_base(folder: Path) -> None:
    model, notes = started(folder, "tuned")
    assert notes == (FRESH,)
    torch.testing.assert_close(logits(model), logits(load_artifact(base_run(folder))))


def test_wander_takes_the_place_of_the_fusion_in_front_of_a_new_head(copy: Path) -> None:
    run = train(load_recipe(copy / "wander.toml"), runs=copy / "runs").run
    before, after = tensors(base_run(copy)), tensors(run)
    shared = before.keys() & after.keys() - {"heads.answer.weight", "heads.answer.bias", "encoders.features.fill"}
    assert all(torch.equal(before[name], after[name]) for name in shared)
    assert {name.partition(".")[0] for name in shared} == {"backbone"}
    anew, left, fresh = json.loads((run / "summary.json").read_text())["warnings"][:3]
    assert "the head of answer starts anew: it has (2, 16), and (2, 6)" in anew
    assert re.fullmatch(r"init_from leaves out of .*artifact: fusion \(\d tensors\)", left)
    assert re.fullmatch(r"init_from: these start fresh: adapter wander \(\d+ tensors\)", fresh)
    assert torch.isfinite(logits(load_artifact(run))).all()


def test_values_are_taken_by_name(folder: Path) -> None:
    """Of the parts that stay trainable as well, and the whole of a run, an artifact or a folder of runs."""
    before = tensors(base_run(folder))
    for source in ("runs", "runs/base", base_run(folder).as_posix(), (base_run(folder) / "artifact").as_posix()):
        model, notes = started(folder, "base", f"init_from='{source}'")
        assert notes == ()
        own = model.trainable_state()
        assert own.keys() == before.keys()
        assert all(torch.equal(own[name], before[name]) for name in before)


def test_a_head_of_other_labels_starts_anew(folder: Path) -> None:
    changes = ("task.answer.labels=['yes', 'no']",)
    model, (note, _) = started(folder, "tuned", *changes)
    assert "its labels are not those of" in note
    fresh = build_model(make_plan(load_recipe(folder / "tuned.toml", changes)), seed=5).state_dict()
    head = "heads.answer.weight"
    assert torch.equal(model.state_dict()[head], fresh[head])
    assert not torch.equal(model.state_dict()[head], tensors(base_run(folder))[head])


def test_what_heads_read_may_come_about_otherwise_and_it_is_told(folder: Path) -> None:
    """The published flow of Wander does that: another pool, and a fusion of the same width."""
    model, (note, _) = started(folder, "tuned", "backbone.pool=max", "modality.features.pool=none")
    assert note.startswith("init_from: what heads read comes about otherwise than in")
    changed = "backbone.pool was 'mean' and is 'max'; modality.features.pool was 'mean' and is 'none'"
    assert f"{changed}. Their values are taken" in note
    head = "heads.answer.weight"
    assert torch.equal(model.state_dict()[head], tensors(base_run(folder))[head])


def test_what_was_fitted_is_not_dropped_in_silence(copy: Path) -> None:
    """A fusion whose inputs were standardised is another function of plain ones; heads that read them are told."""
    plain = ("modality.features.missing=zero", "modality.features.standardise=false")
    fitted = (plain[0], "modality.features.standardise=true")
    beside = "fusion={kind='concat', norm=false}"
    train(load_recipe(copy / "base.toml", [*fitted, "name=fitted"]), runs=copy / "runs")
    train(load_recipe(copy / "base.toml", [*fitted, "name=joined", beside]), runs=copy / "runs")
    with pytest.raises(ArtifactError, match=r"another function: modality\.features\.standardise was True and is False"):
        started(copy, "tuned", *plain, "init_from=runs/fitted")
    _, notes = started(copy, "tuned", *plain, "init_from=runs/joined", beside)
    told, left = notes[:2]
    assert "modality.features.standardise was True and is False. Their values are taken" in told
    assert left.endswith("encoder of features (2 tensors)")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("init_from=runs/nothing",), "does not exist"),
        (("fusion.width=5",), r"join.hidden.*is \(6, .*\) there and \(5, .*\) here"),
    ],
)
def test_what_cannot_be_the_beginning(folder: Path, changes: tuple[str, ...], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        started(folder, "tuned", *changes)


def test_nothing_is_changed_by_a_beginning_that_does_not_fit(folder: Path) -> None:
    plan = make_plan(load_recipe(folder / "tuned.toml", ("fusion.width=5",)))
    model = build_model(plan)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    each = r"[\w.]+ is \([\d, ]+\) there and \([\d, ]+\) here"
    with pytest.raises(ArtifactError, match=rf"does not fit: {each}(; {each})*( and \d+ more)?\.") as caught:
        initialise(model, sources(plan))
    assert " more" not in str(caught.value)  # of three at most
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_nothing_that_fits(copy: Path) -> None:
    """An artifact of a frozen backbone, whose adapter, modality and task have other names."""
    changes = ("backbone.train=[]", "fusion={kind='concat', norm=false}", "modality.features.missing=error")
    run = train(load_recipe(copy / "base.toml", [*changes, "name=other"]), runs=copy / "runs").run
    with pytest.raises(ArtifactError, match=r"nothing in .* fits this recipe"):
        started(
            copy,
            "tuned",
            f"init_from='{run.as_posix()}'",
            *changes,
            "task={answer_2={kind='classification', column='answer'}}",
        )


def test_another_backbone(copy: Path, tiny_bert: Path) -> None:
    other = copy / "bert"
    shutil.copytree(tiny_bert, other)
    weights = load_file(other / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][-1, -1] += 1e-3
    from safetensors.torch import save_file

    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match="belongs to another backbone"):
        started(copy, "tuned", f"backbone.model='{other.as_posix()}'")


def test_the_newest_finished_run_of_a_folder(copy: Path) -> None:
    first = base_run(copy)
    second, third = first.parent / "20990101-000000-aaaaaaaa", first.parent / "20990102-000000-bbbbbbbb"
    for later, state in ((second, "finished"), (third, "interrupted")):
        shutil.copytree(first, later)
        told = json.loads((first / "status.json").read_text())
        (later / "status.json").write_text(json.dumps(told | {"status": state, "started": f"2099-{later.name[6:8]}"}))
    plan = make_plan(load_recipe(copy / "tuned.toml"))
    found = sources(plan).recipe
    assert found is not None
    assert found.folder == second / "artifact"
    shutil.rmtree(first)
    shutil.rmtree(second)
    with pytest.raises(ArtifactError, match="has no finished run"):
        sources(plan)


def test_other_values_of_the_frozen_backbone_belong_to_recipes_with_init_from(folder: Path, tmp_path: Path) -> None:
    """No artifact changes a backbone without its recipe saying so, and none is saved without its origin."""
    model = build_model(make_plan(load_recipe(folder / "base.toml", ("backbone.train=[]",))))
    original = fingerprint(model.backbone)
    assert not any(name.startswith("backbone.") for name in model.trainable_state())
    name = "backbone.pooler.dense.bias"
    model.initialise({name: torch.ones(16)})
    assert name in model.trainable_state()
    with pytest.raises(ArtifactError, match="its original fingerprint cannot be computed any more"):
        save_artifact(model, tmp_path / "artifact")
    artifact = save_artifact(model, tmp_path / "artifact", base_fingerprint=original)
    with pytest.raises(ArtifactError, match=f"{name} is unexpected"):
        load_artifact(artifact)
