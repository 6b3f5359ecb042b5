"""What is known of a class without importing it: its keys, their types and defaults, its facts."""

from __future__ import annotations

import inspect
from typing import ClassVar, Literal

import pytest
from pydantic import ValidationError

from adaptkit.errors import RecipeError
from adaptkit.kinds import ADAPTERS, POINTS, REQUIRED, Count, Kind, Share, table_of
from adaptkit.kinds.describing import describe
from adaptkit.kinds.index import FILE, ROOT
from adaptkit.kinds.indexing import index_text, indexed_packages
from adaptkit.recipe.adapter import AdapterSpec
from adaptkit.recipe.table import Table


class Base:
    """Has the keywords and facts that others inherit.

    Args:
        rank: R, the rank:
            on two lines.
        act: the activation.
    """

    paper: ClassVar[str]
    formula: ClassVar[str] = ""
    needs_sides: ClassVar[tuple[int, int | None]] = (0, 0)

    def __init__(self, host, sides, *, rank: int, act: Literal["gelu", "relu"] = "gelu"):
        """Builds."""


class Plain(Base):
    """Inherits its keywords.

    Args:
        rank: R, the rank:
            on two lines.
        act: the activation.
    """

    paper = "Somebody 2020"
    needs_sides = (1, 2)
    not_declared = 3


class Rich:
    """Everything that TOML can write."""

    def __init__(
        self,
        *,
        alpha: float = -1.5,
        on: bool = False,
        name: str = "x",
        rank: int | Literal["auto"] | None = None,
        ranks: list[int] = [1, 2],  # noqa: B006
        pair: tuple[float, float] = (0.0, 1.0),
        many: tuple[int, ...] = (),
        width: Count = 3,
        dropout: Share = 0.0,
    ):
        """Builds."""


class Own(Table):
    """The keys that all kinds of the test have."""

    kind: str


def roundtrip(kind: Kind) -> Kind:
    return Kind.from_json(kind.name, kind.as_json())


def test_a_class_inherits_keywords_and_facts():
    plain = describe("plain", Plain)
    assert (plain.name, plain.summary, plain.home) == ("plain", "Inherits its keywords.", f"{__name__}:Plain")
    assert plain.facts == {"paper": "Somebody 2020", "formula": "", "needs_sides": (1, 2)}
    assert list(plain.keys) == ["rank", "act"]
    assert plain.keys["rank"].default is REQUIRED
    assert plain.keys["rank"].required
    assert plain.keys["rank"].doc == "R, the rank: on two lines."


@pytest.mark.parametrize("entry", [Plain, Rich])
def test_the_index_keeps_everything(entry):
    kind = describe("it", entry)
    assert roundtrip(kind) == kind


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
        ("width", 1, 1),
        ("dropout", 0.5, 0.5),
    ],
)
def test_values_of_the_right_type(name, good, kept):
    table = table_of(roundtrip(describe("rich", Rich)), Own).model_validate({"kind": "rich", name: good})
    value = getattr(table, name)
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
        ("width", 0),
        ("dropout", 1.0),
        ("unknown", 1),
    ],
)
def test_values_of_another_type_are_not_converted(name, bad):
    with pytest.raises(ValidationError) as caught:
        table_of(roundtrip(describe("rich", Rich)), Own).model_validate({"kind": "rich", name: bad})
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


def test_all_problems_at_once():
    with pytest.raises(ValidationError) as caught:
        table_of(describe("plain", Plain), Own).model_validate({"kind": "plain", "act": "tanh", "x": 1})
    assert {error["loc"] for error in caught.value.errors()} == {("rank",), ("act",), ("x",)}


def untyped(*, rank=3):
    """Has a keyword without a type."""


def unwritable(*, model: complex = 1j):
    """Has a keyword that TOML cannot write."""


def unknown(*, model: Nowhere = None):  # type: ignore[name-defined]  # noqa: F821
    """Has a keyword of an unknown type."""


@pytest.mark.parametrize("entry", [untyped, unwritable, unknown])
def test_a_keyword_that_no_recipe_can_write_is_an_error(entry):
    with pytest.raises(RecipeError, match=r"the (type of the )?keyword"):
        describe("it", entry)


def test_a_keyword_named_like_a_key_of_all_is_an_error():
    def clashing(*, kind: str = ""):
        """Takes the key that names it."""

    with pytest.raises(RecipeError, match="has a keyword 'kind'"):
        table_of(describe("it", clashing), Own)


@pytest.mark.parametrize("package", indexed_packages())
def test_the_index_is_not_stale(package):
    assert (ROOT / package / FILE).read_text(encoding="utf-8") == index_text(package), "run `make index`"


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.point)
def test_every_kind_can_be_loaded_and_says_what_it_is(point):
    for name, kind in point.kinds.items():
        assert point[name] is point.entries()[name][0]
        assert kind.load() is point[name] or point.point == "format"  # a benchmark's format is made of its class
        assert kind.summary.endswith("."), f"{name}: {kind.summary}"


def test_every_keyword_is_documented_and_free():
    for point in POINTS:
        for kind in point.kinds.values():
            for name, key in kind.keys.items():
                assert key.doc, f"{kind.name}.{name} has no line in Args"
    for kind in ADAPTERS.kinds.values():
        assert kind.facts["paper"]
        assert kind.facts["formula"]
        assert not kind.keys.keys() & AdapterSpec.model_fields.keys()


def test_keys_are_the_keywords_of_the_classes():
    for name, kind in ADAPTERS.kinds.items():
        keywords = {
            parameter.name: parameter.default
            for parameter in inspect.signature(ADAPTERS[name]).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        written = {key.name: inspect.Parameter.empty if key.required else key.default for key in kind.keys.values()}
        assert written == keywords
