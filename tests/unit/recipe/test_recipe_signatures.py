"""Signatures read from source say the same as the classes themselves."""

from __future__ import annotations

import inspect

import pytest
from adaptkit.recipe.keyword_table import complete_options
from adaptkit.recipe.signatures import REQUIRED, adapter_signatures
from pydantic import ValidationError

from adaptkit.recipe.adapter import AdapterSpec
from adaptkit.recipe.optimizers import optimizer_keywords, optimizer_names

SOURCE = '''
from typing import Literal
from adaptkit.adapters.base import ADAPTERS, Adapter

Activation = Literal["gelu", "relu"]


class Base(Adapter):
    paper = "Somebody 2020"
    needs_sides: tuple[int, int | None] = (1, 2)

    def __init__(self, host, sides, *, rank: int, act: Activation = "gelu"):
        """Builds."""


@ADAPTERS.register("plain")
class Plain(Base):
    """Inherits its keywords.

    More words.

    Args:
        rank: R, the rank:
            on two lines.
        act: the activation.

    Raises:
        SiteError: never.
    """

    mergeable = True


@ADAPTERS.register("rich")
class Rich(Adapter):
    """All types."""

    formula = "R"

    def __init__(
        self,
        host,
        sides,
        *,
        alpha: float = -1.5,
        on: bool = False,
        name: str = "x",
        rank: int | Literal["auto"] | None = None,
        ranks: list[int] = [1, 2],
        pair: tuple[float, float] = (0.0, 1.0),
        many: tuple[int, ...] = (),
    ):
        """Builds."""
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    (folder / "some.py").write_text(SOURCE)
    return folder


def test_an_adapter_inherits_keywords_and_facts(folder):
    plain = adapter_signatures(folder)["plain"]
    assert (plain.class_name, plain.doc_first_line) == ("Plain", "Inherits its keywords.")
    assert (plain.paper, plain.formula, plain.needs_sides, plain.mergeable) == (
        "Somebody 2020",
        "",
        (1, 2),
        True,
    )
    assert list(plain.parameters) == ["rank", "act"]
    assert plain.parameters["rank"].default is REQUIRED
    assert plain.parameters["rank"].required
    assert plain.parameters["rank"].doc == "R, the rank: on two lines."
    assert plain.parameters["act"].doc == "the activation."


@pytest.mark.parametrize(
    ("name", "good", "kept"),
    [
        ("alpha", 3, 3.0),
        ("on", True, True),
        ("rank", "auto", "auto"),
        ("rank", 4, 4),
        ("ranks", [3], [3]),
        ("pair", [1, 2.5], (1.0, 2.5)),
        ("many", [1, 2, 3], (1, 2, 3)),
    ],
)
def test_values_of_the_right_type(folder, name, good, kept):
    rich = adapter_signatures(folder)["rich"]
    value = complete_options(rich, {name: good})[name]
    assert (value, type(value)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("alpha", "3"),
        ("alpha", True),
        ("alpha", float("nan")),
        ("on", 1),
        ("name", 3),
        ("rank", 1.0),
        ("rank", "all"),
        ("ranks", 3),
        ("ranks", ["3"]),
        ("pair", [1.0]),
        ("many", [1.5]),
        ("unknown", 1),
    ],
)
def test_values_of_another_type_are_not_converted(folder, name, bad):
    with pytest.raises(ValidationError) as caught:
        complete_options(adapter_signatures(folder)["rich"], {name: bad})
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


def test_all_problems_of_the_options_at_once(folder):
    with pytest.raises(ValidationError) as caught:
        complete_options(adapter_signatures(folder)["plain"], {"act": "tanh", "x": 1})
    assert {error["loc"] for error in caught.value.errors()} == {("rank",), ("act",), ("x",)}


def test_signatures_are_those_of_the_classes():
    from adaptkit.adapters import ADAPTERS

    signatures = adapter_signatures()
    assert set(signatures) == set(ADAPTERS)
    for kind, entry in ADAPTERS.items():
        signature = signatures[kind]
        keywords = {
            name: parameter
            for name, parameter in inspect.signature(entry).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        assert list(signature.parameters) == list(keywords)
        for name, parameter in signature.parameters.items():
            absent = keywords[name].default is inspect.Parameter.empty
            assert parameter.required == absent
            assert absent or parameter.default == keywords[name].default
            assert parameter.annotation.replace("'", '"') == keywords[name].annotation.replace("'", '"')
        assert signature.class_name == entry.__name__
        assert signature.doc_first_line == inspect.cleandoc(entry.__doc__).partition("\n")[0]
        for fact in ("paper", "formula", "needs_sides", "mergeable"):
            assert getattr(signature, fact) == getattr(entry, fact)


def test_every_keyword_is_documented_typed_and_free():
    for signature in adapter_signatures().values():
        assert signature.paper
        assert signature.formula
        for name, parameter in signature.parameters.items():
            assert parameter.doc, f"{signature.kind}.{name} has no line in Args"
            assert name not in AdapterSpec.model_fields, f"{signature.kind}.{name} is a key of every adapter"
            if not parameter.required:
                assert parameter.check.validate_python(parameter.default) == parameter.default


def test_optimizers_are_those_of_torch():
    import torch

    classes = {name.lower(): item for name, item in vars(torch.optim).items() if inspect.isclass(item)}
    classes = {name: item for name, item in classes.items() if issubclass(item, torch.optim.Optimizer)}
    assert set(optimizer_names()) == set(classes) - {"optimizer", "lbfgs", "muon", "sparseadam"}
    for name in optimizer_names():
        assert list(optimizer_keywords(name)) == list(inspect.signature(classes[name]).parameters)[1:]
    assert optimizer_keywords("lbfgs") == ()
