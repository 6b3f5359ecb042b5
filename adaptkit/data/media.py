"""Images, sounds and films in the words of a conversation: what they are, taken out of the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adaptkit.errors import DataError

MEDIA = ("image", "video", "audio")  # as parts, as columns, and as <image> in a text
SOURCES = ("path", "url")  # keys of a part with the place of its file, besides its own name


def taken_out(
    messages: Sequence[dict[str, Any]], record: Mapping[str, Any], where: str
) -> tuple[list[Any], dict[str, Any]]:
    """The messages as plain text, and what they show: column -> its value, for each medium that the words point at.

    A medium stands as a part, {"type": "image", "image": path}, or as <image> in a text, and then in the column
    `image`, or in the list `images`.

    Raises:
        DataError: more or fewer files than places; several of one kind; a part of an unknown type; not a path.
    """
    found: dict[str, list[Any]] = {name: [] for name in MEDIA}
    plain = [{**message, "content": _text(message["content"], found, where)} for message in messages]
    for name in MEDIA:
        listed = record.get(f"{name}s")
        listed = listed if isinstance(listed, list) else [] if record.get(name) is None else [record[name]]
        marks, mark = sum(message["content"].count(f"<{name}>") for message in plain), f"<{name}>"
        if listed and marks:
            if marks != len(listed):
                message = f"the words have {mark} {marks} times, and there are {len(listed)} files."
                raise DataError(message, where=where, hint="Write as many as there are.")
            plain = [{**message, "content": _without(message["content"], mark)} for message in plain]
            found[name] += listed
        if len(found[name]) > 1:
            message = f"the conversation has {len(found[name])} files of {name}; a column holds one."
            raise DataError(message, where=where, hint="Leave the others out.")
    return plain, {name: values[0] for name, values in found.items() if values}


def _text(content: Any, found: dict[str, list[Any]], where: str) -> str:
    """What the parts of a message say; the files of the others join `found`."""
    if isinstance(content, str):
        return content
    said: list[str] = []
    for part in content:
        if isinstance(part, str) or (isinstance(part, Mapping) and isinstance(part.get("text"), str)):
            said.append(part if isinstance(part, str) else part["text"])
            continue
        kind = str(part.get("type", "")).removesuffix("_url") if isinstance(part, Mapping) else ""
        if kind not in MEDIA:
            hint = 'Parts are {"type": "text", "text": ...} and {"type": "image", "image": PATH}.'
            raise DataError(f"a part of a message is of an unknown type: {kind or repr(part)}.", where=where, hint=hint)
        found[kind].append(_file(part, kind, where))
    return "\n".join(said)


def _file(part: Mapping[str, Any], kind: str, where: str) -> Any:
    value: Any = next((part[key] for key in (kind, *SOURCES, f"{kind}_url") if part.get(key) is not None), None)
    if isinstance(value, Mapping):  # {"image_url": {"url": ...}}
        value = next((value[key] for key in SOURCES if value.get(key) is not None), None)
    if value is None or (isinstance(value, str) and value.startswith(("data:", "http://", "https://"))):
        hint = f'Save it beside the data, and write {{"type": "{kind}", "{kind}": "its/path"}}.'
        raise DataError(f"a part of type {kind} names no file.", where=where, hint=hint)
    return value


def _without(text: str, mark: str) -> str:
    return text.replace(f"{mark}\n", "").replace(f"\n{mark}", "").replace(mark, "").strip()
