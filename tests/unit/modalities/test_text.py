"""Text: the backbone's tokenizer, its limits, and an absent text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptkit.errors import DataError, RecipeError
from adaptkit.modalities import BackboneContext, Encoder
from adaptkit.modalities.text.encoder import TextEncoder, middle
from adaptkit.modalities.text.table import TextModality


def build(folder: Path, *, limit: int | None = None, **keys: Any) -> TextEncoder:
    from transformers import AutoTokenizer

    context = BackboneContext(
        width=16, tokenizer=lambda: AutoTokenizer.from_pretrained(folder), max_tokens=limit, base=folder.parent
    )
    made = Encoder.build(TextModality(**{"kind": "text", "route": "backbone", **keys}), "question", context)
    assert isinstance(made, TextEncoder)
    return made


def words(encoder: TextEncoder, text: str) -> str:
    return encoder.tokenizer.decode(encoder.collate([text], ["a"])["input_ids"][0])


def test_a_batch_is_padded_to_its_longest_text(tiny_bert: Path) -> None:
    encoder = build(tiny_bert)
    batch = encoder.collate([encoder.prepare("is it big ?", "s"), encoder.prepare("red", "s")], ["a", "b"])
    assert batch["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    assert batch["input_ids"].shape == (2, 6)
    assert batch["present"].tolist() == [True, True]
    assert {"input_ids", "attention_mask", "present"} <= batch.keys()
    assert all(isinstance(tensor, torch.Tensor) for tensor in batch.values())


@pytest.mark.parametrize(("limit", "own", "expected"), [(4, None, 4), (None, 3, 3), (5, 4, 4), (4, 5, 4)])
def test_the_smaller_limit_cuts(tiny_bert: Path, limit: int | None, own: int | None, expected: int) -> None:
    encoder = build(tiny_bert, limit=limit, max_tokens=own)
    assert encoder.tokens == expected
    assert encoder.collate(["is it the big red thing ?"], ["a"])["input_ids"].shape == (1, expected)


def test_an_absent_text_is_the_empty_one(tiny_bert: Path) -> None:
    encoder = build(tiny_bert, missing="zero")
    batch = encoder.collate([None, "red"], ["a", "b"])
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["present"].tolist() == [False, True]


def test_the_tokenizer_is_loaded_when_first_needed() -> None:
    calls = []
    context = BackboneContext(width=16, tokenizer=lambda: calls.append(1))
    Encoder.build(TextModality(kind="text", route="backbone"), "question", context)
    assert not calls


def test_what_is_no_text_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(DataError, match="sample 7  question is of type int, not text"):
        build(tiny_bert).prepare(3, "sample 7")
    with pytest.raises(RecipeError, match='text of route "side" needs a tower that reads it'):
        build(tiny_bert, route="side")
    with pytest.raises(RecipeError, match="this backbone reads no text"):
        Encoder.build(TextModality(kind="text", route="backbone"), "question", BackboneContext(width=16))
    with pytest.raises(DataError, match="sample 7  question has half of a character at 1"):
        build(tiny_bert).prepare("a\ud800", "sample 7")


TEXT = "is it the big red thing ?"


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("first", "[CLS] is it the [SEP]"),
        ("last", "[CLS] red thing? [SEP]"),
        ("middle", "[CLS] the big red [SEP]"),
    ],
)
def test_what_is_kept_of_a_long_text_and_its_special_tokens(tiny_bert: Path, keep: str, expected: str) -> None:
    encoder = build(tiny_bert, limit=5, keep=keep)
    assert words(encoder, TEXT) == expected
    assert words(encoder, "red") == "[CLS] red [SEP]"


def test_the_middle_is_padded_and_masked_like_the_rest(tiny_bert: Path) -> None:
    texts = ["big red", TEXT, "a"]
    first, middle_ = (build(tiny_bert, limit=9, keep=keep).collate(texts, ["a"] * 3) for keep in ("first", "middle"))
    assert first.keys() == middle_.keys()
    assert all(torch.equal(first[key], middle_[key]) for key in first)  # nothing is cut
    left = build(tiny_bert, limit=5, keep="middle")
    left.tokenizer.padding_side = "left"
    assert left.collate(texts, ["a"] * 3)["attention_mask"].tolist() == [[0, 1, 1, 1, 1], [1] * 5, [0, 0, 1, 1, 1]]


def test_the_middle_of_tokens_that_are_all_but_special() -> None:
    assert middle([1, 0, 0, 0, 0, 1], 4) == [0, 2, 3, 5]
    assert middle([0, 0, 0, 0], 3) == [0, 1, 2]
    assert middle([1, 1, 0, 0, 0], 3) == [0, 1, 3]


def test_length_is_that_before_cutting(tiny_bert: Path) -> None:
    encoder = build(tiny_bert, limit=5)
    assert (encoder.length(TEXT), encoder.length(""), encoder.limit, encoder.unit) == (9, 2, 5, "tokens")


def test_a_limit_without_room_for_words_is_refused(tiny_bert: Path) -> None:
    """The tokenizer would silently cut nothing."""
    with pytest.raises(RecipeError, match=r"modality\.question\.max_tokens  2 tokens leave no room .* max_tokens = 3"):
        build(tiny_bert, max_tokens=2).collate([TEXT], ["a"])


@pytest.mark.parametrize("route", ["side", "tokens", "fusion", "query"])
def test_a_tower_reads_text_of_any_other_route(tiny_bert: Path, route: str) -> None:
    encoder = build(tiny_bert, limit=9, route=route, tower={"model": "./tiny-bert"}, max_tokens=6, missing="zero")
    assert (encoder.width, encoder.tokens, encoder.native) == (16, 6, False)
    batch = encoder.collate([encoder.prepare(text, "s") for text in (TEXT, "red", None)], ["a", "b", "c"])
    side = encoder(batch)
    assert side.tensor.shape == (3, 6, 16)
    assert side.mask.tolist() == [[True] * 6, [True] * 3 + [False] * 3, [False] * 6]
    assert not side.tensor[~side.mask].any()
    alone = encoder(encoder.collate(["red"], ["b"])).tensor
    torch.testing.assert_close(side.tensor[1, :3], alone[0])
    assert not any(p.requires_grad for p in encoder.parameters())


def test_a_towers_own_limit_and_pooling(tiny_bert: Path) -> None:
    encoder = build(tiny_bert, limit=9, route="side", tower={"model": "./tiny-bert"}, pool="mean")
    assert (encoder.tokens, encoder.limit) == (1, 32)  # its position embeddings, not the backbone's
    side = encoder(encoder.collate([TEXT, "red"], ["a", "b"]))
    assert side.tensor.shape == (2, 1, 16)
    torch.testing.assert_close(side.tensor[1, 0], encoder.vectors(encoder.collate(["red"], ["b"]))[0][0].mean(0))


PARTS = {"subs": "( {} )", "question": "{} ?"}


def cut_to(folder: Path, limit: int, subs: str | None, question: str | None, **keys: Any) -> str:
    encoder = build(folder, max_tokens=limit, parts=PARTS, cut=["subs"], **keys)
    prepared = encoder.prepare({"subs": subs, "question": question}, "sample 3")
    assert encoder.length({"subs": subs, "question": question}) >= encoder.length(prepared)
    return words(encoder, prepared)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("first", "[CLS] [UNK] is it [UNK] red? [SEP]"),
        ("last", "[CLS] [UNK] it red [UNK] red? [SEP]"),
        ("middle", "[CLS] [UNK] it big [UNK] red? [SEP]"),
    ],
)
def test_the_parts_that_are_named_give_way_and_the_others_never(tiny_bert: Path, keep: str, expected: str) -> None:
    assert cut_to(tiny_bert, 8, "is it big it red", "red", keep=keep) == expected


def test_what_fits_is_whole_and_what_is_absent_leaves_nothing_behind(tiny_bert: Path) -> None:
    assert cut_to(tiny_bert, 20, "is it big", "red") == "[CLS] [UNK] is it big [UNK] red? [SEP]"
    assert cut_to(tiny_bert, 20, None, "red") == "[CLS] red? [SEP]"
    assert cut_to(tiny_bert, 20, " ", "red") == "[CLS] red? [SEP]"
    assert cut_to(tiny_bert, 4, "is it big", "red") == "[CLS] red? [SEP]"  # its label goes with the last word
    encoder = build(tiny_bert, parts=PARTS, missing="zero")
    assert encoder.prepare({"subs": None, "question": None}, "s") == ""
    assert encoder.prepare(None, "s") is None


def test_a_text_that_is_too_long_without_what_may_go_is_an_error(tiny_bert: Path) -> None:
    message = "sample 3  question has more than 5 tokens even without subs. Raise modality.question.max_tokens, or name"
    with pytest.raises(DataError, match=message):
        cut_to(tiny_bert, 5, "is it", "is it big")
    encoder = build(tiny_bert, max_tokens=5, parts=PARTS)  # no part may go: as a whole, by keep
    assert words(encoder, encoder.prepare({"question": "is it big"}, "s")) == "[CLS] is it big [SEP]"


def test_parts_that_are_no_texts_are_refused(tiny_bert: Path) -> None:
    encoder = build(tiny_bert, parts=PARTS, cut=["subs"])
    with pytest.raises(DataError, match="sample 3  question: subs is of type int, not text"):
        encoder.prepare({"subs": 3}, "sample 3")
    with pytest.raises(DataError, match="sample 3  question has no part 'answer'"):
        encoder.prepare({"answer": "red"}, "sample 3")
    with pytest.raises(DataError, match="sample 3  question is of type list"):
        encoder.prepare(["red"], "sample 3")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["is", "it", "big", "red", "bigger", "xyzzy"]), max_size=40), st.integers(8, 30), st.data()
)
def test_no_sample_is_longer_than_the_limit_and_as_much_is_kept_as_fits(
    tiny_bert: Path, subs: list[str], limit: int, data: st.DataObject
) -> None:
    keep = data.draw(st.sampled_from(["first", "last", "middle"]))
    encoder = build(tiny_bert, max_tokens=limit, parts=PARTS, cut=["subs"], keep=keep)
    text = encoder.prepare({"subs": " ".join(subs), "question": "is it big"}, "s")
    assert text.endswith("is it big ?")
    assert encoder.length(text) <= limit
    left = text.removesuffix("is it big ?").strip("() ").split()
    assert left == subs or encoder.length(f"( {' '.join([*left, 'xyzzy'])} ) is it big ?") > limit
