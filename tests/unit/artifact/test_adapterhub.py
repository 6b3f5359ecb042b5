"""Folders of AdapterHub's `adapters`, read and written: its outputs are ours, and its files come back as they were."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaptkit.anatomy import current_path, resolve, skeleton, study
from adaptkit.artifact import convert, export_adapterhub, load_artifact, save_artifact
from adaptkit.artifact.hub_folder import CONFIG, PICKLED, TENSORS
from adaptkit.artifact.hub_places import STYLES, former_path, path_at, spot_of
from adaptkit.errors import ArtifactError
from adaptkit.model import build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import parse_recipe

GOLDENS = Path(__file__).parents[2] / "goldens" / "adapterhub"
SAMPLES = {
    "bert/seq_bn": {"bottleneck": ("bottleneck", 2)},
    "bert/double_seq_bn": {"bottleneck": ("bottleneck", 4)},
    "bert/learned": {"bottleneck": ("bottleneck", 2)},
    "bert/par_bn": {"bottleneck": ("bottleneck", 2)},
    "bert/own_rule": {"compacter": ("compacter", 2)},
    "bert/lora": {"lora": ("lora", 4)},
    "bert/ia3": {"ia3": ("ia3", 6)},
    "bert/prefix_mlp": {"prefix": ("prefix", 2)},
    "bert/mam": {"bottleneck": ("bottleneck", 2), "prefix": ("prefix", 2)},
    "bart/double_seq_bn_cross": {"bottleneck": ("bottleneck", 10)},
    "gpt2/lora": {"lora": ("lora", 8)},
    "gpt2/prefix": {"prefix": ("prefix", 1)},
    "vit/seq_bn": {"bottleneck": ("bottleneck", 2)},
}


@pytest.fixture
def backbone(tiny_bert: Path, tmp_path: Path) -> Callable[[str], str]:
    """The golden backbone of a family, with some tokenizer."""

    def of(family: str) -> str:
        folder = tmp_path / family
        folder.mkdir()
        shutil.copy(GOLDENS / family / "backbone" / "config.json", folder)
        shutil.copy(GOLDENS / family / "backbone" / "backbone.safetensors", folder / "model.safetensors")
        for file in tiny_bert.glob("tokenizer*"):
            shutil.copy(file, folder)
        return str(folder)

    return of


def outputs_of(artifact: Path, family: str) -> torch.Tensor:
    model: Any = load_artifact(artifact).backbone
    with torch.no_grad():
        return model(**load_file(GOLDENS / family / "inputs.safetensors")).last_hidden_state


def tensors_in(folder: Path) -> dict[str, torch.Tensor]:
    if (folder / TENSORS).exists():
        return load_file(folder / TENSORS)
    return torch.load(folder / PICKLED, weights_only=True)


@pytest.mark.parametrize("sample", SAMPLES)
def test_an_adapter_of_adapterhub_gives_its_outputs_here_and_goes_back_as_it_was(
    backbone: Callable[[str], str], tmp_path: Path, sample: str
) -> None:
    family, source = sample.partition("/")[0], GOLDENS / sample
    found = convert(source, tmp_path / "ours", backbone=backbone(family))
    assert (found.adapters, found.left) == (SAMPLES[sample], ())
    wanted = load_file(source / "outputs.safetensors")["last_hidden_state"]
    torch.testing.assert_close(outputs_of(tmp_path / "ours", family), wanted, rtol=1e-5, atol=1e-5)

    written = export_adapterhub(tmp_path / "ours", tmp_path / "theirs")
    assert written.difference == 0
    assert written.left == ()
    old, new = (json.loads((place / CONFIG).read_text()) for place in (source, tmp_path / "theirs"))
    before, after = tensors_in(source), tensors_in(tmp_path / "theirs")
    assert after.keys() == torch.load(tmp_path / "theirs" / PICKLED, weights_only=True).keys()
    renamed = {key.replace(f".{new['name']}.", f".{old['name']}."): value for key, value in after.items()}
    if sample == "bert/prefix_mlp":  # they go back as what they are, not as what re-parametrises them
        assert old["config"]["prefix_length"] == new["config"]["prefix_length"] == 3
        assert new["config"]["flat"] is True
    else:
        assert renamed.keys() == before.keys()
        assert all(torch.equal(renamed[key], before[key]) for key in before)
        assert _function(new["config"]) == _function(old["config"])
    again = convert(tmp_path / "theirs", tmp_path / "again", backbone=str(tmp_path / family))
    assert again.adapters == found.adapters
    assert torch.equal(outputs_of(tmp_path / "again", family), outputs_of(tmp_path / "ours", family))


def _function(config: dict[str, Any]) -> Any:
    """What of a configuration is part of the function, or of where it is."""
    if config.get("architecture") == "union":
        return [_function(part) for part in sorted(config["configs"], key=lambda each: str(each.get("architecture")))]
    start = ("init", "phm_c_init", "hypercomplex", "bottleneck_size", "reduction_factor", "phm_rank")
    return {key: value for key, value in config.items() if not key.startswith(start)}


def test_a_reduction_that_divides_nothing_is_the_width_that_it_gives() -> None:
    """32 // 5.3 = 6: the width of 'learned', of which 32 / 6 is rounded back to 6."""
    config = json.loads((GOLDENS / "bert/learned" / CONFIG).read_text())["config"]
    saved = load_file(GOLDENS / "bert/learned" / TENSORS)
    assert int(32 // config["reduction_factor"]) == 6
    assert any(value.shape == (6, 32) for value in saved.values())


@pytest.mark.parametrize("family", ["bert", "bart", "gpt2", "vit"])
def test_a_place_has_one_name_both_ways(backbone: Callable[[str], str], family: str) -> None:
    anatomy = study(skeleton(resolve(backbone(family))))
    spots = {spot_of(current_path(family, path), anatomy): path for path in _paths(anatomy)}
    assert len(spots) == len(_paths(anatomy)) > 3
    for spot, path in spots.items():
        assert spot is not None
        assert path_at(spot, anatomy) == path
    for site in anatomy.sites:
        if site.is_projection:
            assert current_path(family, former_path(family, site.path)) == site.path
    assert family in STYLES


def _paths(anatomy: Any) -> list[str]:
    from adaptkit.artifact.hub_places import Spot, branches

    stacks = [(stack.name, layer) for stack in anatomy.stacks for layer in range(stack.depth)]
    return [
        path_at(Spot(name, layer, word), anatomy) for name, layer in stacks for word in branches(anatomy, name, layer)
    ]


def test_a_rule_that_was_not_saved_is_named_and_taken_when_it_is_there(
    backbone: Callable[[str], str], tmp_path: Path
) -> None:
    folder, golden = backbone("bert"), GOLDENS / "bert/compacterpp"
    with pytest.raises(ArtifactError, match=r"shared_parameters\.NAME\.phm_rule, was not saved"):
        convert(golden, tmp_path / "ours", backbone=folder)
    source = Path(shutil.copytree(golden, tmp_path / "source"))
    rule = load_file(source / "NOT_SAVED_BY_ADAPTERS_shared_parameters.safetensors")
    save_file(load_file(source / TENSORS) | rule, source / TENSORS)
    convert(source, tmp_path / "ours", backbone=folder)
    wanted = load_file(golden / "outputs.safetensors")["last_hidden_state"]
    torch.testing.assert_close(outputs_of(tmp_path / "ours", "bert"), wanted, rtol=1e-5, atol=1e-5)
    export_adapterhub(tmp_path / "ours", tmp_path / "theirs")
    (name,) = (key for key in tensors_in(tmp_path / "theirs") if key.startswith("shared_parameters."))
    assert torch.equal(tensors_in(tmp_path / "theirs")[name], *rule.values())


def _of_a_head(folder: Path, described: dict[str, Any], tensors: dict[str, Any]) -> None:
    (folder / "head_config.json").write_text('{"name": "mood", "config": {"head_type": "classification"}}')
    for name in list(tensors):
        tensors[f"bert.{name}"] = tensors.pop(name)


def test_a_head_is_named_and_the_names_of_its_model_are_understood(
    backbone: Callable[[str], str], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(GOLDENS / "bert/seq_bn", tmp_path / "source"))
    tensors = load_file(source / TENSORS)
    _of_a_head(source, {}, tensors)
    save_file(tensors, source / TENSORS)
    found = convert(source, tmp_path / "ours", backbone=backbone("bert"))
    assert found.left == ("head mood",)
    wanted = load_file(source / "outputs.safetensors")["last_hidden_state"]
    torch.testing.assert_close(outputs_of(tmp_path / "ours", "bert"), wanted, rtol=1e-5, atol=1e-5)


def test_versions_mean_what_they_meant(backbone: Callable[[str], str], tmp_path: Path) -> None:
    """Without one "gelu" was the tanh form; before 1.1.0 a LoRA was scaled by one, whatever alpha said."""
    source = Path(shutil.copytree(GOLDENS / "bert/lora", tmp_path / "lora"))
    described = json.loads((source / CONFIG).read_text())
    assert (described["config"]["alpha"], described["config"]["r"]) == (8, 4)
    (source / CONFIG).write_text(json.dumps(described | {"version": "adapters.1.0.1"}))
    folder = backbone("bert")
    convert(source, tmp_path / "old", backbone=folder)
    assert load_artifact(tmp_path / "old").plan.recipe.adapter["lora"].options["alpha"] == 4
    source = Path(shutil.copytree(GOLDENS / "bert/seq_bn", tmp_path / "early"))
    described = json.loads((source / CONFIG).read_text())
    del described["version"]
    described["config"]["non_linearity"] = "gelu"
    (source / CONFIG).write_text(json.dumps(described))
    convert(source, tmp_path / "older", backbone=folder)
    assert load_artifact(tmp_path / "older").plan.recipe.adapter["bottleneck"].options["activation"] == "gelu_tanh"


def _key(tensors: dict[str, Any]) -> str:
    return min(tensors)


DAMAGES: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], Any], str]] = {
    "another depth": (
        lambda _, tensors: tensors.update({"encoder.layer.9.output.adapters.seq_bn.adapter_up.bias": torch.zeros(32)}),
        r"1 tensors belong nowhere in bert: encoder\.layer\.9",
    ),
    "another sort": (
        lambda _, tensors: tensors.update(
            {"encoder.layer.0.refts.seq_bn.units.0.learned_source.weight": torch.zeros(1)}
        ),
        r"1 tensors belong nowhere in BertModel: .*refts",
    ),
    "another name": (lambda told, _: told.update(name="mood"), "8 tensors belong nowhere"),
    "a gate": (lambda told, _: told["config"].update(use_gating=True), "use_gating = True is not understood"),
    "a residual": (
        lambda told, _: told["config"].update(adapter_residual_before_ln=True),
        "adapter_residual_before_ln = True is not understood",
    ),
    "an inverse": (lambda told, _: told["config"].update(inv_adapter="nice"), "inv_adapter = 'nice' is not understood"),
    "an activation": (
        lambda told, _: told["config"].update(non_linearity="mish"),
        r"no adapter of adaptkit has the tensors .*, with non_linearity = 'mish'",
    ),
    "a scale of channels": (
        lambda told, _: told["config"].update(scaling="channel"),
        "no adapter of adaptkit has the tensors .* scaling = 'channel'",
    ),
    "a placement": (
        lambda told, _: told["config"].update(residual_before_ln=False),
        "original_ln_after = True with residual_before_ln = False is another placement",
    ),
    "a branch that nobody configures": (
        lambda told, _: told["config"].update(output_adapter=False),
        "says nothing of the adapters in the stream",
    ),
    "a switch that is a word": (lambda told, _: told["config"].update(ln_before="yes"), "is not true or false"),
    "an unknown option": (lambda told, _: told["config"].update(sparsity=0.5), "sparsity = 0.5 is not understood"),
    "a lost tensor": (lambda _, tensors: tensors.pop(_key(tensors)), "has other tensors than such an adapter: down"),
    "a shape": (lambda _, tensors: tensors.update({_key(tensors): torch.zeros(7)}), r"has the shape \(7,\)"),
    "no table": (lambda told, _: told.update(config="pfeiffer"), "config = 'pfeiffer' is no table"),
    "no backbone": (lambda told, _: told.update(model_name=None), "names no backbone"),
    "no name": (lambda told, _: told.pop("name"), "does not say the adapter's name"),
    "no library": (lambda told, _: told.pop("config"), "is neither PEFT's nor AdapterHub's"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_understood_is_an_error_with_its_name(
    backbone: Callable[[str], str], tmp_path: Path, damage: str
) -> None:
    change, message = DAMAGES[damage]
    source = Path(shutil.copytree(GOLDENS / "bert/seq_bn", tmp_path / "source"))
    described, tensors = json.loads((source / CONFIG).read_text()), load_file(source / TENSORS)
    described["model_name"] = backbone("bert")
    change(described, tensors)
    (source / CONFIG).write_text(json.dumps(described))
    save_file(tensors, source / TENSORS)
    with pytest.raises(ArtifactError, match=message):
        convert(source, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_an_invertible_adapter_is_named(backbone: Callable[[str], str], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"8 tensors are of an invertible adapter: invertible_adapters\.inv"):
        convert(GOLDENS / "bert/inv", tmp_path / "ours", backbone=backbone("bert"))


def test_a_bin_is_never_run(backbone: Callable[[str], str], tmp_path: Path) -> None:
    source = Path(shutil.copytree(GOLDENS / "bert/par_bn", tmp_path / "source"))
    torch.save({"x": Path.cwd}, source / PICKLED)
    with pytest.raises(ArtifactError, match="is not a file of tensors"):
        convert(source, tmp_path / "ours", backbone=backbone("bert"))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a kind": ({"a": {"kind": "dora", "at": "attn.q"}}, r"AdapterHub has no form of a \(DoRA\)"),
    "a place": ({"a": {"kind": "bottleneck", "at": "block.out"}}, "block.out is no place of its adapters"),
    "one per task": (
        {"a": {"kind": "bottleneck", "at": "mlp.out", "per_task": "multiple"}},
        r"AdapterHub has no form of a \(PerTask\)",
    ),
    "two widths": (
        {
            "a": {"kind": "bottleneck", "at": "mlp.out", "bottleneck": 4, "layers": [0]},
            "b": {"kind": "bottleneck", "at": "mlp.out", "bottleneck": 2, "layers": [1]},
        },
        "AdapterHub has one reduction_factor for all layers of a branch",
    ),
    "one matrix of one layer": (
        {
            "a": {"kind": "lora", "at": "attn.q", "layers": [0]},
            "b": {"kind": "lora", "at": "attn.v", "layers": [1]},
        },
        "its LoRA is at the same matrices of all attentions and layers",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_folder_cannot_hold_is_refused(tiny_bert: Path, tmp_path: Path, case: str) -> None:
    adapters, message = REFUSED[case]
    document = {
        "schema": 1,
        "name": "mixed",
        "backbone": {"model": str(tiny_bert)},
        "modality": {"question": {"kind": "text", "route": "backbone"}},
        "adapter": adapters,
        "data": {"format": "jsonl"},
        "task": {name: {"kind": "classification", "labels": ["a", "b"]} for name in ("y", "z")},
    }
    artifact = save_artifact(build_model(make_plan(parse_recipe(document))), tmp_path / "artifact")
    with pytest.raises(ArtifactError, match=message):
        export_adapterhub(artifact, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()
