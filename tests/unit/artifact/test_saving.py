"""What an artifact is written with: fingerprints of what was trained, versions, plugins, and what it said before."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from adaptkit.artifact import export_adapter, load_artifact, save_artifact
from adaptkit.artifact.identity import _told, differences, versions
from adaptkit.artifact.load import RUN_CODE, _refuse_code
from adaptkit.artifact.models import tokenizer_of
from adaptkit.artifact.reading import read_artifact
from adaptkit.artifact.save import fingerprints, used_plugins
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.model.towers import path_of
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe
from tests.fuzz.artifacts import describe


def model(tiny_bert: Path, adapter: Any = None, modalities: Any = None, **keys: Any) -> AdaptedModel:
    """With a tower, whose table has these keys."""
    vit = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    tower = {"model": "vit", "config": vit | {"image_size": 8, "patch_size": 4}, **keys}
    document = {
        "schema": 1,
        "name": "films",
        "backbone": {"model": str(tiny_bert)},
        "modality": {
            "question": {"kind": "text", "route": "backbone"},
            "poster": {"kind": "image", "route": "fusion", "tower": tower},
            **(modalities or {}),
        },
        "adapter": adapter or {"low": {"kind": "lora", "rank": 2, "at": "attn.q"}},
        "data": {"format": "jsonl"},
        "task": {"y": {"kind": "classification", "labels": ["a", "b"]}},
    }
    return build_model(make_plan(parse_recipe(document)))


def test_a_trained_tower_needs_the_fingerprint_it_had(tiny_bert: Path, tmp_path: Path) -> None:
    trained, same = model(tiny_bert, train=["norm"]), model(tiny_bert)
    before = fingerprints(trained)
    with pytest.raises(ArtifactError, match="the tower of poster was trained as well"):
        save_artifact(trained, tmp_path / "one")
    save_artifact(trained, tmp_path / "one", tower_fingerprints={"poster": before["poster"]})
    assert read_artifact(tmp_path / "one").description.towers["poster"].fingerprint == before["poster"]
    save_artifact(same, tmp_path / "two")
    same.initialised = frozenset([f"{path_of('poster')}.embeddings.cls_token"])
    with pytest.raises(ArtifactError, match="the tower of poster was trained as well"):
        save_artifact(same, tmp_path / "three")
    same.initialised = frozenset(["backbone.embeddings.LayerNorm.weight"])
    with pytest.raises(ArtifactError, match="the backbone has other values than published"):
        save_artifact(same, tmp_path / "three")


def test_a_full_export_says_what_the_run_said(tiny_bert: Path, tmp_path: Path) -> None:
    told: dict[str, Any] = {"metrics": {"test": {"accuracy": 0.25}}, "seed": 7, "note": "Trained twice."}
    save_artifact(model(tiny_bert), tmp_path / "artifact", **told)
    export_adapter(tmp_path / "artifact", tmp_path / "full", full=True)
    described = read_artifact(tmp_path / "full").description
    assert {name: getattr(described, name) for name in told} == told
    assert described.base.fingerprint == read_artifact(tmp_path / "artifact").description.base.fingerprint


def test_an_export_is_the_adapter_alone_unless_more_is_asked_for(tiny_bert: Path, tmp_path: Path) -> None:
    save_artifact(model(tiny_bert), tmp_path / "artifact")
    found = export_adapter(tmp_path / "artifact", tmp_path / "out")
    assert sorted(path.name for path in found.iterdir()) == ["README.md", "adapter.json", "adapter.safetensors"]
    load_artifact(found)


def test_a_full_export_that_answers_otherwise_is_not_written(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_artifact(model(tiny_bert), tmp_path / "artifact")

    def other(*_: Any, **__: Any) -> AdaptedModel:
        loaded = load_artifact(tmp_path / "artifact")
        with torch.no_grad():
            for tensor in loaded.trainable_state().values():
                tensor += 0.5
        return loaded

    monkeypatch.setattr("adaptkit.artifact.full.load_artifact", other)
    with pytest.raises(ArtifactError, match="differ"):
        export_adapter(tmp_path / "artifact", tmp_path / "full", full=True)
    assert not (tmp_path / "full").exists()
    export_adapter(tmp_path / "artifact", tmp_path / "full", full=True, check=False)


def test_what_differs_is_told_by_name_and_counted() -> None:
    then: dict[str, Any] = {"a": {"b": 1, "c": 2}, "d": {"e": 1}, "f": f"sha256:{'0' * 64}", "g": 1}
    now: dict[str, Any] = {"a": {"b": 1, "c": 3}, "d": 5, "f": f"sha256:{'1' * 64}", "h": 1}
    told = list(differences(then, now))
    assert {"a.c was 2 and is 3", 'd was {"e": 1} and is 5', "f is another"} <= set(told)
    assert list(differences(now, then))
    assert _told(["c", "a", "b"]) == "a; b; c"
    assert _told(["d", "c", "a", "b", "e"]) == "a; b; c; and 2 more"


def test_a_plugin_that_is_not_here_is_asked_for(tiny_run: Path, tmp_path: Path) -> None:
    artifact = Path(shutil.copytree(tiny_run / "artifact", tmp_path / "artifact"))
    plugin = {"name": "ghost", "version": "", "sha256": "5" * 64}
    describe(artifact, lambda content: content.update(plugins=[plugin]))
    with pytest.raises(ArtifactError, match=r"the plugin ghost \(sha256:55555555\), which is not loaded"):
        load_artifact(artifact)


def test_the_tokenizer_is_that_of_the_model_or_the_one_that_the_recipe_names(tiny_bert: Path, tmp_path: Path) -> None:
    plain = model(tiny_bert)
    save_artifact(plain, tmp_path / "one")
    assert read_artifact(tmp_path / "one").description.tokenizer == plain.plan.ref.id
    other = str(shutil.copytree(tiny_bert, tmp_path / "other"))
    plain.plan.recipe.backbone.__dict__["tokenizer"] = other
    save_artifact(plain, tmp_path / "two")
    assert read_artifact(tmp_path / "two").description.tokenizer == other


def test_a_graft_in_a_tower_says_so(tiny_bert: Path) -> None:
    low = {"kind": "lora", "rank": 2}
    inside = {"low": {**low, "at": "attn.q"}, "other": {**low, "at": "poster.attn.q"}}
    grafts = model(tiny_bert, inside).plan.as_dict()["grafts"]
    assert [graft.get("model") for graft in grafts] == [None, None, "poster"]


def test_every_model_has_its_own_tokenizer(tiny_bert: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tiny_bert, tmp_path / "other")
    title = {"kind": "text", "route": "fusion", "tower": {"model": str(other)}}
    adapted = model(tiny_bert, modalities={"title": title})
    texts = dict(adapted.named_encoders())
    assert tokenizer_of(adapted, "") is texts["question"].tokenizer
    assert tokenizer_of(adapted, "title") is texts["title"].tokenizer is not texts["question"].tokenizer
    assert tokenizer_of(adapted, "poster") is None


@pytest.mark.parametrize(("said", "allowed"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_code_of_an_artifact_runs_where_the_environment_says_so(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, allowed: bool
) -> None:
    monkeypatch.delenv(RUN_CODE, raising=False)
    if said is not None:
        monkeypatch.setenv(RUN_CODE, said)
    artifact = read_artifact(tiny_run / "artifact")
    with nullcontext() if allowed else pytest.raises(ArtifactError, match="Python code that is not part of it"):
        _refuse_code("./nets.py:build", artifact, None)
    _refuse_code("bert-base", artifact, None)
    _refuse_code("./nets.py:build", artifact, True)
    with pytest.raises(ArtifactError, match="would run now"):
        _refuse_code("./nets.py:build", artifact, False)


def test_versions_are_those_of_the_libraries_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "transformers":
            raise metadata.PackageNotFoundError
        return "1"

    monkeypatch.setattr("adaptkit.artifact.identity.metadata.version", version)
    assert versions() == {"torch": "1", "tokenizers": "1", "timm": "1"}


def test_plugins_are_those_of_kinds_and_those_that_the_recipe_names(monkeypatch: pytest.MonkeyPatch) -> None:
    origins = [SimpleNamespace(origin=name) for name in ("of_a_kind", "adaptkit")]
    loaded = [SimpleNamespace(name=name) for name in ("of_a_kind", "named.py", "other.module", "not_named")]
    monkeypatch.setattr("adaptkit.artifact.save.kinds_in", lambda _: origins)
    monkeypatch.setattr("adaptkit.artifact.save.loaded_plugins", lambda: loaded)
    monkeypatch.setattr("adaptkit.artifact.save.plugin_of", str)
    recipe: Any = SimpleNamespace(plugins=["folder/named.py", "other.module", "nowhere"])
    assert used_plugins(recipe) == ["named.py", "of_a_kind", "other.module"]
