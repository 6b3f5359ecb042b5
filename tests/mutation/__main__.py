"""Do the tests notice mistakes? Makes small ones in surgery, adapters and artifact, and runs the tests that cover each.

    python -m tests.mutation                     260 mistakes (`make mutation`; it goes on where it was interrupted)
    python -m tests.mutation --count 500 --seed 1
    python -m tests.mutation --minutes 20        what fits
    python -m tests.mutation --only lora.py      those whose name contains this
    python -m tests.mutation --report            what is known

The records of the tests and the results lie in .mutation/. A mutant that was killed stays so while its module does not
change; one that survived is tried again when a test file has changed. Survivors are printed as differences. Exit code 1
where fewer than 95 of a hundred were killed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from hashlib import sha256
from pathlib import Path

from tests.mutation.covering import Cover, key, record, test_files
from tests.mutation.mutants import ROOT, Mutant, chosen_mutants
from tests.mutation.trial import forked, killed_by, warm_up

KEPT = ROOT / ".mutation"
WANTED = 0.95
SEED = 20261121


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=260, help="of mistakes")
    parser.add_argument("--seed", type=int, default=SEED, help="which ones")
    parser.add_argument("--minutes", type=float, default=180.0, help="stop after these")
    parser.add_argument("--seconds", type=float, default=40.0, help="of processor time for one mistake, at most")
    parser.add_argument("--only", default="", metavar="TEXT", help="only mutants whose name contains this")
    parser.add_argument("--report", action="store_true", help="try nothing")
    chosen = parser.parse_args()
    ends = time.monotonic() + chosen.minutes * 60
    os.chdir(ROOT)
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    KEPT.mkdir(exist_ok=True)
    mutants = [each for each in chosen_mutants(chosen.count, chosen.seed) if chosen.only in each.name]
    results = Results(KEPT / "results.jsonl")
    if not chosen.report:
        warm_up()
        cover = recorded(ends)
        tested = sha256("".join(sorted(map(key, test_files()))).encode()).hexdigest()
        for mutant in mutants:
            if time.monotonic() < ends and not results.known(mutant, tested):
                results.add(mutant, tested, *tried(mutant, cover, chosen.seconds))
    return report(mutants, results)


def recorded(ends: float) -> Cover:
    """The cover of all test files, those recorded anew that have changed. What is loaded meanwhile stays loaded."""
    files = test_files()
    paths = {name: KEPT / (name.replace("/", "-") + ".json") for name in files}
    for name, path in paths.items():
        if time.monotonic() < ends and not (path.exists() and json.loads(path.read_text())["key"] == key(name)):
            code = forked(lambda name=name, path=path: record(name, path), wall=3600)
            print(f"recorded {name} (exit code {code})", file=sys.stderr, flush=True)
    there = [path for path in paths.values() if path.exists()]
    warm_up({module for path in there for module in json.loads(path.read_text())["loaded"]})
    return Cover.read(there)


def tried(mutant: Mutant, cover: Cover, most_seconds: float) -> tuple[str, int]:
    """What killed the mutant ("": nothing), and the number of tests that it was shown to."""
    tests = cover.tests(mutant, most_seconds)
    ended = killed_by(mutant, tests, sum(cover.seconds[test] for test in tests)) if tests else ""
    print(f"{'killed' if ended else 'SURVIVED'} {mutant.name} ({len(tests)} tests)", file=sys.stderr, flush=True)
    return ended, len(tests)


class Results:
    """What came of every mutant, in a file that only grows.

    Args:
        path: one JSON object a line; the last of a name counts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.found = {each["name"]: each for each in map(json.loads, lines)}

    def known(self, mutant: Mutant, tested: str) -> bool:
        found = self.of(mutant)
        return found is not None and bool(found["ended"] or found["tested"] == tested)

    def of(self, mutant: Mutant) -> dict[str, str] | None:
        """None where its module has changed since."""
        found = self.found.get(mutant.name)
        return found if found is not None and found["text"] == digest(mutant) else None

    def add(self, mutant: Mutant, tested: str, ended: str, tests: int) -> None:
        found = {"name": mutant.name, "text": digest(mutant), "tested": tested, "ended": ended, "tests": tests}
        self.found[mutant.name] = found
        with self.path.open("a") as file:
            file.write(json.dumps(found) + "\n")


def digest(mutant: Mutant) -> str:
    return sha256(mutant.text().encode()).hexdigest()


def report(mutants: list[Mutant], results: Results) -> int:
    """Every survivor, and one line of figures."""
    found = {mutant.name: results.of(mutant) for mutant in mutants}
    tried = [mutant for mutant in mutants if found[mutant.name] is not None]
    survivors = [mutant for mutant in tried if not (found[mutant.name] or {})["ended"]]
    for mutant in survivors:
        print(f"SURVIVED {mutant.name} ({(found[mutant.name] or {})['tests']} tests)\n{mutant.diff()}\n")
    killed = len(tried) - len(survivors)
    share = killed / max(1, len(tried))
    print(f"{len(tried)} of {len(mutants)} mutants tried, {killed} killed ({share:.1%}), {len(survivors)} survived")
    return int(share < WANTED or len(tried) < len(mutants))


if __name__ == "__main__":
    sys.exit(main())
