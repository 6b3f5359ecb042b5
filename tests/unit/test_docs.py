"""The documentation says what is so: recipes parse and plan, links lead somewhere, scripts and examples run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import adaptkit as ak
from adaptkit.adapters import GMU, Adapter, Bottleneck, LoRA, Wander
from adaptkit.adapters.base import Shape
from adaptkit.cli.main import main
from adaptkit.kinds import ADAPTERS
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe, reference_markdown
from adaptkit.sides import Side, Sides
from adaptkit.tasks.metric import all_metrics

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
RECIPES = [
    pytest.param(block, id=f"{page.stem}-{index}")
    for page in PAGES
    for index, block in enumerate(re.findall(r"```toml recipe\n(.*?)```", page.read_text(), re.DOTALL))
]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("block", RECIPES)
def test_complete_recipes_plan(block: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(block)
    assert make_plan(load_recipe(path)).grafts


def test_variants_plan(tmp_path: Path) -> None:
    """What extends the recipe of docs/writing-a-recipe.md, on that page."""
    page = (DOCS / "writing-a-recipe.md").read_text()
    (films,) = re.findall(r"```toml recipe\n(.*?)```", page, re.DOTALL)
    (tmp_path / "films.toml").write_text(films)
    variants = re.findall(r"```toml\n(extends.*?)```", page, re.DOTALL)
    assert len(variants) == 2
    for variant in variants:
        (tmp_path / "variant.toml").write_text(variant)
        assert make_plan(load_recipe(tmp_path / "variant.toml")).grafts


def test_the_index_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w/-]+\.md)", (DOCS / "index.md").read_text()))
    written = [page for page in DOCS.rglob("*.md") if "<!-- Written by docs/" not in page.read_text()]  # not measured
    pages = {str(page.relative_to(DOCS)) for page in written if page.parent.name != "decisions"}
    assert pages - {"index.md"} <= linked


def test_every_adapter_has_a_page_with_a_complete_recipe() -> None:
    for kind, signature in ADAPTERS.kinds.items():
        page = (DOCS / "adapters" / f"{kind}.md").read_text()
        assert f'kind = "{kind}"' in page
        assert "```toml recipe" in page
        assert str(signature.facts["paper"]).split()[0] in page


# B batch, T tokens, D width of the stream, C width a projection reads, E width of a side, P bottleneck, M sides
B, T, D, C, E, P = 3, 7, 32, 16, 5, 4


def counted(adapter: Adapter, sides: int, length: int, width: int = D) -> int:
    given = Sides({f"s{index}": Side.of(torch.randn(B, length, E)) for index in range(sides)})
    with FlopCounterMode(display=False) as counter:
        adapter.delta(torch.randn(B, T, width), given)
    return counter.get_total_flops()


def test_documented_flops_are_those_of_the_code() -> None:
    """The formulas of docs/adapters/*.md."""
    assert counted(Bottleneck(Shape(D), {}, bottleneck=P), 0, 1) == B * T * 4 * D * P
    assert counted(LoRA(Shape(D, None, C), {}, rank=2), 0, 1, C) == B * T * 2 * 2 * (C + D)
    for m in (1, 2, 3):
        gates = 1 if m == 1 else m + 1
        per_token, per_sample = 4 * D * P + 2 * gates * P**2, m * 2 * E * P + 2 * gates * m * P**2
        gmu = GMU(Shape(D), {f"s{index}": Shape(E) for index in range(m)}, bottleneck=P)
        assert counted(gmu, m, 1) == B * (T * per_token + per_sample)


@pytest.mark.parametrize("length", [5, 40])
@pytest.mark.parametrize(("combine", "r", "k"), [("cp", 3, 2), ("published", 1, 1)])
def test_documented_flops_of_wander(combine: str, r: int, k: int, length: int) -> None:
    wander = Wander(Shape(D, T), {"s0": Shape(E, length)}, rank=P, drank=3, trank=2, combine=combine)  # type: ignore[arg-type]
    down = 2 * T * D * P + 2 * length * E * P
    fusion = sum(2 * k * min(T * P * (t + r * D), t * r * D * (P + T)) for t in (T, length))
    assert counted(wander, 1, length) == B * (down + fusion)


@pytest.mark.parametrize(
    "command",
    ["version", "doctor", "list metrics", "runs --runs RUNS", "evaluate RUN --split test", "validate RECIPE",
     "inspect RECIPE", "plan RECIPE --against RECIPE", "train"],
)  # fmt: skip
def test_every_key_of_the_json_is_documented(
    command: str, tiny_recipe: Path, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command == "train":
        answer = json.loads((tiny_run / "summary.json").read_text())
    else:
        names = {"RECIPE": str(tiny_recipe), "RUN": str(tiny_run), "RUNS": str(tiny_run.parents[1])}
        main([*(names.get(word, word) for word in command.split()), "--json"])
        answer = json.loads(capsys.readouterr().out)
    text, name = (DOCS / "json.md").read_text(), command.split()[0]
    section = re.search(rf"^### {name}\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
    row = re.search(rf"^\| `{name}[^`]*` \|.*$", text, re.MULTILINE)
    assert row is not None
    documented = set(re.findall(r"`(\w+)`", (section.group(1) if section else "") + row.group()))
    assert answer.keys() - {"ok", "code", "errors"} <= documented
    for entries in ("grafts", "sites", "checks", "runs", "stacks"):
        for entry in answer.get(entries, []):
            assert entry.keys() <= documented


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_in_the_docs_uses_names_that_exist(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        compile(block, str(page), "exec")
        for name in re.findall(r"\bak\.(\w+)", block):
            assert hasattr(ak, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{link} (pictures: python docs/pictures.py RUN)"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, link


def test_the_recipe_reference_is_current() -> None:
    assert (DOCS / "recipe.md").read_text() == reference_markdown()


def test_metrics_page_has_every_metric_with_its_convention() -> None:
    text = (DOCS / "metrics.md").read_text()
    for metric in all_metrics():
        assert re.search(
            rf"^\| `{re.escape(metric.name)}` \| .* \| {re.escape(metric.description)} \|$", text, re.MULTILINE
        )


def test_every_decision_has_its_three_parts() -> None:
    pages = sorted((DOCS / "decisions").glob("*.md"))
    numbers = [page.name[:5] for page in pages]
    assert all(re.fullmatch(r"\d{4}-", number) for number in numbers)
    assert len(set(numbers)) == len(numbers)
    for page in pages:
        assert re.findall(r"^## (\w+)$", page.read_text(), re.MULTILINE) == ["Context", "Decision", "Consequence"]


@pytest.mark.parametrize("name", ["insert_into_bert", "own_adapter"])
def test_example_restores_the_model(name: str, tmp_path: Path) -> None:
    printed = run([str(ROOT / "examples" / f"{name}.py")], tmp_path)
    assert "restored bit for bit: True" in printed
    assert "False" not in printed


def test_example_trains(tmp_path: Path) -> None:
    small = ["data.questions_per_image=1", "data.images_test=0.02", "data.images_validation=0.02", "train.max_steps=2"]
    printed = run([str(ROOT / "examples" / "train_from_python.py"), *small], tmp_path)
    assert "with the image" in printed
    assert len(list(tmp_path.glob("runs/quickstart/*/artifact/adapter.json"))) == 1


def test_pictures_show_what_the_commands_print(tiny_run: Path, tmp_path: Path) -> None:
    script("pictures").draw_training(tiny_run, tmp_path / "train.svg")
    drawn = re.sub(r"<[^>]*>|&#160;", " ", (tmp_path / "train.svg").read_text())
    for words in ("epoch 2/2", "test without features", "artifact", "accuracy"):
        assert re.sub(r"\s+", " ", words) in re.sub(r"\s+", " ", drawn)


def test_the_readme_has_its_measured_table() -> None:
    measured = script("measured")
    table = (ROOT / "README.md").read_text().partition(measured.START)[2].partition(measured.END)[0]
    missing = [name for name in measured.RECIPES if f"`{name}`" not in table]
    assert not missing, "python docs/measured.py RUNS"


def test_measured_table(tmp_path: Path) -> None:
    measured = script("measured")
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "adapter.safetensors").write_bytes(bytes(730_000))
    contents = {
        "summary.json": {
            "parameters": {"trainable": 1234, "percent": 0.5},
            "metrics": {"test": {"accuracy": 0.75}, "test_unseen": {"accuracy": 0.5}},
            "ablations": {"image": {"test": {"accuracy": 0.25}}},
            "seconds": 12.4,
        },
        "plan.json": {"recipe": "quickstart", "grafts": [{"kind": "gmu", "site": "mlp.out"}] * 6},
        "env.json": {"packages": {"torch": "2.11.0"}, "gpu": None, "device": "cpu", "threads": 2},
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    readme = (ROOT / "README.md").read_text()
    filled = measured.filled(readme, measured.measured_table([tmp_path]))
    row = "| `quickstart` | 6 x gmu at `mlp.out` | 1,234 (0.50 %) | 0.750 | 0.500 | 0.250 | 12 s | 0.73 MB |"
    assert row in filled
    assert "Measured with torch 2.11.0 on cpu, 2 threads." in filled
    assert measured.filled(filled, measured.measured_table([tmp_path])) == filled
    with pytest.raises(SystemExit, match="no block"):
        measured.filled("", "")
