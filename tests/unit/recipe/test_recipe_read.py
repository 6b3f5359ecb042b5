"""Files, `extends` and `--set`, and where every key came from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from adaptkit.errors import AdaptkitError, RecipeError, UsageError
from adaptkit.recipe import load_recipe, parse_recipe


def test_a_recipe_knows_where_it_came_from(write, good, tmp_path):
    recipe = load_recipe(write(good, "recipes/films.toml"))
    assert recipe.source == Path("recipes/films.toml")
    assert recipe.text == good
    assert recipe.base == Path("recipes")
    assert recipe.path("../data") == Path("recipes/../data")
    assert recipe.where("adapter.fuse.bottleneck") == "recipes/films.toml:21"
    assert recipe.where("adapter.fuse.layers") == "recipes/films.toml:17"
    assert recipe.where("train.optimizer.lr") == "recipes/films.toml:30"
    assert recipe.where("nothing") == "recipes/films.toml"


def test_defaults_and_short_forms(write, good):
    recipe = load_recipe(write(good.replace('at = ["attn.out", "mlp.out"]', 'at = "mlp.out"')))
    fuse = recipe.adapter["fuse"]
    assert fuse.at == ["mlp.out"]
    assert fuse.layers == "all"
    assert fuse.options == {"bottleneck": 8, "activation": None, "form": "readme", "init": "identity"}
    assert fuse.kind == "gmu"
    assert recipe.train.epochs == 3


def test_an_optimizer_takes_further_keywords(write, good):
    recipe = load_recipe(write(good.replace("lr = 1e-4", "lr = 1e-4, betas = [0.9, 0.95]")))
    assert recipe.train.optimizer.options == {"betas": [0.9, 0.95]}


def test_plateau_has_defaults_of_its_own(write, good):
    plateau = load_recipe(write(good), ["train.schedule.name=plateau", "train.schedule.factor=0.1"])
    assert plateau.train.schedule.options == {"factor": 0.1, "patience": 2}
    assert load_recipe(write(good)).train.schedule.options == {}


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_line_ends_and_a_byte_order_mark(write, good, newline):
    path = write("\ufeff" + good.replace("\n", newline))
    assert load_recipe(path).where("train") == "films.toml:29"


def test_tables_made_in_python(good):
    import tomllib

    recipe = parse_recipe(tomllib.loads(good), base=Path("here"))
    assert (recipe.source, recipe.base, recipe.where("train")) == (None, Path("here"), "")
    with pytest.raises(RecipeError, match=r"^backbone.modle: unknown key"):
        parse_recipe(tomllib.loads(good.replace("model =", 'model = "x"\nmodle =')))


def test_a_missing_file_offers_what_there_is(write, good):
    write(good)
    with pytest.raises(RecipeError, match=r"no such recipe: nowhere.toml"):
        load_recipe("nowhere.toml")
    with pytest.raises(RecipeError, match=r"is a folder"):
        load_recipe(".")


def test_extends_lays_one_recipe_over_another(write, good):
    write(good, "base/films.toml")
    child = write('extends = "base/films.toml"\nname = "wide"\n\n[adapter.fuse]\nbottleneck = 32\n', "wide.toml")
    recipe = load_recipe(child)
    assert recipe.name == "wide"
    assert recipe.adapter["fuse"].options["bottleneck"] == 32
    assert recipe.adapter["fuse"].sides == ["poster"]
    assert recipe.where("adapter.fuse.bottleneck") == "wide.toml:5"
    assert recipe.where("adapter.fuse.sides") == "base/films.toml:20"
    assert recipe.where("adapter.fuse") == "wide.toml:4"
    assert recipe.text.startswith("extends")


def test_a_table_of_another_kind_keeps_what_all_kinds_have(write, good):
    write(good)
    child = write(
        'extends = "films.toml"\n[modality.poster]\nkind = "image"\nroute = "side"\n'
        '[train]\noptimizer = { name = "sgd", momentum = 0.9 }\n',
        "image.toml",
    )
    recipe = load_recipe(child)
    assert recipe.modality["poster"].kind == "image"
    assert recipe.train.optimizer.lr == load_recipe("films.toml").train.optimizer.lr
    assert recipe.train.optimizer.options == {"momentum": 0.9}


SHARED = {"at": ["attn.out", "mlp.out"], "sides": ["poster"]}


@pytest.mark.parametrize(
    ("sets", "options"),
    [
        (["adapter.fuse.kind=wander"], {}),
        (["adapter.fuse.kind=wander", "adapter.fuse.rank=4"], {"rank": 4}),
        (["adapter.fuse.rank=4", "adapter.fuse.kind=wander"], {"rank": 4}),
        (["adapter.fuse.kind=cross_attention"], {}),
        (["adapter.fuse.kind=cross_attention", "adapter.fuse.bottleneck=8"], {"bottleneck": 8}),
        (["adapter.fuse.kind=wander", "adapter.fuse.kind=gmu"], {"bottleneck": 8}),
    ],
)
def test_extends_and_set_change_a_kind_by_one_rule(write, good, sets, options):
    """The keys of the old kind go, also one that the new kind has too; those of all kinds stay, and what is written."""
    write(good)
    by_set = load_recipe("films.toml", sets).adapter["fuse"]
    keys = "\n".join(
        f'{key} = "{value}"' if value.isalpha() or "_" in value else f"{key} = {value}"
        for key, value in dict(text.removeprefix("adapter.fuse.").split("=") for text in sets).items()
    )
    by_file = load_recipe(write(f'extends = "films.toml"\n[adapter.fuse]\n{keys}\n', "other.toml")).adapter["fuse"]
    assert by_set == by_file
    assert {"at": by_set.at, "sides": by_set.sides} == SHARED
    assert {key: by_set.options[key] for key in options} == options
    if "bottleneck" not in options:
        assert by_set.options.get("bottleneck") is None


def test_what_a_set_writes_is_never_dropped(write, good):
    write(good)
    with pytest.raises(RecipeError, match=r"^--set adapter.fuse.bottleneck=8  adapter.fuse.bottleneck: unknown key"):
        load_recipe("films.toml", ["adapter.fuse.bottleneck=8", "adapter.fuse.kind=wander"])
    recipe = load_recipe("films.toml", ["train.optimizer.name=sgd", "train.optimizer.momentum=0.5"])
    assert (recipe.train.optimizer.name, recipe.train.optimizer.options) == ("sgd", {"momentum": 0.5})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = " + "[" * 400 + "]" * 400 + "\n", r"^deep.toml:1  x: is nested deeper than 32 tables and lists"),
        ("x = " + "[" * 9000 + "]" * 9000 + "\n", r"^deep.toml  tables or lists are nested too deeply"),
        (".".join("a" * 400) + " = 1\n", r"^deep.toml:1  a.a.a: is nested deeper than 32 tables and lists"),
        ("x = " + "9" * 5000 + "\n", r"^deep.toml  a number has too many digits"),
    ],
    ids=["lists", "more lists", "keys", "digits"],
)
def test_more_than_a_recipe_can_mean(write, good, text, said):
    with pytest.raises(RecipeError, match=said):
        load_recipe(write(text + good, "deep.toml"))
    value = text.strip().partition(" = ")[2]
    if value != "1":
        with pytest.raises(AdaptkitError):
            load_recipe(write(good), [f"train.seeds={value}"])


def test_what_a_replacing_table_lacks_is_told_at_its_own_line(write, good):
    write(good.replace('kind = "features"\nwidth = 64', 'kind = "image"'))
    child = write('extends = "films.toml"\n[modality.poster]\nkind = "features"\n', "child.toml")
    with pytest.raises(RecipeError) as caught:
        load_recipe(child)
    assert "child.toml:2  modality.poster.width: missing key." in str(caught.value)


def test_paths_of_a_recipe_below_stay_where_they_point(write, good):
    write(good, "base/films.toml")
    write('extends = "base/films.toml"\n[backbone]\nmodel = "./bert"\n', "middle.toml")
    recipe = load_recipe(write('extends = "../middle.toml"\n', "top/films.toml"))
    assert recipe.data.root == "../base"
    assert recipe.path(recipe.data.root).resolve() == Path("base").resolve()
    assert recipe.path(recipe.backbone.model).resolve() == Path("bert").resolve()


def test_mistakes_name_the_file_they_are_in(write, good):
    write(good.replace("width = 64", 'width = "64"'))
    child = write('extends = "films.toml"\n[train]\nepohcs = 3\n', "child.toml")
    with pytest.raises(RecipeError) as caught:
        load_recipe(child)
    assert [problem.where for problem in caught.value.problems] == ["child.toml:3", "films.toml:14"]


def test_extends_in_a_circle(write):
    write('extends = "b.toml"\n', "a.toml")
    path = write('\nextends = "a.toml"\n', "b.toml")
    with pytest.raises(RecipeError, match=r"^a.toml:1  extends: goes in a circle \(b.toml -> a.toml -> b.toml\)"):
        load_recipe(path)


def test_extends_what_does_not_exist(write):
    with pytest.raises(RecipeError, match=r"^a.toml:2  no such recipe: b.toml"):
        load_recipe(write('\nextends = "b.toml"\n', "a.toml"))
    with pytest.raises(RecipeError, match=r"^a.toml:1  extends: should be one file"):
        load_recipe(write("extends = 3\n", "a.toml"))


@pytest.mark.parametrize(
    ("change", "read", "expected"),
    [
        ("train.epochs=7", lambda r: r.train.epochs, 7),
        ("backbone.model=roberta-base", lambda r: r.backbone.model, "roberta-base"),
        ('backbone.model="3"', lambda r: r.backbone.model, "3"),
        ("adapter.fuse.layers=3..9", lambda r: r.adapter["fuse"].layers, "3..9"),
        ("adapter.fuse.layers=[0, -1]", lambda r: r.adapter["fuse"].layers, [0, -1]),
        ("train.optimizer.lr=1e-3", lambda r: r.train.optimizer.lr, 1e-3),
        ("train.gradient_checkpointing = true", lambda r: r.train.gradient_checkpointing, True),
        ("train.schedule={name = 'cosine'}", lambda r: r.train.schedule.name, "cosine"),
        ("task.year.kind=regression", lambda r: r.task["year"].kind, "regression"),
    ],
)
def test_set_changes_one_key(write, good, change, read, expected):
    recipe = load_recipe(write(good), [change])
    assert read(recipe) == expected
    assert recipe.where(change.partition("=")[0].strip()) == f"--set {change}"


def test_the_last_set_wins(write, good):
    assert load_recipe(write(good), ["train.epochs=7", "train.epochs=8"]).train.epochs == 8


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            "adapter.fuse.bottlenek=3",
            '--set adapter.fuse.bottlenek=3  adapter.fuse.bottlenek: unknown key. Did you mean "bottleneck"?',
        ),
        (
            "train.epochs=many",
            '--set train.epochs=many  train.epochs: should be a whole number, not "many". Write'
            " for example epochs = 3.",
        ),
        ("name.x=3", "--set name.x=3  name: is no table, so it has no keys. Set the whole value."),
        (
            "task.year.loss=l1",
            '--set task.year.loss=l1  task.year.kind: missing key. Write kind = "classification"'
            ' or "generation" or "multilabel" or "regression" or "retrieval".',
        ),
    ],
)
def test_a_wrong_set_is_told_as_the_option(spoiled, change, expected):
    assert spoiled(sets=(change,)) == [expected]


@pytest.mark.parametrize("change", ["train.epochs", "=3", "", "a..b=3", "train.epochs=", "a=[1", 'a="x', "a=1\nb=2"])
def test_a_set_that_is_not_key_value(write, good, change):
    with pytest.raises(UsageError) as caught:
        load_recipe(write(good), [change])
    assert caught.value.code == 2
    assert caught.value.problems[0].where == f"--set {change}"


def test_reading_imports_neither_torch_nor_transformers(write, good):
    program = (
        "import sys; from adaptkit.recipe import *; r = load_recipe('films.toml', ['train.epochs=2']);"
        "resolved_toml(r); heavy = {'numpy'} & set(sys.modules); json_schema(); reference_markdown();"
        "heavy |= {'torch', 'transformers', 'timm'} & set(sys.modules);"
        " sys.exit(str(heavy) if heavy else 0)"
    )
    write(good)
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_initial_values_of_a_recipe_below_stay_where_they_point(write, good):
    write(good.replace("bottleneck = 8", 'init_from = "runs/films"'), "base/films.toml")
    recipe = load_recipe(write('extends = "base/films.toml"\n', "top.toml"))
    assert recipe.adapter["fuse"].init_from == "./base/runs/films"
    again = load_recipe(write('extends = "base/films.toml"\nadapter.fuse.init_from = "runs"\n', "top.toml"))
    assert again.adapter["fuse"].init_from == "runs"
