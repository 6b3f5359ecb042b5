"""Kill -9 before and after the file operations of train, resume, export and import, and at random moments of training.

    python -m tests.chaos                 every operation, both sides, 100 moments (an hour)
    python -m tests.chaos --every 20      of the operations every 20th, its two sides in turn
    python -m tests.chaos --seed 1        other moments

After each kill the command is given again (`--resume` where there is a run), and its outcome compared with that of a
process that was left alone: the adapter, the numbers and the log to the bit, and no temporary file. One process loads
torch, and forks for every trial. Ends with exit code 1 where something was lost, and names it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.chaos.operations import Operations, Side

Kill = tuple[int, Side] | None
CHANGES = ("epochs=2", 'checkpoint_every="1 step"', "batch_size=8", "log_every=1")


class Trials:
    """Commands in a scratch folder, run in forked processes.

    Args:
        scratch: everything happens in it.
    """

    def __init__(self, scratch: Path) -> None:
        from tests.conftest import RECIPE, write_tiny_bert, write_tiny_data

        self.scratch, self.lost = scratch, []
        model = write_tiny_bert(scratch / "model")
        data = write_tiny_data(scratch / "data", train=24, validation=8, test=8)
        self.recipe = scratch / "tiny.toml"
        self.recipe.write_text(RECIPE.format(model=model.as_posix(), data=data.as_posix()))

    def run(self, *words: object, kill: Kill = None, after: float | None = None) -> tuple[int, list[str]]:
        """One command; its exit code (-9: killed), and the operations it made."""
        out = self.scratch / "operations.json"
        out.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            os._exit(self.child(words, kill, out))
        if after is not None:
            time.sleep(after)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return code, json.loads(out.read_text()) if out.exists() else []

    def child(self, words: tuple[object, ...], kill: Kill, out: Path) -> int:
        log = os.open(self.scratch / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        from adaptkit.cli.main import main

        operations = Operations(self.scratch / "work", kill).install()
        code = main([str(word) for word in words])
        seen, operations.seen = operations.seen, []
        out.write_text(json.dumps(seen))
        return code

    def train(self, work: Path, *more: object, **keys: Any) -> tuple[int, list[str]]:
        changes = [word for change in CHANGES for word in ("--set", f"train.{change}")]
        return self.run("train", self.recipe, *changes, "--runs", work / "runs", *more, **keys)

    def fresh(self, template: Path | None = None) -> Path:
        """The folder that the next trial works in, empty or a copy."""
        work = self.scratch / "work"
        shutil.rmtree(work, ignore_errors=True)
        if template is None:
            work.mkdir()
        else:
            shutil.copytree(template, work, symlinks=True)
        return work

    def check(self, what: str, right: bool, why: object = "") -> None:
        if not right:
            output = (self.scratch / "output.txt").read_text()[-600:]
            self.lost.append(f"{what}: {why}\n{output}")
            print(f"LOST {self.lost[-1]}", flush=True)


def trained(work: Path) -> dict[str, Any]:
    """What must be equal, of the one run there."""
    left = [path.name for path in work.rglob(".*") if path.suffix in (".tmp", ".old")]
    (summary,) = work.glob("runs/*/[!.]*/summary.json")
    run = summary.parent
    told = json.loads(summary.read_text())
    return {
        "adapter": (run / "artifact" / "adapter.safetensors").read_bytes(),
        "predictions": (run / "predictions" / "test.jsonl").read_bytes(),
        "log": (run / "metrics.jsonl").read_text(),
        "numbers": {key: told[key] for key in ("status", "metrics", "per_seed", "monitor")},
        "left": left,
    }


def finish(trials: Trials, work: Path, what: str, expected: dict[str, Any]) -> None:
    """Give the command again, and compare."""
    runs = list(work.glob("runs/*/[!.]*/status.json"))
    if runs and json.loads(runs[0].read_text())["status"] == "finished":
        code = 0
    else:
        code, _ = trials.train(work, *(["--resume"] if runs else []))
    trials.check(what, code == 0, f"exit code {code}")
    if code == 0:
        found = trained(work)
        trials.check(what, found == expected, [key for key in expected if found[key] != expected[key]])


def killed_training(trials: Trials, points: Callable[[int], Iterator[tuple[int, Side]]]) -> dict[str, int]:
    """Train from the start, and go on with a run that had been killed in the middle of its second epoch."""
    work = trials.fresh()
    code, operations = trials.train(work)
    trials.check("a training left alone", code == 0, code)
    expected, count = trained(work), {"train": 0, "resume": 0}
    for kill in points(len(operations)):
        code, _ = trials.train(trials.fresh(), kill=kill)
        trials.check(f"train {kill}", code == -signal.SIGKILL, f"was not killed, but ended with {code}")
        finish(trials, work, f"train, killed {kill[1]} {operations[kill[0]]}", expected)
        count["train"] += 1

    middle = next(n for n, name in enumerate(operations) if n > len(operations) // 2 and "last.safetensors" in name)
    trials.train(trials.fresh(), kill=(middle, "before"))
    template = Path(shutil.copytree(work, trials.scratch / "middle"))
    code, operations = trials.train(trials.fresh(template), "--resume")
    trials.check("a resume left alone", code == 0 and trained(work) == expected, code)
    for kill in points(len(operations)):
        trials.train(trials.fresh(template), "--resume", kill=kill)
        finish(trials, work, f"resume, killed {kill[1]} {operations[kill[0]]}", expected)
        count["resume"] += 1
    return count


def killed_at_moments(trials: Trials, moments: int, rng: random.Random) -> dict[str, int]:
    work = trials.fresh()
    began = time.monotonic()
    trials.train(work)
    whole, expected, ended = time.monotonic() - began, trained(work), 0
    for number in range(moments):
        moment = rng.uniform(0, whole)
        code, _ = trials.train(trials.fresh(), after=moment)
        ended += code == 0
        finish(trials, work, f"moment {number}, after {moment:.3f} s", expected)
    return {"moments": moments, "of them after the end": ended}


def killed_export(trials: Trials, points: Callable[[int], Iterator[tuple[int, Side]]]) -> dict[str, int]:
    """Over an export of another run: what is there is the one or the other, whole."""
    work = trials.fresh()
    trials.train(work)
    (run,) = work.glob("runs/*/[!.]*")
    words = ("export", run, "--adapter-only", "--output", work / "shared", "--force")
    trials.run(*words)
    card = work / "shared" / "README.md"
    card.write_text("older")
    older = {path.name: path.read_bytes() for path in (work / "shared").iterdir()}
    template = Path(shutil.copytree(work, trials.scratch / "exported"))
    return killed_writing(trials, "export", words, template, work / "shared", older, points)


def killed_import(trials: Trials, points: Callable[[int], Iterator[tuple[int, Side]]]) -> dict[str, int]:
    work = trials.fresh()
    trials.run("data", "synth", "mosi", work / "download", "--samples", 8)
    words = ("data", "import", "mosi", work / "download", "--force")
    trials.run(*words)
    store = work / "download" / "adaptkit"
    older = contents(store)
    template = Path(shutil.copytree(work, trials.scratch / "imported"))
    return killed_writing(trials, "import", words, template, store, older, points)


def killed_writing(
    trials: Trials,
    name: str,
    words: tuple[object, ...],
    template: Path,
    target: Path,
    older: dict[str, bytes],
    points: Callable[[int], Iterator[tuple[int, Side]]],
) -> dict[str, int]:
    work = trials.fresh(template)
    code, operations = trials.run(*words)
    trials.check(f"an {name} left alone", code == 0, code)
    newer, count, gone = contents(target), 0, 0
    for kill in points(len(operations)):
        trials.fresh(template)
        trials.run(*words, kill=kill)
        what = f"{name}, killed {kill[1]} {operations[kill[0]]}"
        there = contents(target)
        gone += not there
        trials.check(what, there in ({}, older, newer), "half of it is there")
        code, _ = trials.run(*words)
        trials.check(what, code == 0 and contents(target) == newer, f"given again it ends with {code}")
        left = [path.name for path in work.rglob(".*") if path.suffix in (".tmp", ".old")]
        trials.check(what, not left, left)
        count += 1
    return {name: count, f"{name}: nothing in the place until it was given again": gone}


def contents(folder: Path) -> dict[str, bytes]:
    """Relative path -> bytes. Of a store without the times of its files."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if "meta.json" in found:
        meta = {key: value for key, value in json.loads(found["meta.json"]).items() if key not in ("stats", "sha256")}
        found["meta.json"] = json.dumps(meta).encode()
    return found


def spaced(every: int, offset: int) -> Callable[[int], Iterator[tuple[int, Side]]]:
    """Of so many operations every n-th: with 1 both sides of each, else the sides in turn."""

    def points(operations: int) -> Iterator[tuple[int, Side]]:
        for turn, number in enumerate(range(offset % every, operations, every)):
            if every == 1 or turn % 2 == 0:
                yield number, "before"
            if every == 1 or turn % 2 == 1:
                yield number, "after"

    return points


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of the operations every n-th")
    parser.add_argument("--moments", type=int, default=100, metavar="N", help="kills at random moments")
    parser.add_argument("--seed", type=int, default=0, help="of moments, and of the first operation")
    chosen = parser.parse_args()
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    import torch

    import adaptkit.training.run  # noqa: F401 - loaded once, before forking

    torch.set_num_threads(1)
    points, rng, began = spaced(chosen.every, chosen.seed), random.Random(chosen.seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="adaptkit-chaos-") as name:
        trials = Trials(Path(name))
        figures: dict[str, Any] = {}
        for part in (
            lambda: killed_export(trials, points),
            lambda: killed_import(trials, points),
            lambda: killed_training(trials, points),
            lambda: killed_at_moments(trials, chosen.moments, rng),
        ):
            figures |= part()
            print(json.dumps(figures), file=sys.stderr, flush=True)
        figures |= {"lost": len(trials.lost), "seconds": round(time.monotonic() - began)}
    print(json.dumps(figures, indent=2))
    return 1 if trials.lost else 0


if __name__ == "__main__":
    sys.exit(main())
