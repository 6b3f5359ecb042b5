"""`adaptkit chat`: a conversation through a pipe and at a terminal, with a picture; one clear error for each fault."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from adaptkit.training import train
from tests.cli.conftest import Cli, Outcome
from tests.unit.generation.chatting import chatting, write_chats, write_tokenizer

Chat = Callable[..., Outcome]
PICTURE = {
    "chat": {"kind": "chat", "max_tokens": 128},
    "image": {"kind": "image", "encoder": "pixels", "size": [4, 4], "route": "tokens", "missing": "zero"},
}


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that answers with the colour of the last question."""
    folder = tmp_path_factory.mktemp("chatty")
    words = write_tokenizer(folder / "words")
    data = write_chats(folder / "data", train=64, validation=16, test=4)
    for split in ("train", "validation", "test"):  # a column, that most rows lack
        path = data / f"{split}.jsonl"
        path.write_text(path.read_text().replace("{", '{"image": null, ', 1))
    return train(chatting(words, data, modality=PICTURE, train={"epochs": 14}), runs=folder / "runs").run


@pytest.fixture
def chat(cli: Cli, chatty: Path, monkeypatch: pytest.MonkeyPatch) -> Chat:
    def run(lines: str, *words: object, terminal: bool = False) -> Outcome:
        stream = io.StringIO(lines)
        stream.isatty = lambda: terminal
        monkeypatch.setattr("sys.stdin", stream)
        return cli("chat", chatty, *words)

    return run


def test_lines_through_a_pipe_are_answered_one_by_one(chat: Chat) -> None:
    found = chat("what is it? red\n\nwhat is it? blue\n/quit\nnever said\n")
    assert (found.code, found.out) == (0, "it is red.\nit is blue.\n")
    assert found.err == ""  # nothing is said that a script has to take out again


def test_a_transcript_as_json(chat: Chat) -> None:
    found = chat("what is it? red\n/system be blue\nwhat is it? blue\n/reset\nwhat is it? red", "--json").json
    said = [(message["role"], message["content"]) for message in found["messages"]]
    assert said == [("system", "be blue"), ("user", "what is it? red"), ("assistant", "it is red.")]
    found = chat("what is it? blue\n", "--json", "--system", "be red", "--decode", "max_new_tokens=2").json
    assert found["messages"][0] == {"role": "system", "content": "be red"}
    assert "it is blue.".startswith(found["messages"][2]["content"])


def test_several_beams_answer_at_the_end(chat: Chat) -> None:
    assert chat("what is it? red\n", "--decode", "beams=2").out == "it is red.\n"


def test_a_picture_is_seen_until_the_conversation_begins_anew(chat: Chat, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    found = chat(f"/image {tmp_path / 'red.png'}\nwhat is it? red\n/help\n")
    assert (found.code, found.out) == (0, "it is red.\n")
    assert f"the model sees {tmp_path / 'red.png'} from now on" in found.err
    assert "/image PATH" in found.err
    (tmp_path / "broken.png").write_text("no picture")
    broken = chat(f"/image {tmp_path / 'broken.png'}\nwhat is it? red\n")
    assert (broken.code, broken.out) == (4, "")
    assert "broken.png" in broken.err


@pytest.mark.parametrize(
    ("lines", "words", "code", "message"),
    [
        ("/imge a.png\n", (), 2, '/imge  there is no such command. Did you mean "image"?'),
        ("/image\n", (), 2, "/image  the path is missing. Write /image PATH."),
        ("/image nowhere.png\n", (), 4, "image  there is no file 'nowhere.png'."),
        ("a <|im_start|>\n", (), 4, "has '<|im_start|>' of the chat template in it"),
        ("what? " * 200 + "\n", (), 4, "the last question has"),
        ("hello\n", ("--decode", "temperature"), 2, "'temperature' is no KEY=VALUE"),
        ("hello\n", ("--decode", "temprature=2"), 2, 'Did you mean "temperature"?'),
        ("hello\n", ("--decode", "beams=many"), 2, "beams"),
    ],
)
def test_an_error_ends_a_pipe(chat: Chat, lines: str, words: tuple[str, ...], code: int, message: str) -> None:
    found = chat(lines, *words)
    assert found.code == code
    assert " ".join(message.split()) in " ".join(found.err.split())


def test_at_a_terminal_an_error_is_told_and_the_conversation_goes_on(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["/nothing", "what? " * 200, "what is it? blue", "/quit"])
    monkeypatch.setattr("builtins.input", lambda: next(lines))
    found = chat("", terminal=True)
    assert (found.code, found.out) == (0, "it is blue.\n")
    assert "there is no such command" in found.err
    assert "the last question has" in found.err


def test_a_model_that_does_not_chat_says_what_it_can(cli: Cli, tiny_run: Path) -> None:
    found = cli("chat", tiny_run)
    assert found.code == 2
    assert "generating is for models whose one task generates text" in " ".join(found.err.split())
