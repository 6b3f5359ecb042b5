"""`prefix = "mmbt"`: modalities between [CLS] and [SEP], exactly as in a BERT with an enlarged segment table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptkit.errors import AdaptkitError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import Plan, make_plan
from adaptkit.recipe import load_recipe, parse_recipe
from adaptkit.training import train

CLS, SEP = 2, 3


def tables(folder: Path | str, **backbone: Any) -> dict[str, Any]:
    features = {"kind": "features", "route": "tokens", "missing": "zero"}
    return {
        "name": "mmbt",
        "backbone": {"model": str(folder), "prefix": "mmbt", "pool": "pooler", **backbone},
        "modality": {
            "poster": features | {"width": 4, "pool": "mean"},
            "question": {"kind": "text", "route": "backbone"},
            "trailer": features | {"width": 5, "max_tokens": 3},
        },
        "data": {"format": "jsonl"},
        "task": {"answer": {"kind": "classification", "labels": ["no", "yes"]}},
    }


def planned(folder: Path | str, adapter: dict[str, Any] | None = None, **backbone: Any) -> Plan:
    return make_plan(parse_recipe(tables(folder, **backbone) | {"adapter": adapter or {}}))


def built(folder: Path, **backbone: Any) -> AdaptedModel:
    """With segments far enough apart to matter."""
    model = build_model(planned(folder, **backbone), seed=1)
    torch.manual_seed(0)
    with torch.no_grad():
        for segment in model.segments.parameters():
            segment.add_(torch.randn(segment.shape))
    return model.eval()


POSTERS = [[0.3, -1.0, 2.0, 1.0], None, [1.0, 1.0, 0.0, -2.0]]
TRAILERS = [[[1.0, 0.0, 2.0, 1.0, 0.5]] * 2, [[0.0, 1.0, 0.0, 1.0, 1.0]], None]
QUESTIONS = ["is the thing big ?", "is it red ?", "is it ?"]


def batch(model: AdaptedModel, which: list[int]) -> dict[str, dict[str, Tensor]]:
    encoders, ids = dict(model.named_encoders()), [str(i) for i in which]
    columns = {"poster": POSTERS, "trailer": TRAILERS, "question": QUESTIONS}
    return {
        name: encoders[name].collate([encoders[name].prepare(column[i], "") for i in which], ids)
        for name, column in columns.items()
    }


def enlarged(model: AdaptedModel) -> Any:
    """The same BERT whose segment table has a row more for each modality."""
    own: Any = model.backbone
    bert = type(own)(own.config).eval()
    bert.load_state_dict(own.state_dict())
    table = bert.embeddings.token_type_embeddings
    rows = [table.weight.detach(), *(model.segments[name].detach()[None] for name in ("poster", "trailer"))]
    bert.embeddings.token_type_embeddings = nn.Embedding.from_pretrained(torch.cat(rows), freeze=False)
    return bert


def by_hand(model: AdaptedModel, bert: Any, index: int, first: int = 0, *, pooled: bool = True) -> Tensor:
    """[CLS] poster [SEP] trailer .. [SEP] words [SEP] of one sample, without padding; the pooled vector (1, D)."""
    words = bert.get_input_embeddings()
    encoders = dict(model.named_encoders())
    ids = encoders["question"].collate([QUESTIONS[index]], ["q"])["input_ids"][:, 1:]

    def of(*numbers: int) -> Tensor:
        return words(torch.tensor([numbers]))

    poster, trailer = POSTERS[index], TRAILERS[index]
    parts, kinds, positions = [of(CLS)], [2], [0]
    if poster is not None:
        parts += [model.projections["poster"](torch.tensor([[poster]])), of(SEP)]
        kinds, positions = [2, 2, 2], [0, 1, 2]
    if trailer is not None:
        parts += [model.projections["trailer"](torch.tensor([trailer])), of(SEP)]
        kinds += [3] * (len(trailer) + 1)
        positions += range(len(trailer) + 1)
    parts.append(words(ids))
    kinds += [0] * ids.shape[1]
    positions += range(ids.shape[1])
    inputs = torch.cat(parts, dim=1)
    places = torch.tensor([positions]) + first
    found = bert(inputs_embeds=inputs, token_type_ids=torch.tensor([kinds]), position_ids=places)
    return found.pooler_output if pooled else found.last_hidden_state[:, 0]


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 15}


@pytest.mark.parametrize(("kind", "first"), [("", 0), ("roberta", 2), ("electra", 0)])
def test_it_is_a_bert_with_a_larger_segment_table(tiny_bert: Path, kind: str, first: int) -> None:
    """RoBERTa counts positions from 2; ELECTRA's input embeddings are narrower than its stream."""
    options: dict[str, Any] = {}
    if kind:
        more = {"embedding_size": 12} if kind == "electra" else {"type_vocab_size": 2}
        options = {"config": SMALL | more, "tokenizer": tiny_bert.as_posix(), "pool": "first"}
    model = built(Path(kind) if kind else tiny_bert, **options)
    bert = enlarged(model)
    together = model(batch(model, [0, 1, 2]))["answer"]
    for index in range(3):
        expected = model.heads["answer"](by_hand(model, bert, index, first, pooled=not kind))
        torch.testing.assert_close(together[index], expected[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(model(batch(model, [index]))["answer"][0], together[index], rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_the_larger_table(tiny_bert: Path) -> None:
    """Row 0 moves with the words of the text only, and each further row with its modality."""
    model = built(tiny_bert, train=["all"])
    bert = enlarged(model)
    by_hand(model, bert, 0).pow(2).sum().backward()
    expected = bert.embeddings.token_type_embeddings.weight.grad
    assert expected is not None
    model.zero_grad()
    pooled: list[Tensor] = []
    hook = model.heads["answer"].register_forward_pre_hook(lambda _, args: pooled.append(args[0]))
    model(batch(model, [0]))
    hook.remove()
    pooled[0].pow(2).sum().backward()
    backbone: Any = model.backbone
    found = [backbone.embeddings.token_type_embeddings.weight.grad[0]]
    found += [model.segments[name].grad for name in ("poster", "trailer")]
    for row, grad in zip((0, 2, 3), found, strict=True):
        torch.testing.assert_close(grad, expected[row], rtol=1e-4, atol=1e-6)


def test_segments_start_near_the_mean_of_the_published_rows(tiny_bert: Path) -> None:
    model = build_model(planned(tiny_bert), seed=3)
    backbone: Any = model.backbone
    mean = backbone.embeddings.token_type_embeddings.weight.mean(0)
    for segment in model.segments.values():
        distance = (segment - mean).detach()
        assert 0.003 < distance.std() < 0.02
        assert segment.requires_grad


def test_counts_and_lengths(tiny_bert: Path) -> None:
    """5 and 6 weights per channel, a segment each; [CLS] and a [SEP] per modality; the text keeps its positions."""
    plan = planned(tiny_bert, {"b": {"kind": "bottleneck", "at": "mlp.out"}})
    assert plan.parameters.encoders == (4 + 1) * 16 + (5 + 1) * 16 + 2 * 16
    prefix = 1 + (1 + 1) + (3 + 1)
    assert plan.grafts[0].host.tokens == prefix + 32 - 1
    model = build_model(plan)
    assert sum(p.numel() for p in model.parameters()) == plan.parameters.total
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == plan.parameters.trainable


def test_spans_are_the_tokens_of_a_modality_and_not_its_ends(tiny_bert: Path) -> None:
    model = built(tiny_bert)
    assert model.sequence.spans({}) == {"poster": (1, 2), "trailer": (3, 6), "question": (7, None)}


def test_without_a_text(tiny_bert: Path) -> None:
    """[CLS] poster [SEP] trailer .. [SEP] is a whole sequence."""
    recipe = tables(tiny_bert)
    del recipe["modality"]["question"]
    plan = make_plan(parse_recipe(recipe | {"adapter": {"b": {"kind": "bottleneck", "at": "mlp.out"}}}))
    assert plan.grafts[0].host.tokens == 1 + 2 + 4
    model = build_model(plan)
    encoders = dict(model.named_encoders())
    columns = {"poster": POSTERS, "trailer": TRAILERS}
    inputs = {n: encoders[n].collate([encoders[n].prepare(v, "") for v in c], list("abc")) for n, c in columns.items()}
    together = model(inputs)["answer"]
    for index in range(3):
        alone = {n: {key: value[index : index + 1] for key, value in given.items()} for n, given in inputs.items()}
        torch.testing.assert_close(model(alone)["answer"][0], together[index], rtol=1e-5, atol=1e-6)


def test_half_precision(tiny_bert: Path) -> None:
    model = build_model(planned(tiny_bert, precision="bfloat16"))
    assert torch.isfinite(model(batch(model, [0, 1, 2]))["answer"]).all()


def test_gradient_checkpointing_gives_the_same_gradients(tiny_bert: Path) -> None:
    found = []
    for checkpointed in (False, True):
        model = built(tiny_bert).train()
        if checkpointed:
            model.enable_gradient_checkpointing()
        model(batch(model, [0, 1, 2]))["answer"].pow(2).sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert any(name.startswith("segments.") for name in found[0])
    for name, grad in found[0].items():
        torch.testing.assert_close(found[1][name], grad)


def test_a_frozen_modality_keeps_its_segment(tiny_bert: Path) -> None:
    recipe = tables(tiny_bert)
    recipe["modality"]["poster"]["train"] = False
    plan = make_plan(parse_recipe(recipe))
    model = build_model(plan)
    assert not model.segments["poster"].requires_grad
    assert not any(p.requires_grad for p in model.projections["poster"].parameters())
    assert model.segments["trailer"].requires_grad
    assert plan.parameters.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)


REFUSED = [
    ("distilbert", {}, {}, "has no segment embeddings"),
    ("gpt2", {}, {"pool": "last"}, "has no segment embeddings"),
    ("{bert}", {"p": {"kind": "prompt", "at": "embed.in"}}, {}, "prompt"),
]


@pytest.mark.parametrize(("name", "adapter", "backbone", "message"), REFUSED)
def test_refusals(tiny_bert: Path, name: str, adapter: dict, backbone: dict, message: str) -> None:
    with pytest.raises(AdaptkitError, match=message):
        planned(name.format(bert=tiny_bert), adapter, **{"pool": "first", **backbone})


def test_a_block_longer_than_the_positions(tiny_bert: Path) -> None:
    recipe = tables(tiny_bert)
    recipe["modality"]["trailer"]["max_tokens"] = 32
    with pytest.raises(AdaptkitError, match=r"trailer.*32 positions"):
        make_plan(parse_recipe(recipe))


def test_the_published_form_trains_and_comes_back(tiny_recipe: Path) -> None:
    """Full fine-tuning, no adapter."""
    changes = [
        "adapter={}",
        "modality.features.route=tokens",
        "modality.features.pool=mean",
        "backbone.prefix=mmbt",
        "backbone.pool=pooler",
        "backbone.train=['all']",
        "train.epochs=1",
    ]
    from adaptkit.artifact import load_artifact

    run = train(load_recipe(tiny_recipe, changes), runs=tiny_recipe.parent / "runs").run
    state = load_artifact(run).trainable_state()
    assert {"segments.features", "projections.features.weight"} <= state.keys()
    assert any(name.startswith("backbone.embeddings") for name in state)
