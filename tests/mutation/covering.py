"""Which test runs which line of the packages: recorded once for every test file, in a process of its own.

What a fixture of a wider scope runs belongs to every test that asks for it. A record is used again while neither its
test file nor the packages have changed.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.mutation.mutants import PACKAGES, ROOT, Mutant, modules
from tests.mutation.trial import OPTIONS

# What speaks of the packages, and does not take minutes. Of the laws four families of eleven: two kinds of stacks of
# text, two of images; the others differ in anatomy, which is not mutated here.
FOLDERS = ("tests/unit/adapters", "tests/unit/surgery", "tests/unit/artifact", "tests/unit/fusions", "tests/laws")
FILES = (
    "tests/cli/test_exporting.py",
    "tests/cli/test_folding.py",
    "tests/unit/generation/test_generation_run.py",
    "tests/unit/kinds/test_describing.py",
    "tests/unit/modalities/test_norms.py",
    "tests/unit/test_exchange.py",
    "tests/unit/test_lazy.py",
    "tests/unit/test_mmbt.py",
    "tests/unit/test_model.py",
    "tests/unit/test_model_multimodal.py",
    "tests/unit/test_model_tasks.py",
    "tests/unit/test_surgery.py",
    "tests/unit/test_vl_adapter.py",
    "tests/unit/training/test_init_from.py",
    "tests/unit/training/test_initial.py",
    "tests/unit/training/test_still_adapters.py",
)
NOT = ("test_zoo.py", "test_layers.py", "test_ownership.py", "test_bounds.py", "test_compilation.py")
# What importing does shows in what classes say of themselves, and in the names of packages.
AT_IMPORT = (
    "tests/unit/kinds/test_describing.py::test_the_index",
    "tests/unit/test_lazy.py",
    "tests/unit/adapters/test_unsaid.py",
)
FAMILIES = ("bert", "gpt2", "t5", "timm_resnet")
LAWS = "tests/laws/test_surgery.py"


def test_files() -> list[str]:
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("test_*.py"))]
    names = [path.relative_to(ROOT).as_posix() for path in found if path.name not in NOT]
    return [*names, *(name for name in FILES if (ROOT / name).exists())]


def key(test_file: str) -> str:
    """Of everything that a record depends on."""
    content = hashlib.sha256()
    for name in (test_file, *modules()):
        content.update((ROOT / name).read_bytes())
    return content.hexdigest()


@dataclass
class Cover:
    """What is known of the tests.

    Attributes:
        seconds: processor time of every test that passed.
        lines: module -> line -> tests.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, set[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))

    @classmethod
    def read(cls, files: Sequence[Path]) -> Cover:
        cover = cls()
        for path in files:
            record = json.loads(path.read_text())
            names = record["tests"]
            cover.seconds |= record["seconds"]
            for module, lines in record["lines"].items():
                for line, tests in lines.items():
                    cover.lines[module][int(line)].update(names[number] for number in tests)
        return cover

    def tests(self, mutant: Mutant, most_seconds: float) -> list[str]:
        """Those that run the mutant, in turn one of each function and the quickest first, within a time."""
        lines = self.lines.get(mutant.path, {})
        first, last = mutant.lines if mutant.function else (0, sys.maxsize)
        found = {test for line, tests in lines.items() if first <= line <= last for test in tests}
        early = [] if mutant.function else sorted(test for test in self.seconds if test.startswith(AT_IMPORT))
        if mutant.tests:
            early, found = [], {test for test in found if test.startswith(mutant.tests)}
        chosen, spent = [], 0.0
        for test in (*early, *in_turn(sorted(found - {*early}, key=lambda test: (self.seconds[test], test)))):
            spent += self.seconds[test]
            if chosen and spent > most_seconds:
                break
            chosen.append(test)
        return chosen


def in_turn(tests: Sequence[str]) -> Iterator[str]:
    """One of each test function, then the second of each, ...: fifty cases of one function are much alike."""
    functions = defaultdict[str, list[str]](list)
    for test in tests:
        functions[test.partition("[")[0]].append(test)
    for turn in range(max(map(len, functions.values()), default=0)):
        yield from (cases[turn] for cases in functions.values() if turn < len(cases))


class Recorder:
    """A plugin of pytest that tells coverage which test is running, and keeps what came of it."""

    def __init__(self, coverage: Any) -> None:
        self.coverage, self.current = coverage, ""
        self.seconds, self.fixtures, self.failed = dict[str, float](), dict[str, list[str]](), set[str]()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if wanted(item.nodeid)]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Function) -> Generator[None, Any, Any]:
        self.current = f"test {item.nodeid}"
        self.fixtures[item.nodeid] = list(item.fixturenames)
        self.coverage.switch_context(self.current)
        began = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - began
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        outer = self.current
        if fixturedef.scope != "function":
            self.current = f"fixture {fixturedef.argname}"
            self.coverage.switch_context(self.current)
        try:
            return (yield)
        finally:
            self.current = outer
            self.coverage.switch_context(outer)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed":
            self.failed.add(report.nodeid)

    def record(self) -> dict[str, Any]:
        """Of every test that passed: its time, and of every line the numbers of the tests that ran it."""
        tests = sorted(self.seconds.keys() - self.failed)
        number = {test: index for index, test in enumerate(tests)}
        users = defaultdict[str, list[int]](list)
        for test in tests:
            users[f"test {test}"].append(number[test])
            for name in self.fixtures[test]:
                users[f"fixture {name}"].append(number[test])
        data = self.coverage.get_data()
        lines = {
            Path(path).relative_to(ROOT).as_posix(): {
                line: sorted({test for context in contexts for test in users.get(context, ())})
                for line, contexts in data.contexts_by_lineno(path).items()
            }
            for path in data.measured_files()
        }
        return {"tests": tests, "seconds": {test: round(self.seconds[test], 3) for test in tests}, "lines": lines}


def wanted(test: str) -> bool:
    return not test.startswith(LAWS) or any(f"[{family}-" in test for family in FAMILIES)


def record(test_file: str, path: Path) -> int:
    """Run one file, in this process, which ends then. Returns pytest's exit code."""
    from coverage import Coverage

    include = [str(ROOT / "adaptkit" / package / "*") for package in PACKAGES]
    coverage = Coverage(data_file=None, include=include, config_file=False)
    recorder = Recorder(coverage)
    coverage.start()
    code = pytest.main([test_file, *OPTIONS], plugins=[recorder])
    coverage.stop()
    loaded = sorted(name for name, module in sys.modules.items() if worth_keeping(name) and module is not None)
    path.write_text(json.dumps(recorder.record() | {"key": key(test_file), "loaded": loaded}))
    return int(code)


def worth_keeping(module: str) -> bool:
    """Loaded once, before the processes of the mutants begin: everything that is not ours."""
    return module.partition(".")[0] not in ("adaptkit", "tests", "conftest", "__main__", "__mp_main__")
