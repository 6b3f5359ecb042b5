"""On which line of a TOML text each key stands. tomllib does not tell, so a small scanner does.

It takes a text that tomllib has accepted: it only has to tell keys from values, not right from wrong.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r'[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'')
# A value in pieces. A multi-line string may end in up to five quotes, of which three close it.
_PIECE = re.compile(
    r'(?P<string>"""(?:\\.|[^\\])*?""""{0,2}|\'\'\'.*?\'\'\'\'{0,2}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\')'
    r"|(?P<comment>#[^\n]*)|(?P<open>[\[{])|(?P<close>[\]}])|(?P<newline>\n)|(?P<plain>[^\"'#\[\]{}\n]+)",
    re.DOTALL,
)

Key = tuple[str, ...]


def key_lines(text: str) -> dict[Key, int]:
    """Dotted key -> line (from 1), of every table header and every key outside inline tables.

    A table that has no header of its own (`[a.b]` without `[a]`) stands where its first part is written. The
    elements of an array of tables are numbered: ("x", "0", "key").
    """
    lines: dict[Key, int] = {}
    arrays: dict[Key, int] = {}
    position, table = _BLANK.match(text, 0).end(), ()  # type: ignore[union-attr]
    while position < len(text):
        line = text.count("\n", 0, position) + 1
        if text[position] == "[":
            double = text.startswith("[[", position)
            header, position = read_key(text, position + 1 + double)
            position = _SPACE.match(text, position).end() + 1 + double  # type: ignore[union-attr]
            table = _numbered(header, arrays)
            _note(lines, table, line)
            if double:
                arrays[table] = arrays.get(table, -1) + 1
                table = (*table, str(arrays[table]))
            lines[table] = line
        else:
            key, position = read_key(text, position)
            _note(lines, (*table, *key), line)
            position = _after_value(text, position + 1)
        position = _BLANK.match(text, position).end()  # type: ignore[union-attr]
    return lines


def read_key(text: str, position: int) -> tuple[Key, int]:
    """A dotted key from this position on, and the position after it (and after blanks).

    Raises:
        ValueError: there is no key.
    """
    parts: list[str] = []
    while True:
        position = _SPACE.match(text, position).end()  # type: ignore[union-attr]
        found = _KEY.match(text, position)
        if found is None:
            raise ValueError(f"no key at {text[position : position + 20]!r}")
        part = found[0]
        parts.append(tomllib.loads(f"k = {part}")["k"] if part[0] in "\"'" else part)
        position = _SPACE.match(text, found.end()).end()  # type: ignore[union-attr]
        if not text.startswith(".", position):
            return tuple(parts), position
        position += 1


def _after_value(text: str, position: int) -> int:
    """The end of the line on which a value ends, however many lines it takes."""
    depth = 0
    for piece in _pieces(text, position):
        if piece.lastgroup == "open":
            depth += 1
        elif piece.lastgroup == "close":
            depth -= 1
        elif piece.lastgroup == "newline" and depth == 0:
            return piece.end()
    return len(text)


def _pieces(text: str, position: int) -> Iterator[re.Match[str]]:
    while (piece := _PIECE.match(text, position)) is not None:
        yield piece
        position = piece.end()


def _numbered(header: Key, arrays: dict[Key, int]) -> Key:
    """`[x.y]` below `[[x]]` belongs to the latest element of x."""
    path: Key = ()
    for part in header[:-1]:
        path = (*path, part)
        if path in arrays:
            path = (*path, str(arrays[path]))
    return (*path, header[-1])


def _note(lines: dict[Key, int], key: Key, line: int) -> None:
    """The line of the key, and of the tables around it unless they are known."""
    for length in range(1, len(key)):
        lines.setdefault(key[:length], line)
    lines[key] = line
