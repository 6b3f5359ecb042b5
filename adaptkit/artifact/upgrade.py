"""Reading artifacts of format 1, whose description nothing vouched for, where a user says that it is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adaptkit.artifact.format import AGAIN, DESCRIPTION, FORMAT, TENSORS, parsed, read_json, sha256
from adaptkit.artifact.reading import Artifact, read_tensors, with_tensors
from adaptkit.artifact.save import dtype_of
from adaptkit.errors import ArtifactError, UsageError

# What format 1 might lack, because it came later, or was never written without a training.
_LATER: dict[str, Any] = {"towers": {}, "plugins": [], "parameters": {}, "metrics": {}}
_LATER |= {"seed": None, "note": "", "adaptkit": ""}


def read_format_1(folder: Path) -> Artifact:
    """An artifact of format 1, as far as it can be checked: types, its recipe's hash, the tensors' hash and shapes.

    What it does not tell, the configuration and the tokenizer of its models, is left open.

    Raises:
        UsageError: it has another format.
        ArtifactError: it is damaged.
    """
    path = folder / DESCRIPTION
    content = read_json(path)
    if content.get("format") != 1:
        raise UsageError(
            f"has format {content.get('format')}, and --upgrade is for format 1.",
            where=str(path),
            hint="Leave out --upgrade.",
        )
    recorded = content.pop("recipe_sha256", "")
    if recorded and recorded != sha256(str(content.get("recipe")).encode()):
        raise ArtifactError(
            "the recipe in it is not the one that the adapter was saved with: its SHA-256 differs.",
            where=str(path),
            hint=AGAIN,
        )
    _, tensors = read_tensors(folder / TENSORS)
    content = _LATER | content | {"format": FORMAT, "inputs": {}, "versions": {}}
    content["dtypes"] = {name: dtype_of(tensor) for name, tensor in tensors.items()}
    content["base"] = _with_config(content.get("base"))
    if isinstance(towers := content["towers"], dict):
        content["towers"] = {name: _with_config(tower) for name, tower in towers.items()}
    return with_tensors(folder, parsed(content, path, AGAIN))


def _with_config(base: Any) -> Any:
    return {**base, "config": {}} if isinstance(base, dict) else base
