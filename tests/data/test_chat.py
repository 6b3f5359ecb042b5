"""`format = "chat"`: the shapes that conversations are found in, and one clear error for whatever is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adaptkit.data.messages import messages_of
from adaptkit.data.rows import Column
from adaptkit.errors import DataError
from adaptkit.formats.chat import read_chat
from adaptkit.formats.tables import Chat
from adaptkit.recipe import cells

PLAIN = [("user", "hello"), ("assistant", "hi")]
MESSAGES = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
COLUMNS = (Column("messages", cells.VALUE), Column("image", cells.FILE, required=False))
PARTS = [{"type": "text", "text": "hello"}]


def of(record: dict[str, Any], **how: Any) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages_of(record, "a.jsonl:1", **how)[0]]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": MESSAGES},
        {"messages": [{"role": "user", "content": PARTS}, {"role": "assistant", "content": [{"text": "hi"}]}]},
        {"conversations": [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi"}]},
        {"conversations": MESSAGES},
        {"conversation": [{"human": "hello", "assistant": "hi"}]},
        {"prompt": "hello", "completion": "hi"},
        {"prompt": MESSAGES[:1], "completion": MESSAGES[1:]},
        {"prompt": "hello", "response": "hi"},
        {"instruction": "hello", "input": "", "output": "hi"},
        {"query": "hello", "response": "hi", "history": []},
    ],
)
def test_one_conversation_in_the_shapes_that_it_is_found_in(record: dict[str, Any]) -> None:
    assert of(record) == PLAIN


def test_what_belongs_to_a_conversation_besides() -> None:
    assert of({"instruction": "add", "input": "1 2", "output": "3", "system": "s", "history": [["a", "b"]]}) == [
        ("system", "s"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "add\n1 2"),
        ("assistant", "3"),
    ]
    assert of({"prompt": "hello"}) == PLAIN[:1]  # to be answered
    tools = [*MESSAGES[:1], {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}]
    tools += [{"role": "tool", "content": "3"}, {"role": "assistant", "content": "three"}]
    assert [role for role, _ in of({"messages": tools})] == ["user", "assistant", "tool", "assistant"]
    unlearned = messages_of({"messages": [MESSAGES[0], {**MESSAGES[1], "loss": False}]}, "")[0]
    assert unlearned[1]["learned"] is False


def test_nothing_follows_from_what_is_said_behind_the_last_answer() -> None:
    longer = {"messages": [*MESSAGES, {"role": "user", "content": "and?"}]}
    assert of(longer, answered=True) == PLAIN
    assert of(longer)[-1] == ("user", "and?")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "hello"}, "there is no conversation"),
        ({"messages": []}, "messages is no list of messages"),
        ({"messages": "hello"}, "messages is no list of messages"),
        ({"messages": [{"content": "hello"}]}, "message 1 says not who speaks"),
        ({"messages": [{"role": "usr", "content": "hello"}]}, "unknown role 'usr'. Did you mean \"user\"?"),
        ({"messages": [{"role": "user", "content": 3}]}, "neither text nor parts"),
        ({"messages": MESSAGES[1:]}, "message 1 is of the assistant, and first comes the user"),
        ({"messages": [*MESSAGES[:1], *MESSAGES]}, "message 2 is of the user, and after the user comes the assistant"),
        ({"messages": [*MESSAGES, {"role": "system", "content": "s"}]}, "message 3 is of the system"),
        ({"messages": [{"role": "user", "content": " "}, *MESSAGES[1:]]}, "message 1, of the user, is empty"),
        ({"messages": [{"role": "system", "content": "s"}]}, "no message of a user"),
        ({"system": "s", "messages": [{"role": "system", "content": "s"}, *MESSAGES]}, "two system prompts"),
        ({"messages": MESSAGES, "tools": [{"name": "f"}]}, "`tools`"),
        ({"prompt": "a", "completion": "b", "history": ["a"]}, "history is no list of [question, answer]"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "unknown type: smell"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}]}]},
            "a part of type image names no file",
        ),
        (
            {"messages": [{"role": "user", "content": "<image> <image> a"}], "images": ["a.png"]},
            "the words have <image> 2 times, and there are 1 files",
        ),
        (
            {"messages": [{"role": "user", "content": "<image><image> a"}], "images": ["a.png", "b.png"]},
            "2 files of image; a column holds one",
        ),
    ],
)
def test_what_is_no_conversation_says_why(record: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        messages_of(record, "a.jsonl:1")
    assert str(caught.value).startswith("a.jsonl:1  ")
    assert message in str(caught.value)


def test_images_are_taken_out_of_the_words() -> None:
    content = [{"type": "image", "path": "a.png"}, {"type": "text", "text": "what is it?"}]
    for record in (
        {"messages": [{"role": "user", "content": content}]},
        {"messages": [{"role": "user", "content": "<image>\nwhat is it?"}], "images": ["a.png"]},
        {"conversations": [{"from": "human", "value": "<image>\nwhat is it?"}], "image": "a.png"},
    ):
        messages, media = messages_of(record, "")
        assert (messages, media) == ([{"role": "user", "content": "what is it?"}], {"image": "a.png"})
    assert of({"messages": [{"role": "user", "content": "what is <image> in HTML?"}]}) == [
        ("user", "what is <image> in HTML?")  # no file, so it is a word
    ]


def write(folder: Path, *rows: Any) -> Path:
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_a_folder_of_conversations(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    shown = {"conversations": [{"from": "human", "value": "<image>\nhello"}, {"from": "gpt", "value": "hi"}]}
    write(tmp_path, {"prompt": "hello", "completion": "hi", "id": 7}, {**shown, "image": "a.png"})
    found = read_chat(Chat(format="chat"), tmp_path, COLUMNS)
    rows = [*found.splits["train"]]
    assert [row.values["messages"] for row in rows] == [MESSAGES, MESSAGES]
    assert [row.id for row in rows] == ["7", "train.jsonl:2"]
    assert rows[1].values["image"] == (tmp_path / "a.png").resolve()
    with pytest.raises(DataError, match=r"train.jsonl:2 .*shows image, and no modality reads it"):
        read_chat(Chat(format="chat"), tmp_path, COLUMNS[:1])


def test_faulty_lines_end_in_an_error_or_are_left_out_and_counted(tmp_path: Path) -> None:
    import pickle

    write(tmp_path, {"messages": MESSAGES[1:]}, {"messages": MESSAGES}, {"messages": MESSAGES[:1]})
    with pytest.raises(DataError, match=r"train.jsonl:1 .*first comes the user"):
        read_chat(Chat(format="chat"), tmp_path, COLUMNS[:1])
    found = read_chat(Chat(format="chat", faulty="skip"), tmp_path, COLUMNS[:1])
    assert [row.where for row in found.splits["train"]] == ["train.jsonl:2"]
    assert "train 1 and 2 left out" in found.description
    again = pickle.loads(pickle.dumps(found.splits["train"]))
    assert [*again] == [*found.splits["train"]]
