"""Names that are code: where it is looked for, how it is called, and what is said when it cannot be."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from adaptkit.anatomy import fingerprint, load, resolve, skeleton
from adaptkit.errors import RecipeError

NETS = """
import torch
from torch import nn
from besides import WIDTH

number = 3

class Net(nn.Module):
    def __init__(self, width=WIDTH, *, rate=0.5):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.tied = self.first
        self.drop = nn.Dropout(rate)

    def forward(self, x):
        return self.drop(self.first(x))

class Family:
    small = Net

def build(**config):
    return Net(**config)

def needs(width, depth):
    return Net(width)

def loads(path):
    net = Net()
    net.load_state_dict(torch.load(path))
    return net

def counts():
    net = Net(int(torch.tensor([4.0]).item()))
    net.twice = nn.ModuleList([net.first])
    return net

def config(): return {"width": 4}
def cls(): return Net
def empty(): return nn.ReLU()
def broken(): return Net(1 // 0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "besides.py").write_text("WIDTH = 5\n")
    (tmp_path / "package_of_nets").mkdir()
    (tmp_path / "package_of_nets" / "__init__.py").touch()
    (tmp_path / "package_of_nets" / "deep.py").write_text(NETS.replace("from besides import", "from .width import"))
    (tmp_path / "package_of_nets" / "width.py").write_text("WIDTH = 7\n")
    return tmp_path


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    """What these tests import is gone after each."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("nets", "besides", "package_of_nets")):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "width"),
    [("./nets.py:Net", 5), ("nets.py:Family.small", 5), ("package_of_nets.deep:Net", 7), ("nets:build", 5)],
)
def test_code_is_found_from_the_recipes_folder(folder: Path, name: str, width: int) -> None:
    path = list(sys.path)
    ref = resolve(name, base=folder)
    assert (ref.library, ref.revision, ref.folder) == ("python", None, None)
    assert "your own code" in ref.note
    assert load(ref).get_parameter("first.weight").shape == (width, width)
    assert sys.path == path


def test_sys_path_comes_first(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A recipe's folder does not shadow what is installed."""
    elsewhere = tmp_path_factory.mktemp("installed")
    (elsewhere / "nets.py").write_text(NETS.replace("from besides import WIDTH", "WIDTH = 9"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(elsewhere)
        assert load(resolve("nets:Net", base=folder)).get_parameter("first.weight").shape == (9, 9)
        del sys.modules["nets"]
    assert load(resolve("nets:Net", base=folder)).get_parameter("first.weight").shape == (5, 5)


def test_two_recipes_with_modules_of_one_name(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Files are told apart by where they are and what they hold; of names, Python knows only one."""
    other = tmp_path_factory.mktemp("other")
    (other / "nets.py").write_text(NETS.replace("from besides import WIDTH", "WIDTH = 3"))
    widths = [len(load(resolve("./nets.py:Net", base=base)).get_parameter("first.bias")) for base in (folder, other)]
    assert widths == [5, 3]
    resolve("nets:Net", base=folder)
    with pytest.raises(RecipeError, match="loaded another module nets"):
        resolve("nets:Net", base=other)


def test_a_changed_file_is_read_again(folder: Path) -> None:
    first = load(resolve("./nets.py:Net", base=folder))
    (folder / "nets.py").write_text(NETS.replace("width=WIDTH", "width=2"))
    assert load(resolve("./nets.py:Net", base=folder)).get_parameter("first.weight").shape == (2, 2)
    assert type(pickle.loads(pickle.dumps(first))) is type(first)


def test_weights_depend_on_the_config_alone(folder: Path) -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = fingerprint(load(resolve("./nets.py:build", base=folder, config={"width": 6})))
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(2)
    assert fingerprint(load(resolve("./nets.py:Net", base=folder, config={"width": 6}))) == first


def test_weights_that_the_callable_loads_are_kept(folder: Path) -> None:
    saved = nn.Linear(5, 5)
    torch.save({f"{name}.{key}": value for name in ("first", "tied") for key, value in saved.state_dict().items()},
               folder / "weights.pt")  # fmt: skip
    ref = resolve("./nets.py:loads", base=folder, config={"path": str(folder / "weights.pt")})
    assert torch.equal(load(ref).get_parameter("first.weight"), saved.weight)
    assert all(parameter.is_meta for parameter in skeleton(ref).parameters())


def test_a_skeleton_of_what_cannot_be_built_without_values(folder: Path) -> None:
    model = skeleton(resolve("./nets.py:counts", base=folder))
    assert {parameter.is_meta for parameter in model.parameters()} == {True}
    assert model.get_submodule("twice.0") is model.get_submodule("first")
    assert len(list(model.parameters())) == 2


def test_dropout_and_precision(folder: Path) -> None:
    model = load(resolve("./nets.py:Net", base=folder), dropout="off", precision="bfloat16")
    assert (model.get_submodule("drop").p, model.training) == (0.0, False)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert load(resolve("./nets.py:Net", base=folder)).get_submodule("drop").p == 0.5


MISTAKES: dict[str, tuple[str, dict[str, Any] | None, str]] = {
    "module": ("nowhere.nets:build", None, "no module 'nowhere' on sys.path or in"),
    "inner module": ("package_of_nets.nowhere:build", None, "no module 'package_of_nets.nowhere'"),
    "file": ("./nowhere.py:build", None, "no file"),
    "attribute": ("./nets.py:biuld", None, "./nets.py has no 'biuld'. Did you mean \"build\"?"),
    "no callable": ("./nets.py:number", None, "is no function or class, but of type int"),
    "no model": ("./nets.py:config", None, "returns a dict, and no torch.nn.Module"),
    "class": ("./nets.py:cls", None, "returns a class, and no torch.nn.Module"),
    "empty": ("./nets.py:empty", None, "returns a model without parameters"),
    "key": ("./nets.py:Net", {"widht": 3}, "./nets.py:Net takes no 'widht'. Did you mean \"width\"?"),
    "inner key": ("./nets.py:build", {"widht": 3}, "./nets.py:build takes no 'widht'."),
    "lacking": ("./nets.py:needs", {"width": 3}, "needs 'depth'. Write config = { depth = ... }"),
    "no config": ("./nets.py:empty", {"a": 1}, "takes no 'a'. It takes no keyword arguments"),
    "fails": ("./nets.py:broken", None, "fails: ZeroDivisionError: integer division or modulo by zero (nets.py:"),
    "value": ("./nets.py:Net", {"width": "wide"}, "fails: TypeError"),
}


@pytest.mark.parametrize(("name", "config", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes(folder: Path, name: str, config: dict[str, Any] | None, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        skeleton(resolve(name, base=folder, config=config, where="here"))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def build(:", "cannot be imported: SyntaxError"),
        ("import nowhere_to_be_found", "cannot be imported: ModuleNotFoundError: No module named 'nowhere_to_be"),
        ("raise ValueError('early')", "cannot be imported: ValueError: early (nets_broken.py:1)"),
    ],
)
def test_modules_that_cannot_be_imported(tmp_path: Path, source: str, told: str) -> None:
    (tmp_path / "nets_broken.py").write_text(source)
    for name in ("./nets_broken.py:build", "nets_broken:build"):
        with pytest.raises(RecipeError) as caught:
            resolve(name, base=tmp_path, where="recipe.toml:4")
        assert told in str(caught.value)
        assert caught.value.problems[0].where == "recipe.toml:4"
        assert not [module for module in sys.modules if module.startswith("nets_broken")]


def test_a_callable_has_no_revision(folder: Path) -> None:
    with pytest.raises(RecipeError, match="Leave revision out"):
        resolve("./nets.py:Net", base=folder, revision="main")
