"""Tries every recipe end to end on synthetic data and writes docs/recipes.md: `make recipes`.

For each data set: `adaptkit data synth`, `data import`, `data check`. For each recipe: `plan`, `train` and `evaluate`
by the command line, with small backbones by `--set`; then its twin, the same recipe with all but the text
dropped (`--set data.drop=[...]`). A recipe that does not beat its twin on the planted signal fails the run.

    python docs/trial.py                          all of them; writes the page
    python docs/trial.py moviescope_gmu mosi_*    some; prints the table and writes nothing
    python docs/trial.py --work FOLDER            keep data, runs and scores there, and go on from them
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent / "recipes.md"
START, END = "<!-- measured:start -->", "<!-- measured:end -->"

MINILM: Mapping[str, Any] = {"backbone.model": "minilm", "backbone.pool": "mean", "backbone.max_tokens": 48}
FILMS = MINILM | {"train.epochs": 6, "train.batch_size": 16, "train.optimizer.lr": 3e-4}
SMALL_BERT = {
    "vocab_size": 1, "hidden_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80,
    "max_position_embeddings": 64, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
TOWERS = dict.fromkeys(("modality.audio.tower.config", "modality.vision.tower.config"), SMALL_BERT)
FEATURES: Mapping[str, Any] = {"backbone.config": SMALL_BERT}
IMAGE: Mapping[str, Any] = {"model": "timm/test_resnet", "config": {}}


@dataclass(frozen=True)
class Trial:
    """How one recipe is tried.

    Attributes:
        format, variant: of the data.
        metric: of the test split, what the recipe is about.
        drop: what the twin goes without; none for a recipe that has no twin of its own.
        changes: `--set` for small models and short training.
        first: recipes whose runs it starts from; key of the recipe -> the recipe.
        twin: another recipe that is its twin.
    """

    format: str
    metric: str
    drop: tuple[str, ...] = ()
    variant: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    first: Mapping[str, str] = field(default_factory=dict)
    twin: str = ""

    @property
    def data(self) -> str:
        return f"{self.format}-{self.variant}" if self.variant else self.format


FILM_SIDES = ("poster", "trailer", "metadata")
HALVES = {"adapter.poster.init_from": "moviescope_poster", "adapter.trailer.init_from": "moviescope_trailer"}
AFFECT: Mapping[str, Any] = {"train.epochs": 12}
FOOD: Mapping[str, Any] = FEATURES | {
    "modality.title.tower.model": "minilm",
    "modality.image.tower": IMAGE,
    "modality.title.max_tokens": 32,
    "train.precision": "fp32",
    "train.epochs": 8,
    "train.batch_size": 16,
}
EXPERTS = ("motion", "audio", "scene", "face", "ocr", "speech")
TRIALS: dict[str, Trial] = {
    "moviescope_text": Trial("moviescope", "ap_micro", changes=FILMS | {"adapter.houlsby.expect": 12}),
    "moviescope_gmu": Trial("moviescope", "ap_micro", FILM_SIDES, changes=FILMS | {"adapter.fuse.expect": 12}),
    "moviescope_five": Trial(
        "moviescope", "ap_micro", (*FILM_SIDES, "audio"), changes=FILMS | {"adapter.fuse.expect": 12}
    ),
    "moviescope_mmbt": Trial(
        "moviescope", "ap_micro", FILM_SIDES, changes=FILMS | {"train.optimizer.lr": 1e-4, "train.accumulation": 1}
    ),
    "moviescope_poster": Trial("moviescope", "ap_micro", changes=FILMS | {"adapter.poster.expect": 12}),
    "moviescope_trailer": Trial("moviescope", "ap_micro", changes=FILMS | {"adapter.trailer.expect": 12}),
    "moviescope_fusion": Trial(
        "moviescope", "ap_micro", FILM_SIDES[:2], changes=FILMS | {"adapter.fuse.expect": 12}, first=HALVES
    ),
    "mmimdb_gmu": Trial(
        "mmimdb",
        "f1_micro",
        ("poster",),
        changes=FILMS | {"adapter.fuse.expect": 12, "modality.poster.tower": IMAGE},
    ),
    "mosi_late_fusion": Trial("mosi", "mae", ("audio", "vision"), changes=AFFECT | FEATURES | TOWERS),
    "mosi_wander": Trial(
        "mosi",
        "mae",
        ("audio", "vision"),
        changes=AFFECT | FEATURES | TOWERS,
        first={"init_from": "mosi_late_fusion"},
    ),
    "mosi_bert_wander": Trial("mosi", "mae", ("audio", "vision"), "mmsa-aligned", MINILM | {"train.epochs": 5}),
    "mosei_wander": Trial(
        "mosei", "mae", ("audio", "vision"), "mmsa-aligned", MINILM | {"backbone.pool": "first", "train.epochs": 8}
    ),
    "iemocap_late_fusion": Trial(
        "iemocap", "mean_f1_weighted", ("audio", "vision"), changes=AFFECT | FEATURES | TOWERS
    ),
    "iemocap_wander": Trial(
        "iemocap",
        "mean_f1_weighted",
        ("audio", "vision"),
        changes=AFFECT | FEATURES | TOWERS,
        first={"init_from": "iemocap_late_fusion"},
    ),
    "food101_vit_bert_wander": Trial(
        "food101",
        "accuracy",
        ("image",),
        changes=MINILM
        | {"backbone.pool": "first", "train.precision": "fp32", "modality.image.tower": IMAGE}
        | {"train.epochs": 8, "train.batch_size": 16},
    ),
    "food101_fusion": Trial(
        "food101",
        "accuracy",
        ("image",),
        changes=FOOD | {"train.epochs": 24, "train.optimizer.lr": 1e-3, "train.schedule": {"name": "constant"}},
    ),
    "food101_wander": Trial("food101", "accuracy", ("image",), changes=FOOD, first={"init_from": "food101_fusion"}),
    "msrvtt_wander": Trial(
        "msrvtt",
        "q2g_r1",
        EXPERTS,
        changes=FEATURES
        | {"backbone.train": [], "modality.appearance.train": False, "modality.caption.tower.model": "minilm"}
        | {"train.epochs": 10, "train.optimizer.lr": 3e-3, "train.schedule": {"name": "constant"}},
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=["*"], metavar="GLOB")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="where data and runs go, and stay")
    options = parser.parse_args()
    names = [name for name in TRIALS if any(fnmatchcase(name, glob) for glob in options.recipes)]
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        rows = [tried(name, work) for name in with_first(names)]
    table = "\n".join(as_table(rows))
    print(table)
    if options.recipes == ["*"]:
        write(table)
    return int(any(row["verdict"] == "no" for row in rows))


def with_first(names: list[str]) -> list[str]:
    """The recipes, after those whose runs they start from."""
    order: list[str] = []
    for name in names:
        order += [each for each in (*with_first([*TRIALS[name].first.values()]), name) if each not in order]
    return order


def tried(name: str, work: Path) -> dict[str, Any]:
    """One recipe and its twin, from data to predictions."""
    trial, began = TRIALS[name], time.monotonic()
    root = data_of(trial, work)
    own = score(name, trial, work, root)
    row = {"recipe": name, "data": trial.data, "metric": trial.metric, **own, "twin": None, "verdict": ""}
    if trial.drop:
        twin = score(name, trial, work, root, dropped=trial.drop)
        better = own["value"] < twin["value"] if trial.metric == "mae" else own["value"] > twin["value"]
        row |= {"twin": twin["value"], "verdict": "yes" if better else "no"}
    print(f"{name}: {row['value']:.3f}, twin {row['twin']}, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return row


def data_of(trial: Trial, work: Path) -> Path:
    """Synthesise, import and check a data set, once."""
    root = work / "data" / trial.data
    variant = ["--variant", trial.variant] if trial.variant else []
    if not (root / "-".join(filter(None, ("adaptkit", trial.variant))) / "meta.json").is_file():
        adaptkit("data", "synth", trial.format, str(root), *variant)
        adaptkit("data", "import", trial.format, str(root), *variant)
        adaptkit("data", "check", trial.format, str(root))
    return root


def score(name: str, trial: Trial, work: Path, root: Path, dropped: tuple[str, ...] = ()) -> dict[str, Any]:
    """Plan, train and evaluate; the metric on the test split. What was measured in this folder is not done again."""
    own = f"{name}_twin" if dropped else name
    sets = {"name": own, "data.root": str(root), "train.seeds": [0], **trial.changes}
    sets |= {key: str(work / "runs" / recipe) for key, recipe in trial.first.items()}
    if dropped:
        sets["data.drop"] = list(dropped)
    words = [word for key, value in sets.items() for word in ("--set", f"{key}={toml(value)}")]
    kept = work / "scores" / f"{own}.json"
    if kept.is_file() and (known := json.loads(kept.read_text(encoding="utf-8")))["words"] == words:
        return known["score"]
    runs = ["--runs", str(work / "runs")]
    plan = adaptkit("plan", name, *words)
    run = adaptkit("train", name, *words, *runs)
    evaluated = adaptkit("evaluate", run["run"], *runs)
    found = {"value": evaluated["metrics"]["test"][trial.metric], "parameters": plan["parameters"]}
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"words": words, "score": found}), encoding="utf-8")
    return found


def adaptkit(*words: str) -> dict[str, Any]:
    """One command of ours, in this process; its JSON.

    Raises:
        SystemExit: it failed; with what it said.
    """
    from adaptkit.cli.main import main as command

    printed = io.StringIO()
    with redirect_stdout(printed):
        code = command([*words, "--json"])
    if code:
        raise SystemExit(f"adaptkit {' '.join(words)}: exit code {code}\n{printed.getvalue()}")
    return json.loads(printed.getvalue())


def toml(value: Any) -> str:
    """A value as it is written in a recipe."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


def as_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| recipe | data | trainable parameters | metric | test | text-only twin | better |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        twin = "" if row["twin"] is None else f"{row['twin']:.3f}"
        trainable = f"{row['parameters']['trainable']:,}"
        cells = (f"`{row['recipe']}`", row["data"], trainable, row["metric"], f"{row['value']:.3f}", twin)
        yield f"| {' | '.join((*cells, row['verdict']))} |"


def write(table: str) -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(f"{before}{START}\n{table}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
