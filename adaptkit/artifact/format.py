"""What lies in an artifact folder: its files, and the content of `adapter.json`, checked by types and by its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainValidator, ValidationError
from pydantic_core import PydanticCustomError

from adaptkit.errors import ArtifactError, Problem

FORMAT = 2
TENSORS = "adapter.safetensors"
DESCRIPTION = "adapter.json"
CARD = "README.md"
HASH = "description_sha256"  # the key of adapter.json that covers all others

MOST = 5  # mistakes that are told at once

AGAIN = "The file is damaged; export or train the adapter again."

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _number(value: Any) -> int | float:
    """A count stays one: pydantic would make a float of it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("float_type", "a number")


class _Entry(BaseModel):
    """A table of adapter.json. Strict: "3" is not 3; an integer may stand for a float."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Base(_Entry):
    """The backbone, or a tower, that an artifact belongs to.

    Attributes:
        name: as the recipe names it.
        id: hub id, timm name, local folder, or the type of a model built from a configuration; "./backbone" or "." of
            one that lies in the artifact's own folder.
        library: that builds it; "python" for code of one's own.
        revision: of the hub repository, or None.
        fingerprint: SHA-256 over its tensors before anything was trained.
        config: its configuration, without what only records versions and places; {} where its library has none.
    """

    name: str
    id: str
    library: Literal["transformers", "timm", "python"]
    revision: str | None
    fingerprint: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    config: dict[str, JsonValue]


class PluginEntry(_Entry):
    """A plugin whose kinds the recipe uses: its name, and its version or the SHA-256 of its file."""

    name: str
    version: str
    sha256: str


class Description(_Entry):
    """Content of adapter.json, but for the hash over it.

    Attributes:
        format: version of this format.
        name: of the recipe.
        recipe: the resolved recipe, as TOML. It holds what no tensor shows, such as LoRA's alpha.
        base: the backbone.
        towers: modality -> the model that its encoder runs.
        inputs: modality -> what turns its raw values into inputs besides the recipe: the tokenizer, normalisation.
        labels: task -> labels in the order of its outputs, or None.
        tokenizer: id of the tokenizer's model, or None where the backbone reads no text.
        sha256: of adapter.safetensors.
        shapes: tensor name -> shape.
        dtypes: tensor name -> number format, "float32".
        parameters: counts, as in plan.json.
        metrics: split -> metric -> value.
        seed: the seed whose tensors these are, or None.
        note: one sentence for the reader, or "".
        adaptkit: version that wrote it.
        versions: library -> version that it was made with.
        plugins: those whose kinds the recipe uses; never their code.
    """

    format: Literal[2] = FORMAT
    name: str
    recipe: str
    base: Base
    towers: dict[str, Base]
    inputs: dict[str, dict[str, JsonValue]]
    labels: dict[str, list[str] | None]
    tokenizer: str | None
    sha256: Sha256
    shapes: dict[str, list[Annotated[int, Field(ge=0)]]]
    dtypes: dict[str, str]
    parameters: dict[str, Annotated[int | float, PlainValidator(_number)]]
    metrics: dict[str, dict[str, float | None]]
    seed: int | None
    note: str
    adaptkit: str
    versions: dict[str, str]
    plugins: list[PluginEntry]

    def as_dict(self) -> dict[str, Any]:
        """Content of adapter.json, with the hash over all of it."""
        content = self.model_dump()
        return {**content, HASH: description_sha256(content)}


def is_carried(base: Base) -> bool:
    """Whether a model lies in the artifact's own folder: every other folder that an id names is absolute."""
    return base.id == "." or base.id.startswith("./")


def sha256(content: bytes) -> str:
    """Hex digest of the bytes."""
    return hashlib.sha256(content).hexdigest()


def description_sha256(content: Mapping[str, Any]) -> str:
    """The hash over adapter.json: over every key but that of the hash, in canonical JSON (sorted keys, no spaces).

    What is added to the file later is covered by being in it. The tensors are covered through `sha256`.
    """
    covered = {key: value for key, value in content.items() if key != HASH}
    return sha256(json.dumps(covered, sort_keys=True, separators=(",", ":")).encode())


def read_description(folder: Path) -> Description:
    """adapter.json of an artifact.

    Raises:
        ArtifactError: missing, not JSON, of another format, changed since it was written, or with a field that is
            missing, unknown or of the wrong type.
    """
    path = folder / DESCRIPTION
    content = read_json(path)
    version = content.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ArtifactError("is not an adaptkit artifact: it has no format number.", where=str(path), hint=AGAIN)
    if version > FORMAT:
        raise ArtifactError(
            f"has format {version}, and this adaptkit reads up to {FORMAT}.",
            where=str(path),
            hint="pip install --upgrade adaptkit",
        )
    if version == 1:
        raise ArtifactError(
            "has format 1, in which labels, options and backbone could change unnoticed; this adaptkit loads format 2.",
            where=str(path),
            hint=f"If you trust the file: adaptkit export {folder} --adapter-only --upgrade --output FOLDER.",
        )
    return checked(content, path)


def checked(content: Mapping[str, Any], path: Path) -> Description:
    """The content of an adapter.json, every field of the right type, and the whole as its hash says."""
    found = content.get(HASH)
    description = parsed({key: value for key, value in content.items() if key != HASH}, path, AGAIN)
    if found is None:
        raise ArtifactError(f"{HASH}: is missing; it covers the whole file.", where=str(path), hint=AGAIN)
    if found != description_sha256(content):
        raise ArtifactError(
            f"is not as it was when the adapter was saved: the SHA-256 over it, {HASH}, differs.",
            where=str(path),
            hint="Take the file as it was. To change the adapter, change the recipe and train again, with init_from "
            "where it is to go on.",
        )
    return description


def parsed(content: Mapping[str, Any], path: Path, hint: str = "") -> Description:
    """The fields; all mistakes are told at once."""
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        found = list(_problems(error, path, hint))
        more = [Problem(f"and {len(found) - MOST} fields more.", str(path))] if len(found) > MOST else []
        raise ArtifactError.all([*found[:MOST], *more]) from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ArtifactError: missing, unreadable, or not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError("is missing.", where=str(path), hint="Export or train the adapter again.") from error
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}.", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"is not valid JSON: {error}.", where=str(path), hint=AGAIN) from None
    if not isinstance(content, dict):
        raise ArtifactError("is no JSON object.", where=str(path), hint=AGAIN)
    return content


_SHOULD_BE = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "dict_type": "an object",
    "model_type": "an object",
    "list_type": "a list",
    "greater_than_equal": "0 or more",
    "string_pattern_mismatch": "a SHA-256 in hexadecimal digits",
}


def _problems(error: ValidationError, path: Path, hint: str) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        kind, field = detail["type"], ".".join(map(str, detail["loc"]))
        if kind == "missing":
            message = f"{field}: is missing."
        elif kind == "extra_forbidden":
            message = f"{field}: unknown entry."
        else:
            expected = _SHOULD_BE.get(kind) or detail.get("ctx", {}).get("expected") or detail["msg"]
            message = f"{field}: should be {expected}, not {_shown(detail['input'])}."
        yield Problem(message, str(path), hint)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."
