"""Processes that have the libraries loaded, but nothing of ours: each tries one mutant, or records one test file."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from tests.mutation.mutants import ROOT, Mutant

WARM = ("torch", "transformers", "timm", "pytest", "hypothesis", "safetensors.torch", "pydantic", "coverage")
# Plugins of pytest are among what is loaded already, which it would warn of; a cache would be shared by all.
OPTIONS = ("-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
GIGABYTES = 5
SLOWER = 4  # than when it was recorded: a mutant that takes longer does not end
START = 60  # seconds of processor time to load what is ours and to collect the tests


def warm_up(loaded: Iterable[str] = ()) -> None:
    """Import the libraries, and what of them the tests were seen to load."""
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        for name in (*WARM, *loaded):
            if name not in sys.modules:
                with contextlib.suppress(BaseException):  # an optional part of a library that is not here
                    importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module of the package with a mistake in it."""

    def __init__(self, mutant: Mutant) -> None:
        self.path = ROOT / mutant.path
        self.name = ".".join(Path(mutant.path).with_suffix("").parts).removesuffix(".__init__")
        self.text = mutant.text()

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        inside = [str(self.path.parent)] if self.path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            fullname, self.path, loader=self, submodule_search_locations=inside
        )

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.text, str(self.path), "exec"), module.__dict__)


def killed_by(mutant: Mutant | None, tests: Sequence[str], seconds: float) -> str:
    """ "" where all tests pass with the mutant (None: the code as it is), else what ended them.

    Args:
        mutant: the mistake.
        tests: node ids, in this order; the first failure ends the trial.
        seconds: that they took without it.
    """

    def attempt() -> int:
        limit = round(START + SLOWER * seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (GIGABYTES * 2**30,) * 2)
        if mutant is not None:
            sys.meta_path.insert(0, Changed(mutant))
        with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
            return int(pytest.main([*tests, "-x", *OPTIONS, f"--basetemp={folder}/tests"]))

    code = forked(attempt, wall=20 * (START + SLOWER * seconds))
    ends = {0: "", 1: "a test", 2: "an error while collecting", 3: "an error in pytest", 4: "an error in conftest"}
    return ends.get(code, f"no test ran (exit code {code})" if code == 5 else f"signal {-code}")


def forked(work: Callable[[], int], wall: float) -> int:
    """The exit code of the work in a child process, negative for the signal that ended it."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 3
        try:
            os.setpgid(0, 0)
            nowhere = os.open(os.environ.get("MUTATION_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    ends = time.monotonic() + wall
    while (found := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > ends:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):  # what it had started
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(found[1])
