"""Large JSON files, one entry at a time: those of question answering hold hundreds of megabytes in one list."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from adaptkit.benchmarks.sources import file_name
from adaptkit.errors import DataError

CHUNK = 1 << 20  # characters read at a time
LONGEST = 1 << 26  # characters of one entry, at most
SPACE = " \t\r\n"
NUMBER = "0123456789.eE+-"  # what a number at the end of a window may go on with; "" is in it


def json_list(path: Path, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) for each entry of the list that a file is, or of the list `key` of the object that it is.

    Raises:
        DataError: it cannot be read, breaks off, or has no such list of objects.
    """
    with _opened(path) as file:
        text = _Text(file, path.name)
        if key:
            _find_member(text, key)
        for number, value in enumerate(_entries(text, key)):
            where = f"{path.name}, {key}[{number}]" if key else f"{path.name}, [{number}]"
            yield where, _object(value, where)


def json_table(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(place, name, object) for each member of the object that a file is.

    Raises:
        DataError: as `json_list`.
    """
    with _opened(path) as file:
        text = _Text(file, path.name)
        for name in _members(text):
            where = f"{path.name}, {name}"
            yield where, name, _object(text.value(), where)


def is_object(path: Path) -> bool:
    """Whether the value in a .json file is an object; False of a list."""
    with _opened(path) as file:
        return _Text(file, path.name).peek() == "{"


def text_of(record: Mapping[str, Any], where: str, *names: str) -> str:
    """The text under the first of these names that a record has.

    Raises:
        DataError: it has none, or something else is there.
    """
    found = next((record[name] for name in names if record.get(name) is not None), None)
    if not isinstance(found, str):
        shown = "nothing" if found is None else f"of type {type(found).__name__}"
        raise DataError(f"{' or '.join(names)} is {shown}, not text.", where=where)
    return found.strip()


def texts_of(record: Mapping[str, Any], where: str, name: str, inner: str) -> list[str]:
    """The text `inner` of each object of the list under a name.

    Raises:
        DataError: there is no such list, it is empty, or something else is in it.
    """
    listed = record.get(name)
    if not isinstance(listed, list) or not listed or not all(isinstance(entry, dict) for entry in listed):
        raise DataError(f"a list `{name}` of objects is expected.", where=where)
    return [text_of(entry, where, inner) for entry in listed]


def id_of(record: Mapping[str, Any], where: str, *names: str) -> str:
    """The id under the first of these names that a record has, as the name of a file.

    Raises:
        DataError: as `file_name`.
    """
    return file_name(next((record[name] for name in names if record.get(name) is not None), None), where)


def _opened(path: Path) -> IO[str]:
    try:
        return path.open(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        why = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise DataError(f"the file {path} {why}.", where=path.name) from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"this is a JSON {type(value).__name__}, not an object.", where=where)
    return value


def _find_member(text: _Text, key: str) -> None:
    """Go to the value of a member; what lies before is skipped."""
    for name in _members(text):
        if name == key:
            return
        text.value()
    raise DataError(f"an object with a list {key!r} is expected.", where=text.name)


def _members(text: _Text) -> Iterator[str]:
    """The names of an object's members; whoever asks reads the value of each before the next."""
    text.take("{", "an object")
    while text.peek() != "}":
        name = text.value()
        text.take(":", "a value")
        yield str(name)
        if text.peek() != "}":
            text.take(",", "another member")
    text.take("}", "the end of the object")


def _entries(text: _Text, key: str) -> Iterator[Any]:
    text.take("[", f"a list {key!r}" if key else "a list")
    while text.peek() != "]":
        yield text.value()
        if text.peek() != "]":
            text.take(",", "another entry")
    text.take("]", "the end of the list")


class _Text:
    """A window over the characters of a file."""

    def __init__(self, file: IO[str], name: str) -> None:
        self.file, self.name = file, name
        self._window, self._at, self._ended = "", 0, False
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            while self._at < len(self._window) and self._window[self._at] in SPACE:
                self._at += 1
            if self._at < len(self._window) or self._ended:
                return self._window[self._at : self._at + 1]
            self._more(CHUNK)

    def take(self, character: str, what: str) -> None:
        """Go behind this character, which comes next.

        Raises:
            DataError: another one does.
        """
        found = self.peek()
        if found != character:
            shown = f"{found!r} stands" if found else "the file ends"
            hint = "" if found else "A download that broke off? Fetch it again."
            raise DataError(f"{shown} where {what} is expected.", where=self.name, hint=hint)
        self._at += 1

    def value(self) -> Any:
        """The JSON value that comes next."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._window, self._at)
            except (json.JSONDecodeError, RecursionError) as error:
                if self._ended or len(self._window) - self._at > LONGEST:
                    hint = "A download that broke off? Fetch it again."
                    raise DataError(f"this is not JSON: {error}.", where=self.name, hint=hint) from None
            else:
                if self._ended or not isinstance(value, int | float) or self._window[end : end + 1] not in NUMBER:
                    self._at = end
                    return value
            self._more(max(CHUNK, len(self._window) - self._at))

    def _more(self, characters: int) -> None:
        read = self.file.read(characters)
        self._window, self._at, self._ended = self._window[self._at :] + read, 0, not read
