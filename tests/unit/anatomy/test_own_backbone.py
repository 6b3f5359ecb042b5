"""A recipe on a module that no library built: planned, trained, saved, loaded and used to predict."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adaptkit.anatomy import ModelInput, fingerprint, load, resolve, skeleton, study
from adaptkit.artifact import load_artifact, save_artifact
from adaptkit.errors import ArtifactError, RecipeError, SiteError
from adaptkit.evaluation import predict
from adaptkit.model import AdaptedModel, build_model
from adaptkit.model.costing import cost
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe, parse_recipe
from adaptkit.training import train
from tests.conftest import RECIPE

NETS = "tests.laws.zoo_own"
WORDS = 15  # of the tokenizer of tiny_bert
MORE_NETS = """
import torch
from torch import nn
from tests.laws.zoo_own import Layer, OwnTransformer, OwnConvNet

class OfVectors(nn.Module):
    adaptkit_input = {"kind": "vectors", "width": 6, "max_tokens": 9}

    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(6, 16)
        self.layers = nn.ModuleList(Layer(16, 2) for _ in range(2))

    def forward(self, values, mask):
        h = self.enter(values)
        for layer in self.layers:
            h = layer(h, mask)
        return h.mean(1)

class Tuple(OwnTransformer):
    def forward(self, ids, key_padding_mask=None):
        return super().forward(ids, None if key_padding_mask is None else ~key_padding_mask), "more"

class Pooled(OwnConvNet):
    def forward(self, image):
        return {"last_hidden_state": super().forward(image).mean((2, 3))}

class Torch(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(15, 16)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 24, batch_first=True), 2)

    def forward(self, ids, padding_mask=None):
        return self.encoder(self.embed(ids), src_key_padding_mask=padding_mask)

class Looks(OwnTransformer):
    def forward(self, tokens, mask=None):
        longest = int(mask.sum(1).max())  # a value, which a skeleton has none of
        return super().forward(tokens, mask) * (longest > 0)
"""


def tables(model: str, tiny_bert: Path | None = None, **more: Any) -> dict[str, Any]:
    text = {"question": {"kind": "text", "route": "backbone"}}
    return {
        "schema": 1,
        "name": "own",
        "backbone": {"model": model} | ({"tokenizer": str(tiny_bert)} if tiny_bert else {}) | more.get("backbone", {}),
        "modality": more.get("modality", text),
        "adapter": more.get("adapter", {"b": {"kind": "bottleneck", "at": ["mlp.out"], "bottleneck": 2}}),
        "data": {"format": "jsonl"},
        "task": {"answer": {"kind": "classification", "labels": ["no", "yes"]}},
    }


def build(folder: Path, model: str, tiny_bert: Path | None = None, **more: Any) -> AdaptedModel:
    (folder / "nets.py").write_text(MORE_NETS)
    model = f"./nets.py:{model}" if ":" not in model else model
    return build_model(make_plan(parse_recipe(tables(model, tiny_bert, **more), base=folder)), seed=3)


def batch(model: AdaptedModel, **values: list[Any]) -> dict[str, dict[str, Tensor]]:
    encoders = dict(model.named_encoders())
    return {
        name: encoders[name].collate([encoders[name].prepare(value, "") for value in given], ["1", "2"])
        for name, given in values.items()
    }


IMAGE = {"kind": "image", "route": "backbone"}
CONV = {"c": {"kind": "bottleneck", "at": ["conv.out"], "bottleneck": 2, "expect": 2}}
TEXT = {"question": ["is it big ?", "red"]}
PIXELS = {"picture": [torch.rand(3, 32, 32).numpy(), torch.rand(3, 32, 32).numpy()]}


def test_the_flow(tmp_path: Path, tiny_bert: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written to disk, trained for an epoch, saved, loaded: predictions are equal to the bit."""
    recipe = tmp_path / "own.toml"
    recipe.write_text(RECIPE.format(model=f"{NETS}:OwnTransformer", data=tiny_data.as_posix()))
    config = f"backbone.config={{words={WORDS}, width=16, heads=2}}"
    changes = [config, f"backbone.tokenizer={tiny_bert}", "adapter.fuse.expect=2", "train.epochs=1"]
    plan = make_plan(load_recipe(recipe, changes))
    assert plan.parameters.backbone == sum(p.numel() for p in skeleton(plan.ref).parameters())
    assert cost(plan).flops.step > cost(plan).flops.forward > 0
    run = train(load_recipe(recipe, changes), runs=tmp_path / "runs").run
    described = json.loads((run / "artifact" / "adapter.json").read_text())
    assert described["base"]["id"] == f"{NETS}:OwnTransformer"
    assert described["base"]["fingerprint"] == fingerprint(load(plan.ref))
    assert not list((run / "artifact").glob("*.py"))
    model, again = (load_artifact(run, run_code=True) for _ in range(2))
    given = batch(model, **TEXT, features=[[0.0, 1.0, 0.1, 1.0], [1.0, 0.0, 0.2, 1.0]])
    with torch.no_grad():
        assert torch.equal(model(given)["answer"], again(given)["answer"])
    with pytest.raises(ArtifactError, match="would run now"):
        load_artifact(run)
    monkeypatch.setenv("ADAPTKIT_RUN_CODE", "1")
    outputs = [tmp_path / f"{number}.jsonl" for number in (1, 2)]
    for output in outputs:
        assert predict(run, tiny_data / "test.jsonl", output) == 16
    assert outputs[0].read_text() == outputs[1].read_text()


@pytest.mark.parametrize("name", ["OwnConvNet", "Pooled"])
def test_a_convolutional_network(name: str, tmp_path: Path) -> None:
    """It says the size of its image; its maps, or the vector it pools them to, are what the head reads."""
    model = build(tmp_path, name, modality={"picture": IMAGE}, adapter=CONV)
    assert (model.plan.width, model.plan.pool) == (16, "mean")
    inputs = batch(model, **PIXELS)
    save_artifact(model, tmp_path / "artifact")
    again = load_artifact(tmp_path / "artifact", base=tmp_path, run_code=True)
    with torch.no_grad():
        assert torch.equal(model(inputs)["answer"], again(inputs)["answer"])


@pytest.mark.parametrize("name", ["Tuple", "Torch", "Looks"])
def test_other_forwards(name: str, tmp_path: Path, tiny_bert: Path) -> None:
    """A tuple, torch's own layers with the mask the other way round, a forward that looks at values."""
    model = build(tmp_path, name, tiny_bert, backbone={"config": {"words": WORDS} if name != "Torch" else {}})
    both, alone = batch(model, **TEXT), batch(model, question=["red", "red"])
    with torch.no_grad():
        torch.testing.assert_close(model(both)["answer"][1], model(alone)["answer"][1])  # padding does not count
    assert cost(model.plan).flops.step > 0


def test_adapters_act_where_torch_has_a_faster_way(tmp_path: Path, tiny_bert: Path) -> None:
    """In evaluation torch's encoder goes past its layers where inputs are masked, and past hooks in them."""
    model = build(tmp_path, "Torch", tiny_bert)
    given = batch(model, **TEXT)
    with torch.no_grad():
        before = model(given)["answer"]
        for name, parameter in model.backbone.named_parameters():
            if ".adapters." in name:
                parameter.add_(1.0)
        assert not torch.allclose(model(given)["answer"], before)


def test_vectors_go_in_as_they_are_projected(tmp_path: Path) -> None:
    """Route "tokens": one linear layer from the modality's width to the model's; one vector comes out."""
    sound = {"kind": "features", "width": 3, "max_tokens": 5, "route": "tokens", "missing": "zero"}
    model = build(tmp_path, "OfVectors", modality={"sound": sound})
    assert model.projections["sound"].weight.shape == (6, 3)
    inputs = batch(model, sound=[[[0.1, 0.2, 0.3]] * 4, None])
    with torch.no_grad():
        assert model(inputs)["answer"].isfinite().all()
    with pytest.raises(SiteError, match="10 tokens of modalities"):
        build(tmp_path, "OfVectors", modality={"sound": sound | {"max_tokens": 10}})


def test_a_tower(tmp_path: Path) -> None:
    """What is no library's may be the tower of a modality, and have adapters of its own."""
    picture = {"kind": "image", "route": "side", "tower": {"model": "./nets.py:OwnConvNet"}}
    adapter = {
        "c": {"kind": "bottleneck", "at": ["picture.conv.out"], "bottleneck": 2},
        "g": {"kind": "gmu", "at": ["mlp.out"], "sides": ["picture"], "bottleneck": 2},
    }
    sound = {"kind": "features", "width": 3, "max_tokens": 5, "route": "tokens"}
    model = build(tmp_path, "OfVectors", modality={"sound": sound, "picture": picture}, adapter=adapter)
    inputs = batch(model, sound=[[[0.1, 0.2, 0.3]]] * 2, **PIXELS)
    save_artifact(model, tmp_path / "artifact")
    with pytest.raises(ArtifactError, match="would run now"):
        load_artifact(tmp_path / "artifact", base=tmp_path)
    again = load_artifact(tmp_path / "artifact", base=tmp_path, run_code=True)
    with torch.no_grad():
        assert torch.equal(model(inputs)["answer"], again(inputs)["answer"])


def test_an_artifact_finds_the_file_that_its_recipe_named(tmp_path: Path, tiny_bert: Path) -> None:
    """From another folder: a local model is where it was."""
    model = build(tmp_path, "OwnTransformer", tiny_bert, backbone={"config": {"words": WORDS}})
    save_artifact(model, tmp_path / "artifact")
    (tmp_path / "elsewhere").mkdir()
    again = load_artifact(tmp_path / "artifact", base=tmp_path / "elsewhere", run_code=True)
    assert fingerprint(again.backbone) == fingerprint(model.backbone)


def test_gradient_checkpointing_needs_a_way(tmp_path: Path, tiny_bert: Path) -> None:
    model = build(tmp_path, "OwnTransformer", tiny_bert, backbone={"config": {"words": WORDS}})
    with pytest.raises(SiteError, match="gradient_checkpointing = false"):
        model.enable_gradient_checkpointing()


def test_the_sites_of_a_skeleton_are_those_of_the_model(tmp_path: Path) -> None:
    ref = resolve(f"{NETS}:OwnTransformer")
    assert study(skeleton(ref)) == study(load(ref))
    names = {site.name for site in study(skeleton(ref)).sites if site.layer == 1}
    assert names >= {"attn.q", "attn.k", "attn.v", "attn.o", "attn.in", "attn.out", "mlp.up", "mlp.down", "mlp.sum"}


MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "tokenizer": ({"model": f"{NETS}:OwnTransformer"}, {}, "has no tokenizer to read text with"),
    "key": (
        {"model": f"{NETS}:OwnTransformer", "config": {"widht": 8}},
        {},
        "takes no 'widht'. Did you mean \"width\"?",
    ),
    "kind": ({"model": f"{NETS}:OwnTransformer"}, {"picture": IMAGE}, "reads text, and modality.picture is image"),
    "tokens": (
        {"model": f"{NETS}:OwnTransformer"},
        {"sound": {"kind": "features", "width": 3, "max_tokens": 2, "route": "tokens"}},
        "takes inputs_embeds in its place",
    ),
    "unknown": ({"model": "torch.nn:Linear", "config": {"in_features": 2, "out_features": 2}}, {}, "is not known"),
}


@pytest.mark.parametrize(("backbone", "modality", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_told_by_the_plan(backbone: dict[str, Any], modality: dict[str, Any], told: str) -> None:
    more = {"modality": modality} if modality else {}
    with pytest.raises(RecipeError) as caught:
        make_plan(parse_recipe(tables("", backbone=backbone, **more)))
    assert told in str(caught.value)
    assert caught.value.code == 3


def test_the_documented_example(tmp_path: Path) -> None:
    """docs/backbones.md: the module and its recipe, and every key of `adaptkit_input`."""
    page = (Path(__file__).parents[3] / "docs" / "backbones.md").read_text()
    for language, name in (("python nets.py", "nets.py"), ("toml nets", "own.toml")):
        (block,) = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
        (tmp_path / name).write_text(block)
    plan = make_plan(load_recipe(tmp_path / "own.toml"))
    assert (plan.width, plan.anatomy.stacks[0].depth, plan.spec.max_tokens) == (48, 3, 128)
    assert all(f"`{field.name}`" in page for field in fields(ModelInput))


def test_a_mistake_stands_at_its_line(tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        'schema = 1\nname = "own"\n[backbone]\nmodel = "nowhere.nets:build"\n[modality.t]\nkind = "text"\n'
        'route = "backbone"\n[data]\nformat = "jsonl"\n[task.y]\nkind = "classification"\nlabels = ["a", "b"]\n'
    )
    with pytest.raises(RecipeError, match=r"own\.toml:4  .*no module 'nowhere'"):
        make_plan(load_recipe(recipe))
