"""A model that chats, from recipe to answers: trained, saved, loaded, evaluated, asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from adaptkit.artifact.load import load_artifact
from adaptkit.errors import ArtifactError, DataError, RecipeError, UsageError
from adaptkit.evaluation import evaluate
from adaptkit.evaluation.predicting import predict
from adaptkit.formats.load import load_data
from adaptkit.modalities.chat.script import IGNORED
from adaptkit.model import AdaptedModel, build_model
from adaptkit.model.tasks import build_tasks
from adaptkit.plan import make_plan
from adaptkit.training import train
from tests.unit.generation.chatting import CHATML, chatting, said, tokenizer, write_chats, write_tokenizer

TALKS = [
    said("what is it? red"),
    said("what is it? red", "it is red.", "what is it? blue"),
    said("what is it? blue", "it is blue.", "what is it? red", "it is red."),
]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chats(tmp_path_factory.mktemp("chats"), train=64, validation=16, test=16)


def shaken(recipe: Any) -> AdaptedModel:
    model = build_model(make_plan(recipe))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_it_learns_to_answer_in_conversations(words: Path, chats: Path, tmp_path: Path) -> None:
    result = train(chatting(words, chats, train={"epochs": 14}), runs=tmp_path)
    assert (result.metrics["test"]["exact_match"] or 0) >= 0.9
    assert evaluate(result.run, device="cpu").metrics["test"] == result.metrics["test"]
    lines = [json.loads(line) for line in (result.run / "predictions/test.jsonl").read_text().splitlines()]
    assert lines[0]["text"].strip() == lines[0]["target"][-1]["content"]
    model = load_artifact(result.artifact)
    answers = model.generate([{"messages": talk} for talk in TALKS], batch_size=3)
    assert answers == ["it is red.", "it is blue.", "it is red."]  # of the last, its last answer anew
    sharegpt = [{"from": m["role"], "value": m["content"]} for m in TALKS[1]]
    assert model.generate([{"conversations": sharegpt}]) == answers[1:2]
    given = tmp_path / "given.jsonl"
    given.write_text("\n".join(json.dumps({"messages": talk}) for talk in TALKS))
    assert predict(result.run, given, tmp_path / "out.jsonl", device="cpu") == 3
    assert [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == answers
    pieces: list[str] = []
    predict(result.run, given, None, device="cpu", write=pieces.append)
    assert "".join(pieces) == "".join(f"{answer}\n" for answer in answers)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3_text"])
def test_an_answer_is_scored_as_it_is_generated(family: str, words: Path) -> None:
    """Alone as among longer ones: what is padded, and on which side, changes nothing."""
    recipe = chatting(words, family=family)
    model, task = shaken(recipe), build_tasks(make_plan(recipe), None)["reply"]
    encoder: Any = model.encoders["chat"]
    script: Any = encoder.script
    inputs = {"chat": encoder.collate([encoder.read(talk, "") for talk in TALKS], ["", "", ""])}
    settings = {"max_new_tokens": 5, "pad_token_id": 0, "eos_token_id": script.ends}
    ids = model.generate_ids(inputs, "reply", settings).ids[:, 0]  # (B, A)
    openings = [script.opening(talk, "") for talk in TALKS]
    for row, opening in enumerate(openings):
        alone = {"chat": encoder.collate([opening], [""])}
        assert torch.equal(model.generate_ids(alone, "reply", settings).ids[0, :1], ids[row : row + 1])
    longest = max(map(len, openings))
    rows = [[IGNORED] * (longest - len(o)) + o + new.tolist() for o, new in zip(openings, ids, strict=True)]
    with torch.no_grad():
        logits = model(inputs, targets={"reply": {"ids": torch.tensor(rows), "labels": ids}})["reply"]
    assert torch.equal(logits.argmax(-1), ids)
    targets = task.encode([talk for talk in TALKS if len(talk) > 2], ["", ""])  # all their turns
    with torch.no_grad():
        whole = model({"chat": {k: v[1:] for k, v in inputs["chat"].items()}}, targets={"reply": targets})["reply"]
        each = [model(inputs, targets={"reply": task.encode([talk], [""])})["reply"] for talk in TALKS if len(talk) > 2]
    for row, own in enumerate(each):
        assert torch.allclose(whole[row, : own.shape[1]], own[0], atol=2e-5)


def test_the_questions_are_not_learned(words: Path) -> None:
    """Loss and gradient do not change with what nobody says: only the answers and their ends are targets."""
    task = build_tasks(make_plan(chatting(words)), None)["reply"]
    targets = task.encode([TALKS[2]], [""])
    labels, script = targets["labels"][0], task.speaker.script  # type: ignore[union-attr]
    text = script.tokenizer.decode(labels[labels != IGNORED])
    assert text == "it is blue.<|im_end|>it is red.<|im_end|>"
    logits = torch.randn(1, len(labels), 320)
    other = logits.clone()
    other[0, labels == IGNORED] = 0
    assert torch.equal(task.loss(logits, targets), task.loss(other, targets))
    assert task.amount(targets) == 1


@pytest.mark.parametrize("average", ["samples", "tokens"])
def test_a_loss_by_tokens_does_not_depend_on_how_samples_fall_into_batches(words: Path, average: str) -> None:
    recipe = chatting(words, task={"reply": {"kind": "generation", "average": average}})
    model, task = shaken(recipe), build_tasks(make_plan(recipe), None)["reply"]
    encoder: Any = model.encoders["chat"]

    def loss(talks: list[Any]) -> tuple[float, float]:
        targets = task.encode(talks, [""] * len(talks))
        inputs = {"chat": encoder.collate([encoder.read(talk, "") for talk in talks], [""] * len(talks))}
        with torch.no_grad():
            return float(task.loss(model(inputs, targets={"reply": targets})["reply"], targets)), task.amount(targets)

    talks = [TALKS[2], TALKS[2][:2], said("why?", "it is red. it is red. it is red.")]
    parts = [loss([talk]) for talk in talks]
    together, amount = loss(talks)
    assert amount == sum(part for _, part in parts)
    assert together == pytest.approx(sum(value * part for value, part in parts) / amount, abs=1e-5)


def test_a_conversation_that_cannot_be_learned_ends_a_training_before_it_begins(words: Path, tmp_path: Path) -> None:
    data = write_chats(tmp_path / "data", train=8, validation=4, test=4)
    with (data / "train.jsonl").open("a") as file:
        file.write(json.dumps({"messages": said("what is it? " * 80, "it is red.")}) + "\n")
    with pytest.raises(DataError, match=r"train.jsonl:9 .*the last question and answer have \d+ tokens"):
        train(chatting(words, data), runs=tmp_path / "runs")
    assert not list((tmp_path / "runs").glob("*/*/artifact"))


def test_an_encoder_decoder_learns_no_conversation(words: Path) -> None:
    config = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 320}
    recipe = chatting(words, family="t5", backbone={"config": {**config, "eos_token_id": 2}, "model": "t5"})
    with pytest.raises(RecipeError, match="t5 reads a question in one stack and answers in another"):
        make_plan(recipe)


@pytest.mark.parametrize(
    ("chat", "task", "message"),
    [
        ({"template": "chat-ml"}, {}, r'chat.template: there is no template of this name. Did you mean "chatml"'),
        ({"learn": "some"}, {}, "chat.learn"),
        ({}, {"prompt": "Q: {text}"}, r"reply.prompt: the chat template says what is read"),
        ({}, {"draw": "first"}, "reply.draw: has no effect"),
        ({}, {"weight_by": "score"}, "reply.weight_by: has no effect"),
    ],
)
def test_keys_that_cannot_be(chat: dict[str, Any], task: dict[str, Any], message: str, words: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        chatting(words, chat=chat, task={"reply": {"kind": "generation", **task}})


def test_an_artifact_knows_the_template_it_was_made_with(words: Path, chats: Path, tmp_path: Path) -> None:
    own = write_tokenizer(tmp_path / "own")
    result = train(chatting(own, chats, train={"epochs": 1, "max_steps": 1}), runs=tmp_path)
    other = tokenizer(CHATML.replace("assistant", "helper"))
    other.save_pretrained(own)
    with pytest.raises(ArtifactError, match="other inputs of chat: chat_template is another"):
        load_artifact(result.artifact)


def test_data_check_counts_what_trains_and_what_is_cut(words: Path, chats: Path) -> None:
    from adaptkit.data.checking import check_samples

    recipe = chatting(words, chats, chat={"max_tokens": 45})
    model = build_model(make_plan(recipe), weights=False)
    found = check_samples(load_data(recipe), dict(model.named_encoders()), recipe.task)
    column = found.splits["train"]["columns"]["chat"]
    task = build_tasks(make_plan(recipe), None)["reply"]
    targets = [task.encode([sample.targets["reply"]], [""]) for sample in load_data(recipe).splits["train"]]
    assert column["figures"]["tokens that train"] == sum(int((t["labels"] != IGNORED).sum()) for t in targets)
    assert column["figures"]["messages left out"] > 0
    assert any(f"train: {column['cut']} of 64 chat have more than 45 tokens and are cut" in w for w in found.warnings)
    assert not found.problems


def test_decoding_otherwise_leaves_out_what_belongs_to_the_recipes_own(words: Path) -> None:
    sampled = {"do_sample": True, "temperature": 0.7, "top_p": 0.9}
    recipe = chatting(words, task={"reply": {"kind": "generation", "decoding": sampled}})
    task = recipe.task["reply"].with_decoding({"do_sample": False})
    assert task == chatting(words).task["reply"].model_copy(update={"monitor": None, "max_tokens": 64})
    with pytest.raises(UsageError, match="temperature: has no effect"):
        recipe.task["reply"].with_decoding({"do_sample": False, "temperature": 2.0})
