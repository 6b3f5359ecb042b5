"""`list adapters` says where each kind works and what it costs; `list sites` knows every word that models answer to."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest

from adaptkit.anatomy.tables.sites import is_site, nearest_site
from adaptkit.cli.listing import plural
from adaptkit.kinds import ADAPTERS, FUSIONS, METRICS, POINTS
from tests.cli.conftest import Cli
from tests.laws.zoo import ZOO

MODELS = ("bart", "clip", "gpt2", "timm_resnet", "mixtral", "mamba", "deepseek_v3", "timm_xcit")


def test_adapters_by_the_place_they_work_at(cli: Cli) -> None:
    rows = {row["name"]: row for row in cli("list", "adapters", "--json").json["items"]}
    assert rows.keys() == ADAPTERS.kinds.keys()
    places = {"lora": "projection", "prompt": "input sequence", "prefix": "attention", "ladder": "all blocks"}
    places |= {"bottleneck": "stream", "gmu": "stream", "adapter_fusion": "other adapters"}
    assert {name: rows[name]["works_at"] for name in places} == places
    sides = {"bottleneck": "none", "gmu": "1 or more", "adapter_fusion": "2 or more"}
    assert {name: rows[name]["sides"] for name in sides} == sides
    assert {name for name, row in rows.items() if row["mergeable"] == "yes"} >= {"lora", "dora", "ia3"}
    assert rows["prefix"]["identity"] == "no"
    assert "bottleneck" in rows["gmu"]["keys"].split(", ")
    assert all(row["parameters"] and row["paper"] for row in rows.values())


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("form", ["short", "long"])
def test_adapters_for_a_reader(cli: Cli, monkeypatch: pytest.MonkeyPatch, columns: int, form: str) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = cli("list", "adapters", *["--long"] * (form == "long")).out
    assert max(map(len, text.splitlines())) <= columns
    told = re.sub(r"\s+", " ", text)
    for row in cli("list", "adapters", "--json").json["items"]:
        facts = ("name", "parameters", "paper", *["what", "keys"] * (form == "long"))
        assert all(row[fact] in told for fact in facts), row["name"]
    for word in ("BitFit", "norm tuning", 'at = ["attn.kv"]', 'sides = ["adapter:NAME", ...]'):
        assert word in told


def test_long_is_for_adapters(cli: Cli) -> None:
    outcome = cli("list", "sites", "--long")
    assert outcome.code == 2
    assert "has no long form" in outcome.err


@pytest.mark.parametrize("name", MODELS)
def test_every_site_of_a_model_is_listed(cli: Cli, name: str) -> None:
    listed = " ".join(row["name"] for row in cli("list", "sites", "--json").json["items"])
    words = [word.strip(",") for word in listed.split()]
    assert [word for word in words if word.startswith("mlp")]
    for site in ZOO[name].anatomy().sites:
        known = re.sub(r"^(attn|mlp|mixer|conv|cross_attn)\d+\.", r"\1.", site.name)
        known = re.sub(r"^conv\.\d+$", "conv.1", known)
        assert any(fnmatchcase(known, word) for word in words), site.name


@pytest.mark.parametrize("name", MODELS)
def test_every_site_of_a_model_is_a_known_word(name: str) -> None:
    for site in ZOO[name].anatomy().sites:
        for word in (site.name, site.full_name):
            assert is_site(word), word
            assert is_site(f"poster.{word}", ["poster"]), word


def test_words_that_no_model_answers_to() -> None:
    for word in ("mpl.out", "mlp", "mlp.uot", "a.b.mlp.out", "poster.vision.mlp.out", "fusionn", ""):
        assert not is_site(word), word
    assert nearest_site("poster.mpl.out", ["poster"]) == 'Did you mean "poster.mlp.out"?'


def test_every_extension_point_is_listed_and_in_the_help(cli: Cli) -> None:
    told = re.sub(r"\s+", " ", cli("list", "--help").out)
    for point in POINTS:
        word = plural(point.point)
        outcome = cli("list", word, "--json")
        assert outcome.code == 0
        if point is not METRICS:
            assert {row["name"] for row in outcome.json["items"]} == set(point.kinds)
        assert re.search(rf"\b{word}\b", told), word
        assert cli("list", word).code == 0


def test_kinds_say_their_facts_and_their_own_keys(cli: Cli) -> None:
    rows = {row["name"]: row for row in cli("list", "modalities", "--json").json["items"]}
    assert rows["text"]["unit"] == "tokens"
    assert "route" not in rows["text"]["keys"].split(", ")
    assert "tower" in rows["text"]["keys"].split(", ")
    (row,) = cli("list", "benchmarks", "--filter", "moviescope", "--json").json["items"]
    assert row["title"] == "Moviescope"
    assert "keys" not in row


def test_fusions(cli: Cli) -> None:
    rows = {row["name"]: row for row in cli("list", "fusions", "--json").json["items"]}
    assert rows.keys() == FUSIONS.kinds.keys()
    assert "gates" in rows["gmu"]["keys"].split(", ")
    told = cli("list", "fusions").out
    assert all(row["paper"].split()[0] in told for row in rows.values())
