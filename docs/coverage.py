"""Measures which architectures adaptkit finds its way in, and writes docs/coverage.md: `make coverage`.

Every architecture that the installed libraries build from a default configuration is built on the meta device,
studied, and given a bottleneck and a LoRA. No weights, no network.

    python docs/coverage.py                                   everything; writes the page and the package's table
    python docs/coverage.py --library transformers --only "llama*"   a part; prints it and writes nothing
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from multiprocessing import get_context
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER / "coverage.md"
TABLE = FOLDER.parent / "adaptkit" / "anatomy" / "tables" / "coverage.json"
LIBRARIES = ("transformers", "timm")

# The first of these a model has is where a bottleneck goes, and where a LoRA goes.
BOTTLENECK = ("mlp.out", "block.out")
LORA = ("attn.q", "attn.qkv", "attn.o", "cross_attn.q", "mixer.in_proj", "conv.*", "attn.*", "mlp.*")


@dataclass(slots=True)
class Outcome:
    """What became of one architecture.

    Attributes:
        library, name: which one.
        found: "forward" (every stack ran without data), "tree" (some stack was read off the module tree), "path"
            (built, but no named sites), "error" (does not build).
        stacks: name -> depth.
        sites: names of its sites.
        bottleneck, lora: the site that carries one; "" where none could be inserted.
        why: first line of the error, or of the reason for what is missing.
        notes: what `study` says.
        seconds: to build and study.
    """

    library: str
    name: str
    found: str = "error"
    stacks: dict[str, int] = field(default_factory=dict)
    sites: tuple[str, ...] = ()
    bottleneck: str = ""
    lora: str = ""
    why: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def built(self) -> bool:
        return self.found != "error"

    @property
    def supported(self) -> bool:
        return bool(self.bottleneck and self.lora)


class OutOfTimeError(BaseException):
    """Not an Exception: the probe, which survives any of those, must not survive this one."""


def names_of(library: str) -> list[str]:
    """Every architecture of a library, sorted."""
    if library == "timm":
        import timm

        return sorted(timm.list_models())
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    return sorted(MODEL_MAPPING_NAMES)


def build(library: str, name: str) -> Any:
    """A skeleton in its default configuration, on the meta device."""
    import torch

    with torch.device("meta"):
        if library == "timm":
            import timm

            return timm.create_model(name, pretrained=False).to("meta")
        from transformers import AutoConfig, AutoModel

        return AutoModel.from_config(AutoConfig.for_model(name)).to("meta")


def measure(library: str, name: str, limit: int) -> Outcome:
    """Build, study and graft one architecture. Runs in a worker; never raises."""

    def out_of_time(signum: int, frame: object) -> None:
        raise OutOfTimeError(f"took longer than {limit} s")

    outcome, began = Outcome(library, name), time.monotonic()
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(limit)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _study(build(library, name), outcome)
    except (Exception, OutOfTimeError) as error:
        text = re.sub(r"/\S*/site-packages/", "", str(error) or "?")  # where it is installed says nothing
        outcome.why = f"{type(error).__name__}: {text.strip().splitlines()[0]}"
    finally:
        signal.alarm(0)
    outcome.seconds = round(time.monotonic() - began, 2)
    return outcome


def _measure(case: tuple[str, str, int]) -> Outcome:
    return measure(*case)


def _study(model: Any, outcome: Outcome) -> None:
    from adaptkit.anatomy import study

    outcome.found = "path"
    anatomy = study(model, name=outcome.name)
    outcome.notes = anatomy.notes
    outcome.stacks = {stack.name: stack.depth for stack in anatomy.stacks}
    outcome.sites = tuple(dict.fromkeys(site.full_name for site in anatomy.sites))
    if not anatomy.sites:
        outcome.why = anatomy.notes[0] if anatomy.notes else "no named sites"
        return
    outcome.found = "tree" if any("follow the module tree" in note for note in anatomy.notes) else "forward"
    outcome.bottleneck, why = _graft(model, anatomy, "bottleneck", BOTTLENECK)
    outcome.lora, other = _graft(model, anatomy, "lora", LORA)
    outcome.why = why or other


def _graft(model: Any, anatomy: Any, kind: str, wanted: Iterable[str]) -> tuple[str, str]:
    """(The first site all whose places can carry an adapter of this kind, "") or ("", why not)."""
    from adaptkit.anatomy import select
    from adaptkit.errors import SiteError
    from adaptkit.surgery import Graft, host_shape, insert, remove

    names = [site.name for site in anatomy.sites if site.is_projection or kind != "lora"]
    options = {"rank": 1} if kind == "lora" else {"bottleneck": 4}
    why = f"no site for a {kind}"
    for pattern in wanted:
        for name in dict.fromkeys(name for name in names if fnmatchcase(name, pattern)):
            try:
                sites = {site.path: site for site in select(anatomy, [name], _distinct(anatomy))}
                grafts = [
                    Graft("probe", kind, site, host_shape(model, site), options=options) for site in sites.values()
                ]
                remove(model, insert(model, grafts))
            except SiteError as error:
                why = f"{name}: {error.problems[0].message}"
            else:
                return name, ""
    return "", why


def _distinct(anatomy: Any) -> str | list[int]:
    """All layers; the first one only where layers share a module."""
    shares = any(len(set(stack.blocks)) < len(stack.blocks) for stack in anatomy.stacks)
    return [0] if shares else "all"


def measure_all(cases: list[tuple[str, str]], workers: int, limit: int, log: Callable[[str], None]) -> list[Outcome]:
    """Every case, in workers that are replaced now and then: models leave imports and caches behind."""
    outcomes = []
    with get_context("spawn").Pool(workers, maxtasksperchild=100) as pool:
        results = pool.imap(_measure, [(*case, limit) for case in cases])
        for number, outcome in enumerate(results, 1):
            outcomes.append(outcome)
            state = outcome.found if outcome.supported else f"{outcome.found}: {outcome.why}"
            log(f"[{number}/{len(cases)}] {outcome.library}/{outcome.name} {outcome.seconds:.1f} s  {state}")
    return outcomes


def page(outcomes: list[Outcome]) -> str:
    """docs/coverage.md."""
    lines = [
        "# Coverage",
        "",
        "<!-- Written by docs/coverage.py (make coverage). -->",
        "",
        "Every architecture of the installed libraries, built from its default configuration without weights.",
        "*Supported*: it has named [sites](sites.md), and a bottleneck (at `mlp.out`, else `block.out`) and a LoRA (at",
        "the attention's, mixer's, convolutions' or feed-forward's projections) can be inserted in every layer.",
        "*By a forward*: one forward on the meta device gave order, residual adds and widths; *by the tree*: some",
        "stack refuses a forward without data, so it has no `stream` and `sum` sites.",
        "",
        *_versions(),
        "",
        "| library | architectures | build | supported | of those that build | by a forward | by the tree |",
        "|---|---|---|---|---|---|---|",
    ]
    for library in dict.fromkeys(outcome.library for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.library == library]
        built = [outcome for outcome in mine if outcome.built]
        good = [outcome for outcome in built if outcome.supported]
        ways = [sum(outcome.found == way for outcome in good) for way in ("forward", "tree")]
        share = 100 * len(good) / max(1, len(built))
        lines.append(
            f"| {library} | {len(mine)} | {len(built)} | {len(good)} | {share:.1f} % | {ways[0]} | {ways[1]} |"
        )
    lines += _list("Not supported", [o for o in outcomes if o.built and not o.supported])
    lines += _list("Do not build from their default configuration", [o for o in outcomes if not o.built])
    lines += _list("By the tree", [o for o in outcomes if o.supported and o.found == "tree"])
    return "\n".join(lines) + "\n"


def _versions() -> Iterator[str]:
    from importlib.metadata import version

    yield "Measured with " + ", ".join(f"{name} {version(name)}" for name in ("torch", *LIBRARIES)) + "."


def _list(title: str, outcomes: list[Outcome]) -> list[str]:
    if not outcomes:
        return []
    lines = ["", f"## {title}", "", "| architecture | why |", "|---|---|"]
    for outcome in outcomes:
        why = outcome.why or next((note for note in outcome.notes if "module tree" in note), "")
        lines.append(f"| {outcome.library}/{outcome.name} | {why[:160].replace('|', '/')} |")
    return lines


def table(outcomes: list[Outcome]) -> str:
    """adaptkit/anatomy/tables/coverage.json: library -> name -> how it is found; one line per library."""
    found: dict[str, dict[str, str]] = {}
    for outcome in sorted(outcomes, key=lambda each: (each.library, each.name)):
        if outcome.built:
            found.setdefault(outcome.library, {})[outcome.name] = outcome.found if outcome.sites else "path"
    rows = [f"{json.dumps(library)}: {json.dumps(names, separators=(',', ':'))}" for library, names in found.items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=LIBRARIES)
    parser.add_argument("--only", metavar="GLOB", nargs="+", default=["*"], help="architectures whose name matches")
    parser.add_argument("--limit", type=int, help="the first N of them")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=120, help="longest time for one architecture")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every outcome there")
    options = parser.parse_args()
    libraries = [options.library] if options.library else list(LIBRARIES)
    cases = [
        (each, name)
        for each in libraries
        for name in names_of(each)
        if any(fnmatchcase(name, glob) for glob in options.only)
    ]
    cases = cases[: options.limit]
    outcomes = measure_all(cases, options.workers, options.seconds, lambda line: print(line, file=sys.stderr))
    if options.json:
        options.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1), encoding="utf-8")
    if (options.library, options.only, options.limit) == (None, ["*"], None):
        PAGE.write_text(page(outcomes), encoding="utf-8")
        TABLE.write_text(table(outcomes), encoding="utf-8")
    else:
        print(page(outcomes))


if __name__ == "__main__":
    main()
