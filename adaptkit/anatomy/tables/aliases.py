"""Short names of common checkpoints, from aliases.toml. No torch: `adaptkit list models` stays fast."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Alias:
    """One row of aliases.toml.

    Attributes:
        name: the short name, "bert-base".
        id: the checkpoint it stands for, "google-bert/bert-base-uncased".
        config: the published configuration, bundled with adaptkit.
        package: an installed package that carries the weights as data; "" where there is none.
        folder: where in that package they are.
        sha256: of that folder's model.safetensors.
    """

    name: str
    id: str
    config: Path
    package: str = ""
    folder: str = ""
    sha256: str = ""

    @property
    def model_type(self) -> str:
        """Of transformers, as the bundled configuration says."""
        return json.loads(self.config.read_text(encoding="utf-8"))["model_type"]


@cache
def aliases() -> dict[str, Alias]:
    """Every short name, in the order of the file."""
    rows = tomllib.loads((FOLDER / "aliases.toml").read_text(encoding="utf-8"))
    return {name: Alias(name, config=FOLDER / "configs" / f"{name}.json", **row) for name, row in rows.items()}


@cache
def tokenizers() -> dict[str, Path]:
    """The tokenizers that come with adaptkit and belong to no checkpoint, by name."""
    return {folder.name: folder for folder in sorted((FOLDER / "tokenizers").iterdir()) if folder.is_dir()}


@cache
def by_id() -> dict[str, Alias]:
    """The same rows under the full id of each checkpoint."""
    return {alias.id: alias for alias in aliases().values()}
