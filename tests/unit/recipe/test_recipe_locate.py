"""Lines of keys in TOML that tries to confuse a scanner."""

from __future__ import annotations

import tomllib

import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from adaptkit.recipe.locate import key_lines, read_key

# QQQ stands for three single quotes.
TRICKY = r'''# [not.a.table]
schema = 1  # key = "no key"

[ backbone ] # [neither]
"model" = "a # b [c] = 'd'"
'pool'="""
[modality.no]
kind = "no"  \""" still text
"""""
note = """x = 1"""  # one line
raw = QQQ
[adapter.no]
QQQ

[modality."my plot".'x.y']
a.b . "c d" = [
  # ] in a comment
  "]", '[',  # more
  { k = 1, l = "}" },
]
z = 1979-05-27T07:32:00Z
inline = { x = { y = 1 }, "q" = 2 }
after = true

[[runs]]
n = 1
[runs.deep]
m = 1
[[runs]]
n = 2
[late]
last = 1'''.replace("QQQ", "'" * 3)


def line_of(fragment: str) -> int:
    return TRICKY[: TRICKY.index(fragment)].count("\n") + 1


def test_tricky_toml():
    assert tomllib.loads(TRICKY)
    assert key_lines(TRICKY) == {
        ("schema",): 2,
        ("backbone",): 4,
        ("backbone", "model"): 5,
        ("backbone", "pool"): 6,
        ("backbone", "note"): line_of("note ="),
        ("backbone", "raw"): line_of("raw ="),
        ("modality",): line_of('[modality."my'),
        ("modality", "my plot"): line_of('[modality."my'),
        ("modality", "my plot", "x.y"): line_of('[modality."my'),
        ("modality", "my plot", "x.y", "a"): line_of("a.b ."),
        ("modality", "my plot", "x.y", "a", "b"): line_of("a.b ."),
        ("modality", "my plot", "x.y", "a", "b", "c d"): line_of("a.b ."),
        ("modality", "my plot", "x.y", "z"): line_of("z ="),
        ("modality", "my plot", "x.y", "inline"): line_of("inline"),
        ("modality", "my plot", "x.y", "after"): line_of("after"),
        ("runs",): line_of("[[runs]]\nn = 2"),
        ("runs", "0"): line_of("[[runs]]"),
        ("runs", "0", "n"): line_of("n = 1"),
        ("runs", "0", "deep"): line_of("[runs.deep]"),
        ("runs", "0", "deep", "m"): line_of("m = 1"),
        ("runs", "1"): line_of("[[runs]]\nn = 2"),
        ("runs", "1", "n"): line_of("n = 2"),
        ("late",): line_of("[late]"),
        ("late", "last"): line_of("last"),
    }


def test_an_empty_text_has_no_keys():
    assert key_lines("") == {}
    assert key_lines("\n  # nothing\n") == {}


def test_a_table_may_follow_its_subtable():
    assert key_lines("[a.b]\nx = 1\n[a]\ny = 2\n") == {
        ("a",): 3,
        ("a", "b"): 1,
        ("a", "b", "x"): 2,
        ("a", "y"): 4,
    }


def test_a_dotted_key_ends_before_the_equals_sign():
    key, position = read_key('a . "b.c".d = 1', 0)
    assert key == ("a", "b.c", "d")
    assert position == len('a . "b.c".d ')


_KEYS = st.text(min_size=1, max_size=6)
_TEXTS = st.text(max_size=20)
_LEAVES = st.one_of(st.integers(-9, 9), st.booleans(), _TEXTS, st.lists(_TEXTS, max_size=3))
_TABLES = st.recursive(
    st.dictionaries(_KEYS, _LEAVES, max_size=4),
    lambda inner: st.dictionaries(_KEYS, st.one_of(_LEAVES, inner), max_size=4),
    max_leaves=12,
)


def _paths(table: dict, above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = set()
    for key, value in table.items():
        found.add((*above, key))
        if isinstance(value, dict):
            found |= _paths(value, (*above, key))
    return found


@given(_TABLES)
def test_every_key_of_any_document_is_found_and_no_other(tables):
    text = tomlkit.dumps(tables)
    assert set(key_lines(text)) == _paths(tomllib.loads(text))


@given(st.lists(st.tuples(_TEXTS, st.booleans()), min_size=1, max_size=8))
def test_the_line_is_the_one_that_bears_the_key(values):
    """Strings over several lines, as tomlkit writes them, shift the keys below them."""
    document = tomlkit.document()
    for index, (value, multiline) in enumerate(values):
        kept = value.replace("\r", "")
        document.append(f"key{index}", tomlkit.string(kept, multiline=multiline))
    text = tomlkit.dumps(document)
    lines = key_lines(text)
    written = text.split("\n")
    for index in range(len(values)):
        assert written[lines[(f"key{index}",)] - 1].startswith(f"key{index} = ")
