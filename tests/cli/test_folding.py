"""Like things are shown once, and what is shown once is really alike."""

from __future__ import annotations

import itertools
import re

import pytest

from adaptkit.cli.folding import folded_names, folded_path, graft_rows, ranges


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([None], ""), ([3], "3"), ([0, 1, 2], "0-2"), ([5, 0, 1, 2, 9, 10], "0-2, 5, 9-10")],
)
def test_ranges(numbers: list[int | None], text: str) -> None:
    assert ranges(numbers) == text


def unfolded(text: str) -> list[str]:
    """The paths a folded path stands for."""
    found = []
    for part in re.split(r", (?![^{]*})", text):
        pieces = re.split(r"\{(.*?)\}", part)
        choices = [[piece] if index % 2 == 0 else expanded(piece) for index, piece in enumerate(pieces)]
        found += ["".join(words) for words in itertools.product(*choices)]
    return found


def expanded(piece: str) -> list[str]:
    words: list[str] = []
    for word in re.split(r"[|]|, ", piece):
        first, _, last = word.partition("-")
        words += [str(n) for n in range(int(first), int(last) + 1)] if last else [word]
    return words


@pytest.mark.parametrize(
    "paths",
    [
        ["a.b"],
        ["layer.0.dense", "layer.1.dense", "layer.2.dense"],
        ["layer.0.dense", "layer.2.dense"],
        ["layer1.0", "layer1.1", "layer2.0"],
        ["layer1.0", "layer1.1", "layer2.0", "layer2.1"],
        [
            "stages.0.blocks.0",
            "stages.0.blocks.1",
            "stages.1.blocks.0",
            "stages.1.blocks.1",
            "stages.1.blocks.2",
        ],
        ["encoder.0", "encoder.1", "last"],
    ],
    ids=", ".join,
)
def test_a_folded_path_stands_for_exactly_its_paths(paths: list[str]) -> None:
    assert sorted(unfolded(folded_path(paths))) == sorted(paths)


def test_names_that_differ_in_numbers_fold() -> None:
    names = [
        "layer.0.norm.bias",
        "layer.0.norm.weight",
        "layer.1.norm.bias",
        "layer.1.norm.weight",
        "norm.bias",
    ]
    assert folded_names(names) == ["layer.{0-1}.norm.bias", "layer.{0-1}.norm.weight", "norm.bias"]


def test_graft_rows_keep_unlike_grafts_apart() -> None:
    def graft(layer: int, parameters: int) -> dict[str, object]:
        return {
            "adapter": "a",
            "kind": "gmu",
            "site": "mlp.out",
            "layer": layer,
            "path": f"layer.{layer}.dense",
            "width": 8,
            "parameters": parameters,
        }

    first, second = graft_rows([graft(0, 10), graft(1, 10), graft(2, 20)])
    assert (first.layers, first.count, first.total, first.path) == ((0, 1), 2, 20, "layer.{0-1}.dense")
    assert (second.layers, second.total) == ((2,), 20)
