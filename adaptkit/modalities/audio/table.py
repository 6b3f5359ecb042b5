"""The keys of `kind = "audio"`: sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from annotated_types import Interval
from pydantic import Field

from adaptkit.recipe.cells import FILE, CellForm
from adaptkit.recipe.modality import EncoderSpec, ModalityTable, Pool, TowerOf, encoder_for
from adaptkit.recipe.places import Finding, Path
from adaptkit.recipe.table import Written, WrittenRecipe

Milliseconds = Annotated[float, Interval(ge=0.1, le=10_000)]


class AudioModality(ModalityTable):
    """Sound: a file (wav, flac, ogg) or an array of samples, as log-mel frames or through a tower."""

    model_input: ClassVar[str] = "audio"
    cell_form: ClassVar[CellForm] = FILE
    reads: ClassVar[tuple[str, ...]] = ("path",)

    encoder: Annotated[EncoderSpec, encoder_for("audio")] = Field(
        default=EncoderSpec(kind="log_mel"),
        description='Without a tower: "log_mel", one token per frame, the logarithm of its mel spectrum; others read '
        "these.",
    )
    sampling_rate: Annotated[int, Interval(ge=1000, le=1_000_000)] | None = Field(
        default=None,
        examples=[16000],
        description="Samples per second; files are resampled, arrays are taken to have it. Default: the tower's, or "
        "16000.",
    )
    seconds: Annotated[float, Interval(gt=0, le=86_400)] | None = Field(
        default=None, examples=[10.0], description="Longest clip kept. Default: what the tower reads, or all."
    )
    keep: Literal["first", "last", "middle"] = Field(
        default="first", description="Which part of a longer clip is kept."
    )
    bins: Annotated[int, Interval(ge=1, le=4096)] = Field(
        default=80, description='Mel bands, the width of a token of "log_mel".'
    )
    hop: Annotated[float, Interval(ge=0.1, le=10_000)] = Field(
        default=10.0, description='Milliseconds between the frames of "log_mel".'
    )
    window: Annotated[float, Interval(ge=0.1, le=10_000)] = Field(
        default=25.0, description='Milliseconds that one frame of "log_mel" sees.'
    )
    pool: Pool = "none"
    tower: TowerOf = None

    @property
    def _example(self) -> tuple[str, str]:
        return '"sound.wav"', 'a path, or {"array": ..., "sampling_rate": ...}'

    @classmethod
    def check(cls, path: Path, table: Written, recipe: WrittenRecipe) -> Iterator[Finding]:
        yield from super().check(path, table, recipe)
        for key in ("bins", "hop", "window"):
            if table["tower"] is not None and table[key] != cls.model_fields[key].default:
                yield Finding((*path, key), "a tower brings its own spectrogram.", f"Leave {key} out.")
