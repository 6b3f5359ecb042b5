"""docs/extending.md does what it says: its adapter and its rows, and nothing else, go into a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
ADAPTERS, FAMILIES = Path("adaptkit", "adapters"), Path("adaptkit", "anatomy", "tables", "families.toml")

OBEY = """
import sys
import adaptkit
from tests.laws.cases import CASES
from tests.laws.families import FAMILIES
from tests.laws.laws import LAWS, Cell, applies

assert adaptkit.__file__.startswith(sys.argv[1]), "this is the copy"
for name in ("bert", "timm_resnet"):
    cell = Cell(FAMILIES[name], CASES["film"])
    for law, holds in LAWS.items():
        if applies(law, cell.case):
            holds(cell)
            print(name, law)
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for folder in ("adaptkit", "recipes"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def python(copied: Path, *words: str) -> str:
    """What a fresh interpreter prints that imports the copy."""
    path = os.pathsep.join((str(copied), str(ROOT)))
    done = subprocess.run(
        [sys.executable, *words],
        cwd=copied,
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def adaptkit(copied: Path, *words: str) -> dict:
    return json.loads(python(copied, "-m", "adaptkit", *words, "--json"))


def test_an_adapter_is_one_file(copied: Path) -> None:
    (source,) = blocks("python")
    (copied / ADAPTERS / "film.py").write_text(source)
    python(copied, "-m", "adaptkit.kinds.indexing")
    (recipe,) = blocks("toml")
    (copied / "quickstart_film.toml").write_text(recipe)

    (listed,) = adaptkit(copied, "list", "adapters", "--filter", "film")["items"]
    assert (listed["name"], listed["sides"], listed["paper"]) == ("film", "1", "Perez et al. 2018")

    plan = adaptkit(copied, "plan", "quickstart_film.toml")
    assert [graft["kind"] for graft in plan["grafts"]] == ["film"] * 6
    assert {graft["parameters"] for graft in plan["grafts"]} == {2 * 64 * 384}  # 2·E·D

    obeyed = python(copied, "-c", OBEY, str(copied)).splitlines()
    assert {"bert identity_and_undo", "bert training", "timm_resnet saving"} <= set(obeyed)


OWN = {"format": "formats/lines.py", "modality": "modalities/sparse.py", "benchmark": "benchmarks/moods.py"}
RUN = """
from pathlib import Path
from adaptkit.formats import load_data
from adaptkit.modalities import BackboneContext, Encoder
from adaptkit.recipe import parse_recipe

for split in ("train", "validation", "test"):
    Path(f"{split}.txt").write_text("question|places|answer\\nwhich?|0 2|yes\\n")
text, sparse = {"kind": "text", "route": "backbone"}, {"kind": "sparse", "width": 3, "route": "fusion"}
recipe = parse_recipe({
    "schema": 1, "name": "own", "backbone": {"model": "bert-base"}, "data": {"format": "lines"},
    "modality": {"question": text, "places": sparse}, "task": {"answer": {"kind": "classification"}},
})
(sample,) = load_data(recipe).splits["train"]
encoder = Encoder.build(recipe.modality["places"], "places", BackboneContext(width=8))
print(encoder(encoder.collate([encoder.read(sample.inputs["places"], "")], [sample.id])).tensor.tolist())
"""


def test_a_format_a_modality_and_a_benchmark_are_one_file_each(copied: Path) -> None:
    for name, file in OWN.items():
        (source,) = blocks(f"python {name}")
        (copied / "adaptkit" / file).write_text(source)
    python(copied, "-m", "adaptkit.kinds.indexing")
    assert python(copied, "-c", RUN).split() == ["[[[1.0,", "0.0,", "1.0]]]"]
    adaptkit(copied, "data", "synth", "moods", "moods", "--samples", "6")
    adaptkit(copied, "data", "import", "moods", "moods")
    assert adaptkit(copied, "data", "check", "moods", "moods")["ok"]


def test_a_family_is_corrected_by_rows(copied: Path) -> None:
    table = copied / FAMILIES
    text = table.read_text()
    (words,), (family,) = blocks("toml words"), blocks("toml family")
    added = tomllib.loads(words)["words"]
    known = tomllib.loads(text)
    for meaning, (word,) in added.items():
        assert word in known["words"][meaning]
        text = text.replace(f', "{word}"', "")
    table.write_text(text)
    before = adaptkit(copied, "inspect", "distilbert")
    note = re.search(r"^note: (.*)$", PAGE, re.MULTILINE)
    assert note is not None
    assert note.group(1) in before["notes"]

    for meaning, (word,) in added.items():
        text = text.replace(f"\n{meaning} = [", f'\n{meaning} = ["{word}", ')
    table.write_text(f"{text}\n{family}")
    after = adaptkit(copied, "inspect", "distilbert")
    assert sites(after) - sites(before) == {"attn.q", "attn.k", "attn.v"}
    assert sites(before) <= sites(after)
    assert (before["found_by"], after["found_by"]) == ("detected", "table")
    assert set(after["notes"]) - set(before["notes"]) == {tomllib.loads(family)["family"]["distilbert"]["note"]}


def sites(document: dict) -> set[str]:
    return {site["site"] for site in document["sites"]}
