"""One plugin for each extension point, each one file, used from a recipe through every command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from adaptkit.artifact import load_artifact
from adaptkit.cli.main import main
from adaptkit.errors import ArtifactError, Interrupted, RecipeError
from adaptkit.kinds import POINTS, forget_plugin, load_plugin, loaded_plugins
from adaptkit.recipe import load_recipe
from adaptkit.training import Callback, StopRequested, train

HERE = Path(__file__).parent
CLASSIFICATION = 'kind = "classification"\n'

# plugin -> (point, its kind, what of the tiny recipe it replaces)
PLUGINS = {
    "film": ("adapter", "film", {'kind = "gmu"': 'kind = "film"\nshift = true', "bottleneck = 4\n": ""}),
    "sparse": ("modality", "sparse", {'kind = "features"': 'kind = "sparse"'}),
    "convolved": (
        "encoder",
        "convolved",
        {'kind = "features"': 'kind = "features"\nencoder = { kind = "convolved", channels = 3 }'},
    ),
    "scaled": (
        "projection",
        "scaled",
        {
            'route = "side"': 'route = "tokens"\nprojection = { kind = "scaled", size = 2.0 }\nmax_tokens = 1',
            'kind = "gmu"\nat = ["mlp.out"]\nsides = ["features"]\n': 'kind = "bottleneck"\nat = ["mlp.out"]\n',
        },
    ),
    "product": (
        "fusion",
        "product",
        {
            'route = "side"': 'route = "fusion"',
            '[adapter.fuse]\nkind = "gmu"\nat = ["mlp.out"]\nsides = ["features"]\nbottleneck = 4\n': (
                '[fusion]\nkind = "product"\nwidth = 6\n'
            ),
        },
    ),
    "spaced": ("format", "spaced", {'format = "jsonl"': 'format = "spaced"\nsuffix = "jsonl"'}),
    "ordinal": ("task", "ordinal", {CLASSIFICATION: 'kind = "ordinal"\ngrades = 3\n'}),
    "hinge": ("loss", "hinge", {CLASSIFICATION: f'{CLASSIFICATION}loss = {{ kind = "hinge", margin = 0.5 }}\n'}),
    "agreement": ("metric", "agreement", {CLASSIFICATION: f'{CLASSIFICATION}metrics = ["agreement"]\n'}),
    "cosine_head": (
        "head",
        "cosine_head",
        {CLASSIFICATION: f'{CLASSIFICATION}head = {{ kind = "cosine_head", scale = 5.0 }}\n'},
    ),
    "signs": ("optimizer", "signs", {'name = "adamw"': 'name = "signs", momentum = 0.5'}),
    "halving": ("schedule", "halving", {"log_every = 2": 'log_every = 2\nschedule = { name = "halving", every = 3 }'}),
    "reversed_order": (
        "sampler",
        "reversed_order",
        {"log_every = 2": 'log_every = 2\nsampler = { name = "reversed_order", start = 1 }'},
    ),
}


class StopAfter(Callback):
    """Asks for a stop after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def step_done(self, event: object) -> None:
        if getattr(event, "step", 0) == self.steps:
            raise StopRequested


pytestmark = pytest.mark.usefixtures("forgotten_plugins")


@pytest.fixture
def own(tiny_recipe: Path, request: pytest.FixtureRequest) -> Path:
    """The tiny recipe with one plugin beside it, and what that brings in place of ours."""
    name = request.param
    shutil.copy(HERE / f"{name}.py", tiny_recipe.parent)
    text = tiny_recipe.read_text().replace('name = "tiny"', f'name = "tiny"\nplugins = ["{name}.py"]')
    for old, new in PLUGINS[name][2].items():
        assert old in text
        text = text.replace(old, new)
    tiny_recipe.write_text(text)
    return tiny_recipe


def run(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    """The answer of one command, as JSON."""
    capsys.readouterr()
    code = main([*map(str, words), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.out + captured.err
    return json.loads(captured.out)


def test_every_extension_point_has_a_plugin() -> None:
    assert {point for point, _, _ in PLUGINS.values()} | {"benchmark"} == {point.point for point in POINTS}


def test_the_page_shows_these_very_files() -> None:
    page = (HERE.parents[1] / "docs" / "plugins.md").read_text()
    for file in HERE.glob("*.py"):
        if file != Path(__file__):
            assert f"```python\n{file.read_text()}```" in page, file.name


@pytest.mark.parametrize("own", PLUGINS, indirect=True)
def test_a_plugin_goes_through_every_command(
    own: Path, request: pytest.FixtureRequest, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = request.node.callspec.params["own"]
    point, kind, _ = PLUGINS[name]
    runs, plugin = own.parent / "runs", own.parent / f"{name}.py"
    assert run(capsys, "validate", own)["plugins"]
    run(capsys, "plan", own)
    (registry,) = [found for found in POINTS if found.point == point]
    assert registry.kinds[kind].origin == f"{name}.py"

    with pytest.raises(Interrupted):
        train(load_recipe(own), runs=runs, callbacks=[StopAfter(4)])
    finished = run(capsys, "train", own, "--runs", runs, "--resume")
    whole = train(load_recipe(own), runs=own.parent / "whole").artifact
    tensors = "adapter.safetensors"
    assert (Path(str(finished["artifact"])) / tensors).read_bytes() == (whole / tensors).read_bytes()

    forget_plugin(f"{name}.py")  # as a new process begins
    with pytest.raises(ArtifactError, match=f"made with the plugin {name}.py .* which is not loaded"):
        load_artifact(whole)
    evaluated = run(capsys, "evaluate", finished["run"], "--plugin", plugin)
    assert set(evaluated["metrics"]) == {"validation", "test"}  # type: ignore[call-overload]
    answers = own.parent / "answers.jsonl"
    run(
        capsys, "predict", finished["run"], "--plugin", plugin, "--input", tiny_data / "test.jsonl", "--output", answers
    )
    assert len(answers.read_text().splitlines()) == 16
    exported = own.parent / "exported"
    run(capsys, "export", finished["run"], "--plugin", plugin, "--adapter-only", "--output", exported)
    model = load_artifact(exported, plugins=[str(plugin)], base=own.parent)
    sample = json.loads((tiny_data / "test.jsonl").read_text().splitlines()[0])
    sample = {name: sample[name] for name in ("id", "question", "features")}
    first, again = json.loads(answers.read_text().splitlines()[0]), model.predict([sample])[0]
    assert again.keys() == first.keys()
    assert again.get("label") == first.get("label")


def test_a_benchmark_is_synthesised_imported_and_trained_on(
    tiny_recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, root = HERE / "coins.py", tiny_recipe.parent / "coins"
    run(capsys, "data", "synth", "coins", root, "--samples", 24, "--plugin", plugin)
    run(capsys, "data", "import", "coins", root, "--plugin", plugin)
    text = tiny_recipe.read_text()
    start, end = text.index("[data]"), text.index("[task.answer]")
    tiny_recipe.write_text(f'{text[:start]}[data]\nformat = "coins"\nroot = "coins"\n\n{text[end:]}')
    run(capsys, "data", "check", tiny_recipe, "--plugin", plugin)
    finished = run(capsys, "train", tiny_recipe, "--plugin", plugin, "--runs", tiny_recipe.parent / "runs")
    run(capsys, "evaluate", finished["run"], "--plugin", plugin)


@pytest.mark.parametrize("own", ["film"], indirect=True)
def test_another_version_of_a_plugin_is_refused_unless_told(own: Path) -> None:
    artifact = train(load_recipe(own), runs=own.parent / "runs").artifact
    described = json.loads((artifact / "adapter.json").read_text())
    assert [entry["name"] for entry in described["plugins"]] == ["film.py"]
    assert "import" not in json.dumps(described["plugins"])  # a name and a sum, no code
    plugin = own.parent / "film.py"
    plugin.write_text(plugin.read_text() + "\n# changed since\n")
    with pytest.raises(ArtifactError, match=r"film.py \(sha256:.*\), and film.py sha256:.* is loaded"):
        load_artifact(artifact, plugins=[str(plugin)])
    assert load_artifact(artifact, plugins=[str(plugin)], any_plugin_version=True)


def test_an_artifact_never_imports_what_it_names(tiny_recipe: Path, tmp_path: Path) -> None:
    shutil.copy(HERE / "film.py", tmp_path)
    text = tiny_recipe.read_text().replace('name = "tiny"', 'name = "tiny"\nplugins = ["film.py"]')
    tiny_recipe.write_text(text.replace('kind = "gmu"', 'kind = "film"').replace("bottleneck = 4\n", ""))
    artifact = train(load_recipe(tiny_recipe), runs=tmp_path / "runs").artifact
    (tmp_path / "film.py").write_text("raise SystemExit('this ran')")
    forget_plugin("film.py")
    with pytest.raises(ArtifactError, match="which is not loaded"):
        load_artifact(artifact)


MISTAKES = {
    "syntax": ("def", "SyntaxError"),
    "raises": ("import nowhere_at_all", r"ModuleNotFoundError: No module named 'nowhere_at_all' \(own.py:1\)"),
    "nothing": ("x = 1", "registers nothing"),
    "ours": (
        "from adaptkit.kinds import LOSSES\n@LOSSES.register('mse')\ndef mse(a, b):\n    'Mine.'\n",
        "'mse' of own.py has the name of one of adaptkit",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_wrong_with_a_plugin_is_one_error(mistake: str, tmp_path: Path) -> None:
    content, told = MISTAKES[mistake]
    (tmp_path / "own.py").write_text(content)
    before = {point.point: dict(point.kinds) for point in POINTS}
    with pytest.raises(RecipeError, match=told):
        load_plugin("own.py", base=tmp_path)
    assert {point.point: dict(point.kinds) for point in POINTS} == before
    assert not loaded_plugins()


def test_two_plugins_cannot_have_one_name(tmp_path: Path) -> None:
    shutil.copy(HERE / "film.py", tmp_path / "one.py")
    shutil.copy(HERE / "film.py", tmp_path / "two.py")
    load_plugin("one.py", base=tmp_path)
    with pytest.raises(RecipeError, match=r"the adapter 'film' of two\.py has the name of one of one\.py"):
        load_plugin("two.py", base=tmp_path)
    with pytest.raises(RecipeError, match=r"there is no plugin 'three\.py'"):
        load_plugin("three.py", base=tmp_path)


def test_a_module_is_a_plugin_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(HERE / "halving.py", package / "schedules.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugin = load_plugin("own_package.schedules")
    assert (plugin.name, plugin.version) == ("own_package.schedules", "")
    assert load_plugin("own_package.schedules") == plugin


BARE = """
from adaptkit.kinds import ADAPTERS

@ADAPTERS.register("bare")
class Bare:
    pass
"""

FOREIGN_TABLE = """
from typing import ClassVar
from pydantic import BaseModel
from adaptkit.tasks import TASKS, Task

class Keys(BaseModel):
    grades: int = 2

@TASKS.register("foreign")
class Foreign(Task):
    table = Keys
    kind: ClassVar[str] = "foreign"
    default_monitor: ClassVar[str] = "loss"
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            BARE,
            r"the adapter 'bare' of own\.py lacks class variables: .*works_on.*Extend the base class of every adapter",
        ),
        (FOREIGN_TABLE, r"the table of foreign \(own\.py\) is no TaskTable\..*class Keys\(TaskTable\)"),
    ],
)
def test_a_class_that_does_not_extend_its_base_is_told(tiny_recipe: Path, code: str, expected: str) -> None:
    (tiny_recipe.parent / "own.py").write_text(code)
    text = tiny_recipe.read_text().replace('kind = "classification"', 'kind = "foreign"')
    tiny_recipe.write_text(f'plugins = ["own.py"]\n{text}')
    with pytest.raises(RecipeError, match=expected):
        load_recipe(tiny_recipe)
