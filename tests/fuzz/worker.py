"""A process that tries cases and writes one JSON line for each: `python -m tests.fuzz.worker CAMPAIGN SEED FOLDER N...`

A case that ends the process (out of memory, a crash in native code) is known by the line that is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.campaign import MODULES, Campaign
from tests.fuzz.limits import tried


def campaigns() -> dict[str, Campaign]:
    """All campaigns by name, of the modules that are there."""
    there = [f"tests.fuzz.{name}" for name in MODULES if find_spec(f"tests.fuzz.{name}")]
    return {campaign.name: campaign for module in there for campaign in import_module(module).CAMPAIGNS}


def main() -> None:
    name, seed, folder, *numbers = sys.argv[1:]
    campaign = campaigns()[name]
    if campaign.memory is not None:
        limit = int(campaign.memory * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    lines = os.fdopen(os.dup(1), "w")  # stdout itself belongs to what is tried
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        for number in map(int, numbers):
            case = tried(campaign, number, int(seed), Path(folder))
            lines.write(json.dumps({"number": number, **asdict(case)}) + "\n")
            lines.flush()


if __name__ == "__main__":
    main()
