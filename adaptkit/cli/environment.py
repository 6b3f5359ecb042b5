"""`adaptkit doctor` and `adaptkit version`: is everything here that a training needs?"""

from __future__ import annotations

import platform
from collections import Counter

from rich.console import Console

from adaptkit.cli.answer import Answer
from adaptkit.cli.options import Json
from adaptkit.cli.version import version
from adaptkit.errors import Problem, UnavailableError


def show_version(json: Json = False) -> Answer:
    """Print the version of adaptkit and of Python."""
    data = {"version": version(), "python": platform.python_version()}
    return Answer(data, lambda out: out.print(f"adaptkit {data['version']} (Python {data['python']})"))


def doctor(json: Json = False) -> Answer:
    """Check this machine: is all here that a training needs?

    Packages, device, bfloat16, cores, the quickstart model, extras and the cache folder.
    The exit code is 7 if something is missing that adaptkit needs.
    """
    from adaptkit.cli.checks import all_checks

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
