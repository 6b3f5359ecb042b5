from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from adaptkit.artifact import export_adapter, load_artifact
from adaptkit.artifact.format import HASH, sha256
from adaptkit.cli.main import main
from adaptkit.errors import AdaptkitError, ArtifactError, UsageError
from tests.fuzz.artifacts import describe


def test_an_exported_adapter_is_complete(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = export_adapter(tiny_run)
    assert found == Path("tiny-adapter")
    assert sorted(os.listdir(found)) == ["README.md", "adapter.json", "adapter.safetensors"]
    load_artifact(found)
    with pytest.raises(UsageError, match=r"exists already.*--force"):
        export_adapter(tiny_run)
    (found / "README.md").write_text("mine")
    export_adapter(tiny_run, force=True)
    assert (found / "README.md").read_text() != "mine"


def test_force_replaces_adapters_only(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"has no adapter\.json"):
        export_adapter(tiny_run, tmp_path, force=True)
    with pytest.raises(UsageError, match="the source itself"):
        export_adapter(tiny_run, tiny_run / "artifact", force=True)
    assert (tmp_path / "thesis.txt").exists()


def test_a_damaged_artifact_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "adapter.json").write_text("{")
    with pytest.raises(ArtifactError):
        export_adapter(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def artifact(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run / "artifact", tmp_path / "artifact"))


def test_export_refuses_what_load_refuses(artifact: Path, tmp_path: Path) -> None:
    """Everything, also what only the backbone shows."""

    def other_backbone(content: dict[str, Any]) -> None:
        content["base"]["fingerprint"] = f"sha256:{'0' * 64}"

    whole = (artifact / "adapter.json").read_text()
    changes = [other_backbone, lambda content: content.update(recipe="= what"), lambda content: content.pop("labels")]
    for change in changes:
        (artifact / "adapter.json").write_text(whole)
        describe(artifact, change)
        said = []
        for attempt in (lambda: load_artifact(artifact), lambda: export_adapter(artifact, tmp_path / "out")):
            with pytest.raises(AdaptkitError) as caught:
                attempt()
            said.append(str(caught.value))
        assert said[0] == said[1]
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/../../x", "..", "C:\\x", ""])
def test_no_name_leads_out_of_the_current_folder(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["recipe"] = content["recipe"].replace('name = "tiny"', f"name = {json.dumps(name)}", 1)
        content["name"] = name

    describe(artifact, change)
    (tmp_path / "here" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "deep")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArtifactError, match=r"the recipe in it is not understood: .*name"):
        export_adapter(artifact)
    assert sorted(tmp_path.rglob("*")) == before


def as_format_1(artifact: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for key in ("inputs", "dtypes", "versions", HASH, "towers", "plugins"):
            content.pop(key)
        content["base"].pop("config")
        content |= {"format": 1, "recipe_sha256": sha256(content["recipe"].encode())}

    describe(artifact, change)


def test_format_1_is_written_anew_where_its_owner_says_so(
    artifact: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_format_1(artifact)
    new = tmp_path / "new"
    for refused in (load_artifact, export_adapter):
        with pytest.raises(ArtifactError, match=r"has format 1.*adaptkit export .* --adapter-only --upgrade"):
            refused(artifact)
    assert main(["export", str(artifact), "--adapter-only", "--upgrade", "--output", str(new)]) == 0
    before, after = (json.loads((place / "adapter.json").read_text()) for place in (tiny_run / "artifact", new))
    for changing in ("adaptkit", "recipe", HASH):  # relative paths of the recipe were resolved
        del before[changing], after[changing]
    assert before == after
    files = [(place / "adapter.safetensors").read_bytes() for place in (tiny_run / "artifact", new)]
    assert files[0] == files[1]
    load_artifact(new)
    with pytest.raises(UsageError, match=r"has format 2, and --upgrade is for format 1"):
        export_adapter(new, tmp_path / "newer", upgrade=True)
    assert not (tmp_path / "newer").exists()


def test_format_1_is_checked_as_far_as_it_can_be(artifact: Path, tmp_path: Path) -> None:
    as_format_1(artifact)
    whole = (artifact / "adapter.json").read_text()
    damages: list[tuple[Any, str]] = [
        (lambda content: content.update(recipe="x = 1"), "not the one that the adapter was saved with"),
        (lambda content: content.update(labels=3), "labels: should be an object, not 3"),
        (lambda content: content.update(base=3), "base: should be an object"),
        (lambda content: content.update(sha256="0" * 64), "is not the file that adapter.json describes"),
    ]
    for damage, message in damages:
        (artifact / "adapter.json").write_text(whole)
        describe(artifact, damage)
        with pytest.raises(ArtifactError, match=message):
            export_adapter(artifact, tmp_path / "out", upgrade=True)
    assert not (tmp_path / "out").exists()
