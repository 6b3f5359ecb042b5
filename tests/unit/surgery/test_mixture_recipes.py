"""A recipe with LoRA in fused experts: planned, counted, trained, saved, loaded, started from and merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from adaptkit.artifact import load_artifact, merge
from adaptkit.artifact.folding import merge_run, unmerge
from adaptkit.artifact.to_peft import export_peft
from adaptkit.cli.main import main
from adaptkit.errors import ArtifactError, SiteError
from adaptkit.model.costing import cost
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe
from adaptkit.training import train
from tests.conftest import RECIPE

E, D, INNER, R = 3, 16, 24, 2
EXPERTS = """\
[adapter.tune]
kind = "lora"
at = ["mlp.experts.gate_up", "mlp.experts.down"]
rank = 2
alpha = 4.0
expect = 4
"""


@pytest.fixture(scope="module")
def mixture(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Mixtral with the tokenizer of the tiny BERT."""
    from transformers import AutoTokenizer, MixtralConfig, MixtralModel

    folder = tmp_path_factory.mktemp("models") / "tiny-mixtral"
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    config = MixtralConfig(
        vocab_size=len(tokenizer), hidden_size=D, intermediate_size=INNER, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=E, num_experts_per_tok=2, max_position_embeddings=32,
        initializer_range=0.2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    MixtralModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(mixture: Path, tiny_data: Path, tmp_path: Path) -> Path:
    text = RECIPE.format(model=mixture.as_posix(), data=tiny_data.as_posix())
    before, _, rest = text.partition("[adapter.fuse]")
    path = tmp_path / "mixture.toml"
    path.write_text(f"{before}{EXPERTS}\n{rest[rest.index('[data]') :]}".replace('route = "side"', 'route = "fusion"'))
    return path


def test_the_plan_counts_a_pair_of_factors_for_every_expert(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(load_recipe(recipe))
    up, down = E * R * (D + 2 * INNER), E * R * (INNER + D)
    assert [graft.parameters for graft in plan.grafts] == [up, down, up, down]
    assert plan.parameters.adapters == 2 * (up + down)
    assert main(["plan", str(recipe)]) == 0
    assert "mlp.experts.gate_up" in capsys.readouterr().out
    more, less = cost(plan), cost(make_plan(load_recipe(recipe, sets=["adapter.tune.rank=1"])))
    assert more.memory.gradients > less.memory.gradients


def test_inspect_shows_the_parameter(mixture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(mixture), "--json"]) == 0
    assert '"parameter":"gate_up_proj"' in capsys.readouterr().out.replace(" ", "")
    assert main(["inspect", str(mixture)]) == 0
    assert "mlp.experts.gate_up_proj" in capsys.readouterr().out


def test_trained_saved_loaded_and_merged(recipe: Path, tmp_path: Path) -> None:
    result = train(load_recipe(recipe), runs=tmp_path / "runs")
    model = load_artifact(result.artifact)
    adapter: Any = model.backbone.get_submodule("layers.1.mlp.experts").adapters["tune_down"]
    assert adapter.A.shape == (E, R, INNER)
    assert adapter.B.shape == (E, D, R)
    assert adapter.B.abs().max() > 0, "it was trained"
    samples = [{"question": "is the thing big ?", "features": [1.0, 0.0, 0.1, 1.0]}]
    before = model.predict(samples)[0]["probabilities"]
    keys = set(model.backbone.state_dict())
    merge(model)
    after = model.predict(samples)[0]["probabilities"]
    assert after == pytest.approx(before, abs=1e-5)
    assert {key for key in keys if ".adapters." not in key} == set(model.backbone.state_dict())

    with pytest.raises(ArtifactError, match="not written as PEFT's target_parameters"):
        export_peft(result.run, tmp_path / "peft")
    folded = merge_run(result.run, tmp_path / "merged")
    assert folded.changed == unmerge(tmp_path / "merged", tmp_path / "published") == 4, "two parameters in two layers"
    assert folded.difference is not None
    assert folded.difference < 1e-4

    again = load_recipe(recipe, sets=[f'init_from="{result.artifact.as_posix()}"', "train.epochs=1"])
    assert train(again, runs=tmp_path / "runs").artifact.exists()
    other = load_recipe(recipe, sets=[f'init_from="{result.artifact.as_posix()}"', "adapter.tune.alpha=8.0"])
    with pytest.raises(ArtifactError, match=r"adapter\.tune\.alpha was 4\.0 and is 8\.0"):
        train(other, runs=tmp_path / "runs")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("adapter.tune.dropout=0.1", r"adapter\.tune at mlp\.experts\.gate_up: dropout = 0\.1 cannot be had in fused"),
        ("adapter.tune.rank=17", r"rank = 17 exceeds the smaller width of the projection \(16 -> 48\)"),
        ("adapter.tune.read=stream", r'mlp\.experts\.gate_up has no place "stream" to read'),
    ],
)
def test_mistakes_are_told_by_the_plan(recipe: Path, change: str, message: str) -> None:
    with pytest.raises(SiteError, match=message) as caught:
        make_plan(load_recipe(recipe, sets=[change]))
    assert "mixture.toml" in str(caught.value)
