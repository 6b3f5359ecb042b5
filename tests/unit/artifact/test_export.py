from __future__ import annotations

import os
from pathlib import Path

import pytest

from adaptkit.artifact import export_adapter, load_artifact
from adaptkit.errors import ArtifactError, UsageError


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
    with pytest.raises(UsageError, match="not an adapter folder"):
        export_adapter(tiny_run, tmp_path, force=True)
    with pytest.raises(UsageError, match="the artifact itself"):
        export_adapter(tiny_run, tiny_run / "artifact", force=True)
    assert (tmp_path / "thesis.txt").exists()


def test_a_damaged_artifact_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "adapter.json").write_text("{")
    with pytest.raises(ArtifactError):
        export_adapter(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
