"""The commands on real input: a tiny BERT, a tiny data set, a run trained on them."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_version(cli: Cli) -> None:
    assert cli("version").out == cli("--version").out
    assert set(cli("version", "--json").json) == {"ok", "version", "python"}


LISTS = ["models", "adapters", "modalities", "sites", "tasks", "metrics", "formats", "benchmarks", "heads", "recipes"]


@pytest.mark.parametrize("kind", LISTS)
def test_list(cli: Cli, kind: str) -> None:
    items = cli("list", kind, "--json").json["items"]
    assert items
    assert all(item["name"] for item in items)
    text = cli("list", kind).out
    assert all(item["name"] in text for item in items)
    assert "…" not in text


def test_list_filter(cli: Cli) -> None:
    names = [item["name"] for item in cli("list", "models", "--filter", "BERT", "--json").json["items"]]
    assert "bert-base" in names
    assert "gpt2" not in names
    assert cli("list", "models", "--filter", "zzz").code == 0


def test_list_models_says_how_the_sites_of_each_are_known(cli: Cli) -> None:
    """Short names first, then every model of both libraries; the name is the first word of its line, uncut."""
    items = cli("list", "models", "--json").json["items"]
    assert items[0]["name"] == "bert-base"
    assert {item["sites"] for item in items} <= {"laws tested", "detected", "by path only", "-"}
    assert sum(item["name"].startswith("timm/") for item in items) > 1000
    lines = cli("list", "models", "--filter", "swin_tiny").out.splitlines()
    (line,) = [line for line in lines if line.startswith("timm/swin_tiny_patch4_window7_224 ")]
    assert "detected" in line or "laws tested" in line


def test_a_filter_that_finds_nothing_is_told_what_is_near(cli: Cli) -> None:
    assert "Did you mean swin" in cli("list", "models", "--filter", "swinn").out
    assert cli("list", "models", "--filter", "qqqqqq").out.strip() == "nothing in models contains 'qqqqqq'."


def test_schema(cli: Cli) -> None:
    document = json.loads(cli("schema").out)
    assert document == cli("schema", "--json").json["schema"]
    assert "$schema" in document


def test_init_writes_a_recipe_that_is_valid(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cli("init", "mine", "--from", "quickstart_wander", "--json")
    assert outcome.json["path"] == "mine.toml"
    text = (tmp_path / "mine.toml").read_text()
    assert text.startswith("#")
    assert 'name = "mine"' in text
    assert cli("plan", "mine.toml").code == 0


def test_inspect_bert_base(cli: Cli) -> None:
    document = cli("inspect", "bert-base", "--json").json
    assert document["model"] == "google-bert/bert-base-uncased"
    assert (document["family"], document["layers"], document["parameters"]) == ("bert", 12, 109_482_240)
    outs = [site for site in document["sites"] if site["site"] == "mlp.out"]
    assert [site["layer"] for site in outs] == list(range(12))
    assert (outs[3]["path"], outs[3]["width"]) == ("encoder.layer.3.output.dense", 768)
    text = cli("inspect", "bert-base").out
    assert "bert-base is short for google-bert/bert-base-uncased" in text
    assert "layer.0-11: BertLayer" in text
    assert "encoder.layer.{0-11}.output.dense" in text


@pytest.mark.parametrize("columns", [80, 120])
def test_inspect_and_plan_fit_the_window(cli: Cli, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in (["inspect", "bert-base"], ["plan", "quickstart"], ["list", "adapters"]):
        text = cli(*words).out
        assert max(map(len, text.splitlines())) <= columns
        assert "…" not in text
        assert "\x1b" not in text


def test_validate(cli: Cli, tiny_recipe: Path) -> None:
    outcome = cli("validate", tiny_recipe)
    assert (outcome.code, outcome.err) == (0, "")
    assert [line.partition("  ")[0] for line in outcome.out.splitlines()] == ["ok"] * 4 + ["--"]
    assert f"adaptkit plan {tiny_recipe}" in outcome.out
    document = cli("validate", tiny_recipe, "--json").json
    assert set(document["checked"]) == {"schema", "models", "sites", "data"}
    assert document["planned"] is False


def test_validate_with_the_plan(cli: Cli, tiny_recipe: Path) -> None:
    outcome = cli("validate", tiny_recipe, "--plan")
    assert (outcome.code, outcome.err) == (0, "")
    assert [line.partition("  ")[0] for line in outcome.out.splitlines()] == ["ok"] * 3
    document = cli("validate", tiny_recipe, "--plan", "--json").json
    assert set(document["checked"]) == {"schema", "sites", "data"}
    assert document["planned"] is True


def test_plan_json(cli: Cli, tiny_recipe: Path) -> None:
    document = cli("plan", tiny_recipe, "--json").json
    assert {"grafts", "unfrozen", "parameters", "flops", "memory"} <= set(document)
    assert {"adapter", "kind", "site", "layer", "path", "parameters"} <= set(document["grafts"][0])
    counts = document["parameters"]
    assert counts["total"] == sum(counts[part] for part in ("backbone", "adapters", "encoders", "heads"))


def test_plan_is_a_diff(cli: Cli, tiny_recipe: Path) -> None:
    text = cli("plan", tiny_recipe, "--set", 'backbone.train=["norm"]', "--set", 'adapter.fuse.layers="last"').out
    grafts = [line for line in text.splitlines() if line.startswith("+")]
    moving = [line for line in text.splitlines() if line.startswith("~")]
    assert len(grafts) == 1
    assert "fuse: gmu at mlp.out" in grafts[0]
    assert len(moving) == 5  # of the embeddings, and two in each of two unlike layers


def test_plan_against(cli: Cli, tiny_recipe: Path) -> None:
    change = ["--set", 'adapter.fuse.layers="last"', "--against", tiny_recipe]
    lines = cli("plan", tiny_recipe, *change).out.splitlines()
    assert any(line.startswith("- fuse: gmu at mlp.out, layers 0:") for line in lines)
    document = cli("plan", tiny_recipe, *change, "--json").json["against"]
    assert [graft["layer"] for graft in document["removed"]] == [0]
    assert document["added"] == []
    before, after = document["parameters"]["adapters"]
    assert before == 2 * after


def test_plan_against_a_run(cli: Cli, tiny_recipe: Path, tiny_run: Path) -> None:
    assert "the same grafts" in cli("plan", tiny_recipe, "--against", tiny_run).out
    outcome = cli("plan", tiny_recipe, "--against", tiny_run / "artifact")
    assert (outcome.code, "plan.json" in outcome.err) == (4, True)


@pytest.fixture
def runs(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the runs folder that a test may write into."""
    return shutil.copytree(tiny_run.parents[1], tmp_path / "runs")


def test_runs(cli: Cli, runs: Path, tmp_path: Path) -> None:
    (row,) = cli("runs", "--runs", runs, "--json").json["runs"]
    assert (row["name"], row["status"]) == ("tiny", "finished")
    assert row["run"] in cli("runs", "--runs", runs).out.splitlines()[1]  # whole, to be copied
    assert cli("runs", "--runs", tmp_path / "none").code == 0


def test_inspect_run_and_artifact(cli: Cli, tiny_run: Path) -> None:
    for what in (tiny_run, tiny_run / "artifact"):
        assert cli("inspect", what, "--json").json["layers"] == 2


def test_evaluate_takes_the_newest_run_and_says_so(cli: Cli, runs: Path) -> None:
    outcome = cli("evaluate", "--runs", runs, "--json")
    assert str(runs) in outcome.err
    document = outcome.json
    assert set(document["metrics"]) == {"validation", "test"}
    assert "accuracy" in document["metrics"]["test"]
    assert "ablations" in document


def test_evaluate_wrong_split(cli: Cli, tiny_run: Path) -> None:
    outcome = cli("evaluate", tiny_run, "--split", "tset")
    assert (outcome.code, '"test"' in outcome.err) == (2, True)


def test_no_finished_run(cli: Cli, tmp_path: Path) -> None:
    for command in (["evaluate"], ["export", "--adapter-only"]):
        outcome = cli(*command, "--runs", tmp_path)
        assert (outcome.code, outcome.out) == (4, "")


def test_export(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    words = ["export", tiny_run, "--adapter-only", "--output", target]
    document = cli(*words, "--json").json
    assert document["artifact"] == str(target)
    assert set(document["files"]) == {path.name for path in target.iterdir()}
    assert cli(*words).code == 2
    assert cli(*words, "--force").code == 0
    assert cli("evaluate", target, "--split", "validation").code in (0, 4)  # its data may lie elsewhere


def test_corrupt_artifact(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_run / "artifact", tmp_path / "artifact")
    tensors = folder / "adapter.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-10])
    for words in (["evaluate", folder], ["export", folder, "--adapter-only", "--output", tmp_path / "out"]):
        outcome = cli(*words)
        assert (outcome.code, "adapter.safetensors" in outcome.err) == (4, True)
    assert not (tmp_path / "out").exists()


def test_train(cli: Cli, tiny_recipe: Path, tmp_path: Path) -> None:
    outcome = cli("train", tiny_recipe, "--set", "train.epochs=1", "--seed", "3", "--runs", tmp_path / "runs", "--json")
    document = outcome.json
    assert {"run", "artifact", "metrics", "parameters", "seconds"} <= set(document)
    assert {"validation", "test"} <= set(document["metrics"])
    assert Path(document["artifact"]).is_dir()
    assert "seed 3" in outcome.err
    assert "+ fuse: gmu at mlp.out" in outcome.err


def test_train_shows_where_the_artifact_lies(cli: Cli, tiny_recipe: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    text = cli("train", tiny_recipe, "--set", "train.epochs=1", "--set", "train.seeds=[0,1]", "--runs", runs).out
    assert "accuracy" in text
    assert "±" in text
    assert str(runs) in text
    assert "adaptkit export --adapter-only" in text


def test_resume_without_anything_to_resume(cli: Cli, tiny_recipe: Path, tmp_path: Path) -> None:
    assert cli("train", tiny_recipe, "--resume", "--runs", tmp_path).code == 4


def test_diverging_training(cli: Cli, tiny_recipe: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    outcome = cli("train", tiny_recipe, "--set", "train.optimizer={name='sgd', lr=1e6}", "--runs", runs)
    assert (outcome.code, outcome.out) == (8, "")
    assert cli("runs", "--runs", runs, "--json").json["runs"][0]["status"] == "diverged"


def test_doctor(cli: Cli) -> None:
    outcome = cli("doctor", "--json")
    document = outcome.json
    names = {check["name"] for check in document["checks"]}
    assert {"python", "torch", "transformers", "timm", "device", "cores", "quickstart model"} <= names
    failed = [check for check in document["checks"] if check["status"] == "fail"]
    assert outcome.code == (7 if failed else 0)


def test_doctor_fails_with_7(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptkit.cli.environment.requirements", lambda: ["no-such-package-anywhere>=1"])
    document = cli("doctor", "--json").json
    assert (document["ok"], document["code"]) == (False, 7)
    assert "pip install" in document["errors"][0]["hint"]


def test_resume_by_run_folder(cli: Cli, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted, then continued by naming the run: `--set` and the recipe's place are remembered."""
    runs, change = tmp_path / "runs", ["--set", "train.epochs=3"]
    stop_in_epoch(monkeypatch, 2)
    outcome = cli("train", tiny_recipe, *change, "--runs", runs)
    assert (outcome.code, "--resume" in outcome.err) == (130, True)
    monkeypatch.undo()
    (row,) = cli("runs", "--runs", runs, "--json").json["runs"]
    assert row["status"] == "interrupted"
    assert cli("train", row["run"], "--resume", "--json").json["run"] == row["run"]
    assert cli("train", row["run"], "--resume").code == 4  # it is finished now
    assert cli("train", tmp_path, "--resume").code == 4  # not a run


def stop_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Ctrl-C at the first step of an epoch."""
    from adaptkit.training import PlainReporter

    told = PlainReporter.step_done

    def step_done(self: PlainReporter, event: object) -> None:
        told(self, event)  # type: ignore[arg-type]
        if event.epoch == epoch:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(PlainReporter, "step_done", step_done)


def test_evaluate_robustness(cli: Cli, tiny_run: Path) -> None:
    outcome = cli("evaluate", tiny_run, "--split", "test", "--robustness", "all", "--rates", "0,0.5,1", "--json")
    rows = outcome.json["robustness"]
    assert [(row["dropped"], row["rate"]) for row in rows] == [(["features"], rate) for rate in (0, 0.5, 1)]
    assert rows[0]["metrics"] == outcome.json["metrics"]["test"]
    shown = cli("evaluate", tiny_run, "--split", "test", "--robustness", "features", "--rates", "0,1")
    title, row = (line.split() for line in shown.out.splitlines() if "absent" in line or line.startswith("test "))
    assert title == ["split", "absent", "metric", "in", "0", "in", "1"]
    assert row[:3] == ["test", "features", "accuracy"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--rates", "0,1"], "--rates belongs to --robustness"),
        (["--robustness", "all", "--rates", "0,half"], "are no numbers"),
        (["--robustness", "all", "--rates", "2"], "no share of the samples"),
        (["--robustness", "all", "--drop", "features"], "Choose one of them"),
    ],
)
def test_evaluate_robustness_that_makes_no_sense(cli: Cli, tiny_run: Path, words: list[str], expected: str) -> None:
    outcome = cli("evaluate", tiny_run, *words)
    assert outcome.code == 2
    assert expected in outcome.err


def test_list_metrics_says_which_conventions_add_one(cli: Cli) -> None:
    rows = {row["name"]: row for row in cli("list", "metrics", "--json").json["items"]}
    assert rows["acc2_non0"]["tasks"] == "regression (mosi)"
    assert rows["ece"]["better"] == "lower"
