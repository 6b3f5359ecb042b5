"""`[data]` of the field's benchmarks: the folder as it was downloaded, after `adaptkit data import`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adaptkit.recipe.data_table import DataTable

Folder = Annotated[
    str,
    Field(
        min_length=1,
        examples=["../data/benchmark"],
        description="The downloaded folder, or the store that `adaptkit data import` made of it, relative to the "
        "recipe file.",
    ),
]
Variant = Annotated[
    str | None,
    Field(
        min_length=1,
        description="Which of the imported layouts, where several lie there. Default: the only one.",
    ),
]


class BenchmarkTable(DataTable):
    """The keys that every benchmark has."""

    root: Folder
    variant: Variant = None


class Moviescope(BenchmarkTable):
    """Moviescope: about 5,000 films with plot, poster, trailer, audio and metadata; 13 genres."""

    format: Literal["moviescope"] = Field(examples=["moviescope"], description="Moviescope: genres of films.")


class Mmimdb(BenchmarkTable):
    """MM-IMDb: 25,959 films with plot and poster; 23 genres."""

    format: Literal["mmimdb"] = Field(examples=["mmimdb"], description="MM-IMDb: genres of films.")


class Mosi(BenchmarkTable):
    """CMU-MOSI: 2,199 opinions with words, voice and face; sentiment from -3 to 3."""

    format: Literal["mosi"] = Field(examples=["mosi"], description="CMU-MOSI: sentiment of spoken opinions.")


class Mosei(BenchmarkTable):
    """CMU-MOSEI: 22,856 utterances with words, voice and face; sentiment from -3 to 3."""

    format: Literal["mosei"] = Field(examples=["mosei"], description="CMU-MOSEI: sentiment of spoken opinions.")


class Sims(BenchmarkTable):
    """CH-SIMS: 2,281 Chinese clips with words, voice and face; sentiment from -1 to 1, also of each modality."""

    format: Literal["sims"] = Field(examples=["sims"], description="CH-SIMS: sentiment of Chinese clips.")


class Iemocap(BenchmarkTable):
    """IEMOCAP: acted dialogues with words, voice and face; four emotions, each present or not."""

    format: Literal["iemocap"] = Field(examples=["iemocap"], description="IEMOCAP: emotions of acted dialogues.")


class Food101(BenchmarkTable):
    """UPMC Food-101: some 90,000 recipe pages with title or text and image; 101 dishes."""

    format: Literal["food101"] = Field(examples=["food101"], description="UPMC Food-101: dishes of recipe pages.")


class Msrvtt(BenchmarkTable):
    """MSR-VTT: 10,000 clips with 20 captions each, for retrieval."""

    format: Literal["msrvtt"] = Field(examples=["msrvtt"], description="MSR-VTT: clips and their captions.")
