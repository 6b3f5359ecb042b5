"""An artifact belongs to its models, by weights, configuration, tokenizer and normalisation, wherever they lie."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adaptkit.anatomy import configuration, load, resolve, tokenizer, tokenizer_identity
from adaptkit.anatomy.loading import timm_models
from adaptkit.artifact import load_artifact, save_artifact
from adaptkit.artifact.identity import differences
from adaptkit.artifact.initial import initialise, sources
from adaptkit.errors import ArtifactError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe, parse_recipe
from tests.fuzz.artifacts import describe


@pytest.fixture
def base(tiny_bert: Path, tmp_path: Path) -> Path:
    """A backbone that may be edited."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "base"))


@pytest.fixture
def artifact(base: Path, tiny_recipe: Path, tmp_path: Path) -> Path:
    """Of an adapter in it."""
    plan = make_plan(load_recipe(tiny_recipe, [f"backbone.model='{base.as_posix()}'"]))
    return save_artifact(build_model(plan), tmp_path / "artifact")


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def configure(**values: Any) -> Callable[[Path], None]:
    return lambda base: edit(base / "config.json", lambda content: content.update(values))


def exchange_words(base: Path) -> None:
    """ "red" and "blue" mean each other from now on."""

    def change(content: dict[str, Any]) -> None:
        words = content["model"]["vocab"]
        words["red"], words["blue"] = words["blue"], words["red"]

    edit(base / "tokenizer.json", change)


def another_word(base: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["model"]["vocab"]["green"] = content["model"]["vocab"].pop("red")

    edit(base / "tokenizer.json", change)


def keep_case(base: Path) -> None:
    edit(base / "tokenizer.json", lambda content: content["normalizer"].update(lowercase=False))
    edit(base / "tokenizer_config.json", lambda content: content.update(do_lower_case=False))


EDITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "activation": (configure(hidden_act="relu"), r'another configuration: hidden_act was "gelu" and is "relu"'),
    "heads": (configure(num_attention_heads=4), "num_attention_heads was 2 and is 4"),
    "epsilon": (configure(layer_norm_eps=1e-3), "layer_norm_eps was 1e-12 and is 0.001"),
    "two": (configure(hidden_act="relu", num_attention_heads=4), r"hidden_act was .*; num_attention_heads was"),
    "words exchanged": (exchange_words, "other inputs of question: tokenizer.vocabulary is another"),
    "another word": (another_word, "tokenizer.vocabulary is another"),
    "case": (keep_case, "tokenizer.encodings is another"),
}


@pytest.mark.parametrize("name", EDITS)
def test_the_same_weights_read_or_computed_otherwise_are_refused(
    base: Path, artifact: Path, tiny_recipe: Path, name: str
) -> None:
    change, message = EDITS[name]
    load_artifact(artifact)
    change(base)
    with pytest.raises(ArtifactError, match=message) as caught:
        load_artifact(artifact)
    assert caught.value.problems[0].where == str(artifact)
    assert "transformers" in caught.value.problems[0].hint
    source = f"adapter.fuse.init_from='{artifact.as_posix()}'"
    plan = make_plan(load_recipe(tiny_recipe, [f"backbone.model='{base.as_posix()}'", source]))
    with pytest.raises(ArtifactError, match=message):
        initialise(build_model(plan), sources(plan))


def test_versions_and_places_are_not_identity(base: Path, artifact: Path, tmp_path: Path) -> None:
    """Another version of transformers writes these, and knows keys of its own."""
    configure(
        transformers_version="4.0.0",
        _name_or_path="/somewhere/else",
        torch_dtype="float32",
        architectures=["BertForMaskedLM"],
        id2label={"0": "no", "1": "yes", "2": "maybe"},
        use_cache=False,
        of_a_later_version=True,
    )(base)
    edit(base / "tokenizer_config.json", lambda content: content.update(name_or_path="/x", model_max_length=9))
    load_artifact(artifact)
    moved = base.rename(tmp_path / "moved")
    described = json.loads((artifact / "adapter.json").read_text())["base"]["config"]
    assert str(tmp_path) not in json.dumps(described)
    assert configuration(load(resolve(moved.as_posix()), dropout="off")) == {**described, "of_a_later_version": True}


def test_keys_of_one_version_only_are_not_compared() -> None:
    then = {"act": "gelu", "rope_theta": 1.0, "text": {"act": "gelu", "old": 1}}
    now = {"act": "gelu", "rope_parameters": {}, "text": {"act": "relu", "new": 1}}
    assert list(differences(then, now)) == ['text.act was "gelu" and is "relu"']
    assert list(differences({"eps": 1}, {"eps": 1.0})) == []


def test_a_tokenizer_is_known_whatever_it_was_used_for(tiny_bert: Path) -> None:
    """Cutting and padding leave traces in a fast tokenizer, which are not identity."""
    reader = tokenizer(resolve(tiny_bert.as_posix()))
    before = tokenizer_identity(reader)
    reader(["red", "a big thing"], padding=True, truncation=True, max_length=4)
    reader.truncation_side = "left"
    assert tokenizer_identity(reader) == before
    assert before["words"] == 15
    assert before["special_tokens"]["cls_token"] == "[CLS]"


@pytest.mark.parametrize("kind", ["merges", "scores"])
def test_merges_and_scores_are_part_of_a_tokenizer(kind: str) -> None:
    """No vocabulary tells them, and a sample of words need not."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    def identity(changed: bool) -> dict[str, Any]:
        words = {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "ba": 4}
        merges = [("b", "a"), ("a", "b")] if changed else [("a", "b"), ("b", "a")]
        scores = [(word, -2.0 if changed and word == "ab" else -1.0) for word in words]
        model: Any = models.BPE(words, merges) if kind == "merges" else models.Unigram(scores, 0)
        return tokenizer_identity(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), pad_token="<unk>"))

    assert identity(False) == identity(False)
    assert [key for key, value in identity(True).items() if value != identity(False)[key]][-1] == "rules"


def films(tiny_bert: Path, **data: Any) -> AdaptedModel:
    """Texts and posters, which a tower of timm reads; labels in the recipe; a number as well."""
    tower = {"model": "timm/test_vit", "config": {}}
    document = {
        "schema": 1,
        "name": "films",
        "backbone": {"model": tiny_bert.as_posix()},
        "modality": {
            "plot": {"kind": "text", "route": "backbone"},
            "poster": {"kind": "image", "route": "side", "tower": tower, "missing": "zero"},
        },
        "adapter": {"fuse": {"kind": "gmu", "at": ["mlp.out"], "sides": ["poster"], "bottleneck": 2}},
        "data": {"format": "jsonl", "root": "nowhere", **data},
        "task": {"good": {"kind": "classification", "labels": ["no", "yes"]}, "score": {"kind": "regression"}},
    }
    return build_model(make_plan(parse_recipe(document)))


def test_the_normalisation_of_images_belongs_to_the_artifact(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of timm brings mean and standard deviation with it, and another version of timm others."""
    artifact = save_artifact(films(tiny_bert), tmp_path / "films")
    load_artifact(artifact)
    unread = save_artifact(films(tiny_bert, drop=["poster"]), tmp_path / "unread")
    known = timm_models.resolve_data_config
    monkeypatch.setattr(timm_models, "resolve_data_config", lambda *a, **k: {**known(*a, **k), "mean": (0.1, 0.2, 0.3)})
    with pytest.raises(ArtifactError, match=r"made with other inputs of poster: mean was .* and is \[0.1, 0.2, 0.3\]"):
        load_artifact(artifact)
    load_artifact(unread)  # of an image that is not read nothing depends


DISAGREEMENTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "labels of the recipe": (
        lambda content: content["labels"]["good"].reverse(),
        r"labels\.good: says \['yes', 'no'\]",
    ),
    "a label of a number": (lambda content: content["labels"].update(score=["a"]), "labels: says"),
    "no tower": (
        lambda content: content["towers"].clear(),
        r"towers: says \[\], and the recipe in it says \['poster'\]",
    ),
    "another tower": (
        lambda content: content["towers"]["poster"].update(fingerprint=f"sha256:{'0' * 64}"),
        "belongs to another tower of poster: the weights here",
    ),
    "no inputs": (lambda content: content.pop("inputs"), "inputs: is missing"),
    "another library": (lambda content: content["base"].update(library="keras"), r"base\.library: should be 'transf"),
    "half a fingerprint": (
        lambda content: content["base"].update(fingerprint="sha256:00"),
        r"base\.fingerprint: should be a SHA-256",
    ),
    "a list of a configuration": (
        lambda content: content["base"].update(config=[]),
        r"base\.config: should be an object",
    ),
    "format 0": (lambda content: content.update(format=0), "has no format number"),
    "a negative shape": (lambda content: content["shapes"].update(a=[-1]), r"shapes\.a\.0: should be 0 or more"),
}


@pytest.fixture(scope="module")
def whole(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_artifact(films(tiny_bert), tmp_path_factory.mktemp("films") / "films")


@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_what_is_said_twice_must_agree(whole: Path, tmp_path: Path, name: str) -> None:
    """Under a right hash, as another program might write it."""
    artifact = Path(shutil.copytree(whole, tmp_path / "films"))
    change, message = DISAGREEMENTS[name]
    describe(artifact, change)
    with pytest.raises(ArtifactError, match=message):
        load_artifact(artifact)


def test_a_tower_of_another_configuration_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_bert, tmp_path / "tower"))
    document = {
        "schema": 1,
        "name": "two",
        "backbone": {"model": tiny_bert.as_posix()},
        "modality": {
            "plot": {"kind": "text", "route": "backbone"},
            "review": {"kind": "text", "route": "side", "tower": {"model": base.as_posix()}},
        },
        "adapter": {"fuse": {"kind": "gmu", "at": ["mlp.out"], "sides": ["review"], "bottleneck": 2}},
        "data": {"format": "jsonl", "root": "nowhere"},
        "task": {"good": {"kind": "classification", "labels": ["no", "yes"]}},
    }
    artifact = save_artifact(build_model(make_plan(parse_recipe(document))), tmp_path / "two")
    load_artifact(artifact)
    configure(hidden_act="relu")(base)
    with pytest.raises(ArtifactError, match=r"another tower of review.*configuration: hidden_act was .*relu"):
        load_artifact(artifact)
    configure(hidden_act="gelu")(base)
    exchange_words(base)
    with pytest.raises(ArtifactError, match=r"other inputs of review: tokenizer\.vocabulary is another"):
        load_artifact(artifact)
