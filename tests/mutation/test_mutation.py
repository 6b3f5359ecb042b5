"""The mistakes that are made, those that are not, and that a trial tells whether the tests notice one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.covering import Cover
from tests.mutation.mutants import ROOT, Module, chosen_mutants, modules, named_mutants

SOURCE = '''
"""A docstring with 1 and 2."""
from __future__ import annotations
import os

LIMIT = 3
paper = "Someone 2020"
__all__ = ["f"]


class A:
    __slots__ = ("x",)


@decorated(4)
def f(x: Annotated[int, 5], y: Literal["a", "b"] = "a") -> Tuple[6]:
    """Another docstring."""
    assert x > 7, "never 8"
    if x < 9 and y:
        raise ValueError(f"x = {x} is not {10}")
    warn("eleven 11", 11)
    z = cast("int", x).to(12) + x
    return [each for each in zip(z, strict=True) if not each == "key"]
'''

EXPECTED = {
    "3 -> 4",
    "another text",  # the default of y, and "key"
    "< -> <=",
    "9 -> 10",
    "and -> or",
    "raises nothing",
    "+ -> -",
    "condition left out",
    "without not",
    "== -> !=",
    "returns None",
    "condition turned round",
}


def test_mistakes_are_made_where_a_test_could_notice_them(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(SOURCE)
    found = [each for each in Module(str(path)).mutants() if each.is_another()]
    assert {each.sort for each in found} == EXPECTED
    lines = SOURCE.splitlines()
    for each in found:
        assert lines[each.line - 1].strip()


def test_every_mistake_in_the_packages_is_another_program() -> None:
    names = modules()
    assert len(names) > 40
    for name in names[::6]:
        found = list(Module(name).mutants())
        assert len({each.name for each in found}) == len(found), name
        for each in found[::9]:
            assert each.is_another(), each.diff()


def test_a_seed_chooses_the_same_and_the_named_ones_are_always_there() -> None:
    one, same, other = (chosen_mutants(12, seed) for seed in (1, 1, 2))
    assert [each.name for each in one] == [each.name for each in same] != [each.name for each in other]
    for chosen in (one, other):
        assert chosen[:2] == named_mutants()
        assert len({(each.path, each.line) for each in chosen[2:]}) == 10


def test_the_tests_of_a_mistake_take_turns_and_stop_at_their_time() -> None:
    (mutant, _) = named_mutants()
    cover = Cover({"a[1]": 1.0, "a[2]": 2.0, "b": 3.0, "far": 1.0})
    for test in ("a[1]", "a[2]", "b"):
        cover.lines[mutant.path][mutant.line].add(test)
    cover.lines[mutant.path][1].add("far")
    assert cover.tests(mutant, 100) == ["a[1]", "b", "a[2]"]
    assert cover.tests(mutant, 4) == ["a[1]", "b"]
    assert cover.tests(mutant, 0) == ["a[1]"]  # one is always tried
    assert cover.tests(named_mutants()[1], 100) == []


TRIAL = """
import json, sys
from tests.mutation.mutants import named_mutants
from tests.mutation.trial import killed_by
_, ignored = named_mutants()
print(json.dumps([killed_by(mutant, [sys.argv[1]], 20.0) for mutant in (None, ignored)]))
"""

NOTICES = """
from adaptkit.adapters.base import Shape
from adaptkit.adapters.lora import LoRA

def test_alpha():
    assert LoRA(Shape(4, None, 4), {}, rank=2, alpha=8.0).scaling == 4.0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_trial_tells_whether_a_test_notices_the_mistake(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(NOTICES)
    command = [sys.executable, "-W", "ignore", "-c", TRIAL, str(tmp_path / "test_it.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    assert json.loads(done.stdout.splitlines()[-1]) == ["", "a test"]
