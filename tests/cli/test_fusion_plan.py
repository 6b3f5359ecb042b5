"""What `plan` and `validate` say of where modalities meet and of what a recipe starts from."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Cli

JOINED = ("--set", "adapter={}", "--set", "modality.features.route=fusion")


def test_the_plan_tells_who_meets(cli: Cli, tiny_recipe: Path) -> None:
    gmu = (*JOINED, "--set", "fusion={kind='gmu', width=4}")
    told = cli("plan", str(tiny_recipe), *gmu).out
    assert "fusion: gmu of the backbone, features  200" in told
    assert "fusion 200" in told
    assert cli("plan", str(tiny_recipe), *gmu, "--json").json["parameters"]["fusion"] == 4 * 20 + 4 * 20 + 2 * 20
    assert "fusion:" not in cli("plan", str(tiny_recipe)).out


def test_validate_reads_what_a_recipe_starts_from(cli: Cli, tiny_recipe: Path, tiny_run: Path) -> None:
    started = f"init_from='{tiny_run.as_posix()}'"
    told = cli("validate", str(tiny_recipe), "--plan", "--set", started, "--json").json["checked"]
    assert told["init_from"] == str(tiny_run / "artifact")
    told = cli("validate", str(tiny_recipe), "--set", started, "--json").json["checked"]
    assert told["init_from"] == f"{tiny_run} (there; read with the plan)"
    assert "init_from" not in cli("validate", str(tiny_recipe), "--json").json["checked"]
    for words in ((), ("--plan",)):
        outcome = cli("validate", str(tiny_recipe), *words, "--set", "init_from=nowhere")
        assert outcome.code == 4
        assert "nowhere does not exist" in outcome.err


def test_parts_that_explode_are_told_with_what_to_write(cli: Cli, tiny_recipe: Path) -> None:
    """A head is as wide as what it reads unless told otherwise: 17 x 801 products make 185 million weights."""
    sets = (
        *(*JOINED, "--set", "fusion={kind='tensor'}", "--set", "modality.features.width=800"),
        *("--set", "task.answer.head.kind=mlp", "--set", "task.answer.labels=['no', 'yes']"),
    )
    wide = 17 * 801
    count = wide * wide + 3 * wide + 2 * wide + 2
    outcome = cli("plan", str(tiny_recipe), *sets, "--json")
    (note,) = outcome.json["notes"]
    assert note.startswith(f"task.answer.head has {count:,} parameters, more than the pretrained models together (")
    assert f"It reads {wide:,} numbers" in note
    assert note.endswith('write head = { kind = "mlp", hidden = 256 }.')
    assert f"note        {note}" in cli("plan", str(tiny_recipe), *sets).out
    assert cli("plan", str(tiny_recipe), *sets, "--set", "task.answer.head.hidden=256", "--json").json["notes"] == []


def test_an_adapter_larger_than_the_backbone_is_told_with_its_sizes(cli: Cli, tiny_recipe: Path) -> None:
    (note,) = cli("plan", str(tiny_recipe), "--set", "adapter.fuse.bottleneck=30000", "--json").json["notes"]
    assert note.startswith("adapter.fuse has 3,")
    assert note.endswith("Its sizes are bottleneck = 30000.")
    assert cli("plan", str(tiny_recipe), "--json").json["notes"] == []
