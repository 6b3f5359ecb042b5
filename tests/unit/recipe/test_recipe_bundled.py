"""Bundled recipes go by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adaptkit.errors import RecipeError
from adaptkit.recipe import bundled, load_recipe


@pytest.fixture
def shelf(tmp_path, monkeypatch, good):
    """A folder of bundled recipes, and an empty working folder."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "quickstart.toml").write_text(good)
    (folder / "bare.toml").write_text(good.partition("\n")[2])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(bundled, "bundled_folder", lambda: folder)
    return folder


def test_names_and_descriptions(shelf):
    assert bundled.bundled_names() == ("bare", "quickstart")
    assert bundled.bundled_path("quickstart") == shelf / "quickstart.toml"
    assert bundled.bundled_description("quickstart") == "A film's genres from its plot and its poster."
    assert bundled.bundled_description("bare") == ""


def test_a_name_loads_and_a_file_wins(shelf, write, good):
    assert load_recipe("quickstart").source == shelf / "quickstart.toml"
    write(good, "quickstart")
    assert str(load_recipe("quickstart").source) == "quickstart"


def test_a_bundled_recipe_can_be_extended(shelf, write):
    recipe = load_recipe(write('extends = "quickstart"\nname = "mine"\n', "mine.toml"))
    assert recipe.name == "mine"
    assert recipe.path(recipe.data.root).resolve() == shelf.resolve()


@pytest.mark.parametrize("name", ["quikstart", "recipes/quikstart.toml"])
def test_a_wrong_name_offers_the_nearest(shelf, name):
    with pytest.raises(RecipeError, match='Did you mean "quickstart"'):
        load_recipe(name)
    with pytest.raises(RecipeError, match='Did you mean "quickstart"'):
        bundled.bundled_path("quikstart")


def test_every_bundled_recipe_loads_and_describes_itself():
    for name in bundled.bundled_names():
        assert load_recipe(bundled.bundled_path(name)).name
        assert bundled.bundled_description(name)


def test_a_bundled_recipe_by_name_looks_for_data_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never in the installed package; one that extends it, and the copy that `init` writes, do the same."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('extends = "mosi_wander"\nname = "mine"\n', encoding="utf-8")
    for source in ("mosi_late_fusion", "mosi_wander", "mine.toml"):
        recipe = load_recipe(source)
        assert os.path.normpath(recipe.path(recipe.data.root)) == os.path.normpath("data/mosi")
        if recipe.init_from is not None:
            assert os.path.normpath(recipe.path(recipe.init_from)) == os.path.normpath("runs/mosi_late_fusion")
