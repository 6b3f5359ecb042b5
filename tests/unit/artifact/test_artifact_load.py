"""An artifact comes back as it was, and every way of being damaged is its own clear error."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save, save_file

from adaptkit.artifact import load_artifact, save_artifact
from adaptkit.artifact.format import HASH, description_sha256, sha256
from adaptkit.artifact.save import refuse_not_finite
from adaptkit.cli.main import main
from adaptkit.errors import ArtifactError, RunError
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe, parse_recipe
from tests.fuzz.artifacts import describe as change_description
from tests.fuzz.artifacts import rewrite as rewrite_all


@pytest.fixture
def artifact(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(tiny_run / "artifact", tmp_path / "artifact"))


def describe(artifact: Path, **changes: Any) -> None:
    """Change adapter.json and make its hash right again, as another program might."""
    change_description(artifact, lambda content: content.update(changes))


def rewrite(artifact: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Change the tensors and make their hash right again, but not what is listed."""
    tensors = load_file(artifact / "adapter.safetensors")
    change(tensors)
    save_file(tensors, artifact / "adapter.safetensors")
    describe(artifact, sha256=sha256((artifact / "adapter.safetensors").read_bytes()))


def swap(artifact: Path) -> None:
    """Exchange the labels, as an editor would: accuracy 0.94 becomes 0.06."""

    def change(content: dict[str, Any]) -> None:
        content["labels"]["answer"].reverse()

    change_description(artifact, change, seal=False)


def test_run_and_artifact_give_the_same_model(tiny_run: Path, artifact: Path) -> None:
    one, other = load_artifact(tiny_run), load_artifact(artifact)
    assert not one.training
    state = other.trainable_state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in one.trainable_state().items())
    assert one.plan.recipe.name == "tiny"
    assert one.plan.labels["answer"] == ("no", "yes")


def test_saving_again_gives_the_same_bytes(tiny_run: Path, tmp_path: Path) -> None:
    again = save_artifact(load_artifact(tiny_run), tmp_path / "again")
    names = ("adapter.safetensors",)
    assert all((again / name).read_bytes() == (tiny_run / "artifact" / name).read_bytes() for name in names)
    with pytest.raises(RunError, match="exists already"):
        save_artifact(load_artifact(tiny_run), again)


def test_the_card_tells_what_it_is(artifact: Path) -> None:
    card = (artifact / "README.md").read_text()
    described = json.loads((artifact / "adapter.json").read_text())
    assert card.startswith("# tiny\n")
    assert described["base"]["fingerprint"] in card
    assert "| fuse | gmu | `mlp.out` | 0-1 | 480 |" in card
    assert "| answer | no, yes |" in card
    assert f"{described['metrics']['test']['accuracy']:.4f}" in card


def snippet_of(artifact: Path) -> str:
    (found,) = re.findall(r"```python\n(.*?)```", (artifact / "README.md").read_text(), re.DOTALL)
    return found.replace("THIS_FOLDER", artifact.as_posix())


def test_the_snippet_of_the_card_runs(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snippet = snippet_of(artifact)
    assert '    "question": "some text",  # a text\n    "features": [0.0] * 4,    # a list, an array' in snippet
    exec(snippet, {})
    expected = load_artifact(artifact).predict([{"question": "some text", "features": [0.0] * 4}])
    assert capsys.readouterr().out == f"{expected}\n"


@pytest.mark.parametrize("column", [None, "facts"])
def test_the_snippet_has_what_the_data_calls_it(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], column: str
) -> None:
    """Columns, not modalities, as in files; those of a table; nothing of what the recipe drops."""
    side = {"route": "side", "missing": "zero"}
    table = {"kind": "table", "columns": ["year"], "categorical": ["land"], **({"column": column} if column else {})}
    document = {
        "schema": 1,
        "name": "films",
        "backbone": {"model": tiny_bert.as_posix()},
        "modality": {
            "plot": {"kind": "text", "route": "backbone", "column": 'the "plot"'},
            "poster": {"kind": "image", "size": 4, **side},
            "sound": {"kind": "features", "width": 3, **side},
            "table": {**table, **side},
        },
        "adapter": {"fuse": {"kind": "gmu", "at": ["mlp.out"], "sides": ["poster", "sound", "table"]}},
        "data": {"format": "jsonl", "root": "nowhere", "drop": ["sound"]},
        "task": {"good": {"kind": "classification", "labels": ["no", "yes"]}},
    }
    model = build_model(make_plan(parse_recipe(document)))
    encoder: Any = model.encoders["table"]
    encoder.fit([encoder.collate([encoder.prepare(cells, "") for cells in ((1990, "a"), (2000, "b"))], [])])
    snippet = snippet_of(save_artifact(model, tmp_path / "films"))
    lines = ['"the \\"plot\\"": "some text",', '"poster": "image.png",']
    lines += ['"facts": {"year": 1.0, "land": "a"},'] if column else ['"year": 1.0,', '"land": "a",']
    assert re.findall(r"^    (.*?,) +# ", snippet, re.MULTILINE) == lines
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    exec(snippet, {})
    assert "probabilities" in capsys.readouterr().out


def damages() -> dict[str, tuple[Callable[[Path], Any], str]]:
    def cut(artifact: Path) -> None:
        path = artifact / "adapter.safetensors"
        path.write_bytes(path.read_bytes()[:-10])

    def flip(artifact: Path) -> None:
        path = artifact / "adapter.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))

    def pop(tensors: dict[str, torch.Tensor]) -> None:
        tensors.popitem()

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        next(iter(tensors.values())).view(-1)[0] = torch.nan

    def other_shape(artifact: Path) -> None:
        described = json.loads((artifact / "adapter.json").read_text())
        name = next(iter(described["shapes"]))
        tensors = load_file(artifact / "adapter.safetensors")
        tensors[name] = torch.zeros(7)
        content = save(tensors)
        (artifact / "adapter.safetensors").write_bytes(content)
        describe(artifact, sha256=sha256(content), shapes={**described["shapes"], name: [7]})

    def other_backbone(artifact: Path) -> None:
        base = json.loads((artifact / "adapter.json").read_text())["base"]
        describe(artifact, base={**base, "fingerprint": "sha256:" + "0" * 64})

    def write(name: str, text: str) -> Callable[[Path], Any]:
        return lambda artifact: (artifact / name).write_text(text)

    return {
        "no tensors": (lambda a: (a / "adapter.safetensors").unlink(), r"adapter\.safetensors  is missing"),
        "no description": (lambda a: (a / "adapter.json").unlink(), r"adapter\.json  is missing"),
        "truncated": (cut, "truncated or corrupt"),
        "empty": (lambda a: (a / "adapter.safetensors").write_bytes(b""), "truncated or corrupt"),
        "not tensors": (write("adapter.safetensors", "x" * 100), "truncated or corrupt"),
        "one bit": (flip, "SHA-256 differs"),
        "missing tensor": (lambda a: rewrite(a, pop), "is missing"),
        "unexpected tensor": (
            lambda a: rewrite(a, lambda tensors: tensors.update(extra=torch.ones(2))),
            "extra is unexpected",
        ),
        "not finite": (lambda a: rewrite(a, spoil), "NaN or infinite"),
        "wrong shape": (other_shape, r"does not fit the model.*\(7,\), not"),
        "other backbone": (other_backbone, "belongs to another backbone"),
        "newer format": (lambda a: describe(a, format=99), r"has format 99.*upgrade"),
        "a seed in words": (lambda a: describe(a, seed="one"), "seed: should be a whole number"),
        "a key that nobody knows": (lambda a: describe(a, surprise=1), r"surprise: .*unknown"),
        "older format": (lambda a: describe(a, format=1), r"has format 1,.*--upgrade"),
        "format that is no number": (lambda a: describe(a, format=True), "has no format number"),
        "no format": (write("adapter.json", "{}"), "is not an adaptkit artifact"),
        "not JSON": (write("adapter.json", '{"format": 1,'), "is not valid JSON"),
        "a list": (write("adapter.json", "[]"), "is no JSON object"),
        "incomplete": (write("adapter.json", '{"format": 2, "base": {}}'), r"name: is missing.*\n.*recipe: is missing"),
        "nested without end": (write("adapter.json", "[" * 100_000), "is not valid JSON"),
        "no hash": (lambda a: change_description(a, lambda c: c.pop(HASH)), "description_sha256: is missing"),
        "number format": (
            lambda a: rewrite(a, lambda tensors: tensors.update(wider(tensors))),
            r"float64 \(2,\), not float32 \(2,\)",
        ),
        "labels": (swap, "adapter.json  is not as it was when the adapter was saved"),
        "other name": (
            lambda a: describe(a, name="../../x"),
            r"name: says \.\./\.\./x, and the recipe in it says tiny",
        ),
        "no labels": (lambda a: describe(a, labels={"answer": None}), "labels.answer: says None"),
        "another task": (lambda a: describe(a, labels={"other": ["no", "yes"]}), "labels: says"),
        "labels of another number": (
            lambda a: describe(a, labels={"answer": ["a", "b", "c"]}),
            "does not fit the model",
        ),
        "a tower": (
            lambda a: change_description(a, lambda content: content["towers"].update(features=content["base"])),
            "the recipe in it is not readable: 'tower'",
        ),
        "recipe of the future": (
            lambda a: change_description(a, lambda content: content.update(recipe=f"cold = 1\n{content['recipe']}")),
            r"recipe in it is not understood: .*cold.*unknown key.* It was made with adaptkit",
        ),
        "recipe": (lambda a: describe(a, recipe="= what"), "recipe in it is not readable"),
    }


@pytest.mark.parametrize("name", damages())
def test_damaged(artifact: Path, name: str) -> None:
    damage, message = damages()[name]
    damage(artifact)
    with pytest.raises(ArtifactError, match=message) as caught:
        load_artifact(artifact)
    assert caught.value.code == 4


def wider(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"heads.answer.bias": tensors["heads.answer.bias"].double()}


WRONG: dict[str, Any] = {
    "name": 3,
    "recipe": ["schema = 1"],
    "base": "bert",
    "towers": [],
    "inputs": {"question": 1},
    "labels": {"answer": ["no", 1]},
    "tokenizer": 3,
    "sha256": "abc",
    "shapes": {"a": [1.5]},
    "dtypes": {"a": 32},
    "parameters": {"total": "many"},
    "metrics": {"test": {"accuracy": "good"}},
    "seed": "0",
    "note": None,
    "adaptkit": 0.1,
    "versions": {"torch": 2},
    "plugins": [{"name": "film.py"}],
}


@pytest.mark.parametrize("field", WRONG)
def test_every_field_has_a_type(artifact: Path, field: str) -> None:
    describe(artifact, **{field: WRONG[field]})
    with pytest.raises(ArtifactError, match=rf"adapter\.json  {field}[\w.]*: (should be|is missing)") as caught:
        load_artifact(artifact)
    assert caught.value.code == 4


def test_a_wrong_type_is_no_bug_of_ours(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    describe(artifact, name=3)
    assert main(["export", str(artifact), "--adapter-only", "--output", str(tmp_path / "out")]) == 4
    assert "adapter.json  name: should be text in quotes, not 3." in capsys.readouterr().err


def test_metrics_of_other_libraries_are_numbers(tiny_run: Path, tmp_path: Path) -> None:
    metrics = {"test": {"mine": numpy.float32(0.5), "yours": torch.tensor(2), "none": None}}
    saved = save_artifact(load_artifact(tiny_run), tmp_path / "again", metrics=metrics)
    assert load_artifact(saved).plan.recipe.name == "tiny"
    told = json.loads((saved / "adapter.json").read_text())["metrics"]
    assert told == {"test": {"mine": 0.5, "yours": 2.0, "none": None}}
    with pytest.raises(ArtifactError, match=r"metrics.accuracy: should be an object, not 0.9"):
        save_artifact(load_artifact(tiny_run), tmp_path / "wrong", metrics={"accuracy": 0.9})
    assert not (tmp_path / "wrong").exists()


def test_no_field_is_without_a_wrong_type(artifact: Path) -> None:
    described = json.loads((artifact / "adapter.json").read_text())
    assert described.keys() - WRONG.keys() == {"format", HASH}


def test_mistakes_are_told_together_up_to_five(artifact: Path) -> None:
    describe(artifact, name=3, note=3)
    with pytest.raises(
        ArtifactError, match=r"name: should be text in quotes, not 3.*\n.*note: should be text"
    ) as caught:
        load_artifact(artifact)
    assert len(caught.value.problems) == 2
    describe(artifact, shapes={str(index): "x" for index in range(100)})
    with pytest.raises(ArtifactError, match="and 97 fields more") as caught:
        load_artifact(artifact)
    assert len(caught.value.problems) == 6


def test_a_new_field_is_covered_by_the_hash() -> None:
    content = {"format": 2, "later": {"a": 1}}
    assert description_sha256(content) == description_sha256({**content, HASH: "anything"})
    assert description_sha256(content) == description_sha256(dict(reversed(content.items()))), "order says nothing"
    assert description_sha256(content) != description_sha256({"format": 2, "later": {"a": 2}})


def test_a_narrower_number_format_is_held_exactly(artifact: Path) -> None:
    name = "heads.answer.bias"
    halves = torch.tensor([0.5, -0.25], dtype=torch.float16)
    rewrite_all(artifact, lambda tensors: tensors.update({name: halves}))
    assert torch.equal(load_artifact(artifact).trainable_state()[name], halves.float())
    rewrite_all(artifact, lambda tensors: tensors.update({name: halves.double()}))
    with pytest.raises(
        ArtifactError, match=r"does not fit the model.*heads.answer.bias is float64 \(2,\), not float32"
    ):
        load_artifact(artifact)


def test_places_without_an_artifact(tmp_path: Path, tiny_run: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        load_artifact(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="neither a run nor an artifact"):
        load_artifact(tmp_path)
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    shutil.rmtree(run / "artifact")
    (run / "status.json").write_text('{"status": "interrupted"}')
    with pytest.raises(ArtifactError, match=r"no artifact; it is interrupted.*--resume"):
        load_artifact(run)


def test_what_is_not_finite_is_not_saved(tiny_run: Path, tmp_path: Path) -> None:
    model = load_artifact(tiny_run)
    with torch.no_grad():
        next(model.heads.parameters()).fill_(torch.inf)
    with pytest.raises(ArtifactError, match="NaN or infinite"):
        save_artifact(model, tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()


def test_a_trained_backbone_needs_its_original_fingerprint(tiny_recipe: Path, tmp_path: Path) -> None:
    model = build_model(make_plan(load_recipe(tiny_recipe, ['backbone.train=["norm"]'])))
    with pytest.raises(ArtifactError, match="base_fingerprint"):
        save_artifact(model, tmp_path / "artifact")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float32, torch.int8])
def test_numbers_of_any_precision_are_asked_whether_they_are_finite(dtype: torch.dtype) -> None:
    refuse_not_finite({"a": torch.zeros(3).to(dtype)}, where="here")
    if dtype.is_floating_point:
        with pytest.raises(ArtifactError, match="the tensor b has values that are NaN or infinite"):
            refuse_not_finite({"a": torch.zeros(3).to(dtype), "b": torch.full((3,), torch.nan).to(dtype)}, where="here")
