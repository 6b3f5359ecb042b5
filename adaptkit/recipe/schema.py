"""A recipe as a whole: its tables, and where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, PrivateAttr

from adaptkit.kinds import ADAPTERS, FORMATS, FUSIONS, MODALITIES, TASKS
from adaptkit.recipe.adapter import AdapterSpec
from adaptkit.recipe.backbone import Backbone
from adaptkit.recipe.cache import Cache
from adaptkit.recipe.data import DataTable
from adaptkit.recipe.fusion import FusionSpec
from adaptkit.recipe.kinded import OfKind
from adaptkit.recipe.modality import ModalityTable
from adaptkit.recipe.places import Places
from adaptkit.recipe.table import IsPath, Table
from adaptkit.recipe.task import TaskTable
from adaptkit.recipe.training import Train


@dataclass(frozen=True)
class Origin:
    """Where a recipe came from. It says nothing about what the recipe means, so it takes no part in equality.

    Attributes:
        source: the file; None for a recipe made in Python.
        text: the file as it is, to the letter.
        base: folder that relative paths of the recipe are resolved against.
        places: dotted key -> "file:line" or "--set ...".
    """

    source: Path | None = field(default=None, compare=False)
    text: str = field(default="", compare=False)
    base: Path = field(default=Path(), compare=False)
    places: Mapping[tuple[str, ...], str] = field(default_factory=dict, compare=False)


class Recipe(Table):
    """What to graft where, on which data and how to train it, as `load_recipe` and `parse_recipe` make it."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    schema_: Literal[1] = Field(default=1, alias="schema", description="Version of the recipe language.")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        examples=["my_recipe"],
        description="Name of the recipe and of its folder of runs.",
    )
    plugins: Annotated[list[str], IsPath(dotted=True)] = Field(
        default=[],
        examples=[["film.py"]],
        description="Your own kinds: files (relative to the recipe file) or modules that register them. They are your "
        "code, and run as such.",
    )
    init_from: Annotated[str | None, IsPath()] = Field(
        default=None,
        examples=["../runs/base"],
        description="Run, artifact, or folder of runs (its newest finished one), relative to the recipe file. All "
        "in it that fits by name gives the initial values: trained parts of the backbone, encoders, projections, the "
        "fusion, heads, adapters. A head of another shape starts anew.",
    )
    backbone: Backbone = Field(examples=[{"model": "bert-base"}], description="The pretrained model.")
    modality: dict[str, Annotated[ModalityTable, OfKind(MODALITIES)]] = Field(
        examples=[{"text": {"kind": "text", "route": "backbone"}}], description="The input streams, by name."
    )
    adapter: dict[str, Annotated[AdapterSpec, OfKind(ADAPTERS)]] = Field(
        default={}, description="The adapters, by name, in order of insertion."
    )
    fusion: Annotated[FusionSpec, OfKind(FUSIONS)] = Field(
        default=FusionSpec(),
        description='After the backbone, and the adapters at "fusion": how its vector meets the modalities of route '
        '"fusion" that no adapter reads.',
    )
    data: Annotated[DataTable, OfKind(FORMATS, "format")] = Field(
        examples=[{"format": "jsonl"}], description="Where samples come from."
    )
    task: dict[str, Annotated[TaskTable, OfKind(TASKS)]] = Field(
        examples=[{"label": {"kind": "classification"}}], description="The targets, by name."
    )
    train: Train = Field(default_factory=Train, description="How to train.")
    cache: Cache = Field(default_factory=Cache, description="What is computed once and kept.")

    _origin: Origin = PrivateAttr(default_factory=Origin)

    @property
    def source(self) -> Path | None:
        """The file it came from; None for a recipe made in Python."""
        return self._origin.source

    @property
    def text(self) -> str:
        """The file as it is, to the letter."""
        return self._origin.text

    @property
    def base(self) -> Path:
        """Folder that relative paths are resolved against."""
        return self._origin.base

    @property
    def places(self) -> Mapping[tuple[str, ...], str]:
        """Dotted key, in words -> "file:line" or "--set ..."."""
        return self._origin.places

    def batch_size(self, tasks: Iterable[str]) -> int:
        """Samples of the batches that these tasks share: the smallest that one of them asks for, or the training's."""
        asked = [size for size in (self.task[task].batch_size for task in tasks) if size is not None]
        return min(asked, default=self.train.batch_size)

    def where(self, dotted_key: str) -> str:
        """`recipes/mosi.toml:31`: the line of this key, or of the table that lacks it; "" without a file."""
        return Places(self._origin.places).of(tuple(dotted_key.split(".")))

    def path(self, text: str) -> Path:
        """A path of the recipe, absolute or relative to its folder."""
        return self.base / Path(text).expanduser()
