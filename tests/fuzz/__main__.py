"""Runs campaigns in worker processes and reports: `make fuzz`. Exit code 1 where a case is at fault."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fuzz.campaign import SEED, Campaign, Case
from tests.fuzz.worker import campaigns

CHUNK = 500  # cases of one process: what leaks does not add up


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", help="only campaigns whose name contains one of these")
    parser.add_argument("--share", type=float, default=1.0, help="of the full number of cases")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="only these cases")
    options = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for name, campaign in campaigns().items():
            if not options.names or any(word in name for word in options.names):
                numbers = options.only or range(max(1, round(campaign.full * options.share)))
                faults += run(campaign, numbers, options.seed, Path(folder))
    return int(faults > 0)


def run(campaign: Campaign, numbers: Sequence[int], seed: int, folder: Path) -> int:
    """All cases of one campaign; prints every fault and a line of figures. Returns the number of faults."""
    began, outcomes, faults = time.monotonic(), Counter[str](), 0
    for number, case in cases(campaign, numbers, seed, folder):
        outcomes[case.outcome] += 1
        if case.fault:
            faults += 1
            print(f"FAULT {campaign.name} {number}: {case.fault}", flush=True)
    counts = ", ".join(f"{outcome} {count:,}" for outcome, count in sorted(outcomes.items()))
    seconds = time.monotonic() - began
    print(f"{campaign.name}: {len(numbers):,} cases, {faults} at fault, {seconds:.0f} s ({counts})", flush=True)
    return faults


def cases(campaign: Campaign, numbers: Sequence[int], seed: int, folder: Path) -> Iterator[tuple[int, Case]]:
    """Number and outcome of every case. One that ends its process is a fault; the next process goes on behind it."""
    left = list(numbers)
    while left:
        words = [sys.executable, "-m", "tests.fuzz.worker", campaign.name, str(seed), str(folder)]
        chunk = left[:CHUNK]
        with subprocess.Popen([*words, *map(str, chunk)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            done = 0
            for line in process.stdout:
                found = json.loads(line)
                done += 1
                yield found["number"], Case(found["outcome"], found["fault"])
        if done < len(chunk):
            yield chunk[done], Case("died", f"ended its process with {process.returncode}")
            done += 1
        left = left[done:]


if __name__ == "__main__":
    sys.exit(main())
