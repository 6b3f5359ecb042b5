"""`plan` and `inspect` answer the second time without torch, to the byte as the first; and never from old facts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from adaptkit.plan import planning
from tests.cli.conftest import Cli
from tests.cli.test_without_torch import HEAVY, imported


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ADAPTKIT_CACHE", str(folder))
    return folder


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The backbone of every plan that was made, not remembered."""
    names: list[str] = []
    whole = planning.backbone_of
    monkeypatch.setattr(planning, "backbone_of", lambda recipe: names.append(recipe.name) or whole(recipe))
    return names


def entries(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.json"))


def test_a_process_that_answers_from_memory_does_not_import_torch(tmp_path: Path) -> None:
    model = tmp_path / "tiny"
    model.mkdir()
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    (model / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 30, **sizes}))
    commands = [["inspect", str(model)], ["inspect", "quickstart"], ["plan", "quickstart"]]
    commands += [["plan", "quickstart", "--json"], ["plan", "quickstart", "--against", "quickstart_lora"]]
    first = imported(commands, tmp_path)
    assert all("torch" in modules for _, modules in first.values())
    assert (tmp_path / ".cache" / "adaptkit").is_dir()
    for words, (code, modules) in imported(commands, tmp_path).items():
        assert code == 0, words
        assert not {*HEAVY, "sklearn", "pyarrow"} - {"numpy"} & set(modules), words


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_the_same_answer_to_the_byte(
    cli: Cli, tiny_recipe: Path, cache: Path, made: list[str], monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    for words in (("plan", tiny_recipe), ("inspect", tiny_recipe), ("plan", tiny_recipe, "--against", "quickstart")):
        monkeypatch.setenv("ADAPTKIT_CACHE", "off")
        fresh = cli(*words, *more)
        monkeypatch.setenv("ADAPTKIT_CACHE", str(cache))
        assert cli(*words, *more) == fresh
        made.clear()
        assert cli(*words, *more) == fresh
        assert not made


def test_another_recipe_folder_or_key_is_another_answer(
    cli: Cli, tiny_recipe: Path, cache: Path, made: list[str]
) -> None:
    cli("plan", tiny_recipe)
    cli("plan", tiny_recipe, "--set", "adapter.fuse.bottleneck=5")
    (tiny_recipe.parent / "there").mkdir()
    cli("plan", shutil.copy(tiny_recipe, tiny_recipe.parent / "there"))
    assert len(made) == len(entries(cache)) == 3


def test_another_configuration_of_the_model_is_another_answer(
    cli: Cli, tiny_recipe: Path, tiny_bert: Path, cache: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_bert, tmp_path / "model")
    words = "plan", tiny_recipe, "--set", f"backbone.model={model.as_posix()}", "--json"
    config = model / "config.json"
    two = config.read_text()
    assert len(cli(*words).json["grafts"]) == 2
    config.write_text(two.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    assert len(cli(*words).json["grafts"]) == 3
    assert json.loads(cli("inspect", model, "--json").out)["layers"] == 3
    config.write_text(two)
    assert json.loads(cli("inspect", model, "--json").out)["layers"] == 2


def test_other_labels_in_the_data_are_another_answer(
    cli: Cli, tiny_recipe: Path, tiny_data: Path, cache: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(tiny_data, tmp_path / "data")
    words = "plan", tiny_recipe, "--set", f"data.root={data.as_posix()}", "--json"
    assert cli(*words).json["labels"] == {"answer": ["no", "yes"]}
    train = data / "train.jsonl"
    train.write_text(train.read_text().replace('"answer": "no"', '"answer": "nay"', 1))
    assert cli(*words).json["labels"] == {"answer": ["nay", "no", "yes"]}
    (data / "validation.jsonl").unlink()
    assert cli(*words).code == 4


def test_other_versions_are_not_believed(
    cli: Cli, tiny_recipe: Path, cache: Path, made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("plan", tiny_recipe)
    installed = tmp_path / "site"
    (installed / "torch-99.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(installed)
    cli("plan", tiny_recipe)
    assert len(made) == 2
    (installed / "torch-99.0.dist-info").rename(installed / "torch-99.1.dist-info")
    cli("plan", tiny_recipe)
    assert len(made) == 3


def test_a_library_in_the_making_is_read_each_time(
    cli: Cli, tiny_recipe: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version says nothing of a checkout that is edited."""
    monkeypatch.setattr("adaptkit.cli.remembering.LIBRARIES", ("torch", "mine"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    cli("plan", tiny_recipe)
    assert not entries(cache)


@pytest.mark.usefixtures("forgotten_plugins")
def test_code_of_ones_own_runs_each_time(cli: Cli, tiny_recipe: Path, cache: Path, tmp_path: Path) -> None:
    nets = tmp_path / "nets.py"
    nets.write_text("from torch import nn\n\n\ndef build() -> nn.Module:\n    return nn.Linear(2, 2)\n")
    assert cli("inspect", f"{nets}:build").code == 0
    plugin = tmp_path / "own.py"
    plugin.write_text(
        "from adaptkit.kinds import HEADS\nfrom torch import nn\n\n\n@HEADS.register('own_head')\n"
        'def own_head(width: int, outputs: int) -> nn.Module:\n    """Mine."""\n    return nn.Linear(width, outputs)\n'
    )
    assert cli("plan", tiny_recipe, "--plugin", plugin).code == 0
    assert not entries(cache)


def test_what_is_damaged_is_made_again(cli: Cli, tiny_recipe: Path, cache: Path, made: list[str]) -> None:
    fresh = cli("plan", tiny_recipe)
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole.replace(b"gmu", b"lora")):
        entry.write_bytes(damaged)
        assert cli("plan", tiny_recipe) == fresh
        assert entry.read_bytes() == whole
    assert len(made) == 4


def test_a_mistake_is_told_each_time_and_not_remembered(cli: Cli, tiny_recipe: Path, cache: Path) -> None:
    for change in ("backbone.model=nowhere", "adapter.fuse.at=['attn.nothing']", "data.root=nowhere"):
        told = [cli("plan", tiny_recipe, "--set", change) for _ in range(2)]
        assert told[0] == told[1]
        assert told[0].code in (3, 4, 5)
    assert not entries(cache)
