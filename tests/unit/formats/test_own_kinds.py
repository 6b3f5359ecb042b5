"""A format, a modality and an encoder that are not ours: each registered in one place, and a recipe names them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from adaptkit.artifact import load_artifact
from adaptkit.data.rows import FORMATS, Column, Row, SplitRows
from adaptkit.errors import RecipeError
from adaptkit.evaluation import evaluate
from adaptkit.modalities import MODALITIES, BackboneContext, Encoder
from adaptkit.modalities.encoder import present_of, shared
from adaptkit.modalities.token_encoder import ENCODERS, TokenEncoder, encoder_of
from adaptkit.plan import make_plan
from adaptkit.recipe import DataTable, ModalityTable, parse_recipe
from adaptkit.recipe.cells import TEXT, CellForm
from adaptkit.recipe.modality import EncoderSpec, encoder_for
from adaptkit.training import train

# B batch, T tokens, E width, W positions

WORDS, SIZES = ("red", "blue"), {"train": 16, "validation": 8, "test": 8}


class Lines(DataTable):
    """One sample per line: question, positions and answer with bars between."""

    separator: str = Field(default="|", description="Between the cells of a line.")


def read_lines(data: Lines, base: Path, columns: tuple[Column, ...]) -> SplitRows:
    """SPLIT.txt of every split."""
    splits, digest = {}, hashlib.sha256()
    for split in SIZES:
        content = (base / f"{split}.txt").read_text()
        digest.update(content.encode())
        cells = [line.split(data.separator) for line in content.splitlines()]
        splits[split] = [
            Row(f"{split}/{n}", dict(zip(("question", "places", "answer"), c, strict=True)))
            for n, c in enumerate(cells)
        ]
    return SplitRows(splits, f"sha256:{digest.hexdigest()}", "lines")


class SparseModality(ModalityTable):
    """Positions of the ones in a vector of zeros: "0 3"."""

    cell_form: ClassVar[CellForm] = TEXT

    width: int = Field(ge=1, description="W, length of the vector.")
    pool: str = "none"
    encoder: Annotated[EncoderSpec, encoder_for("sparse")] | None = None


class SparseEncoder(Encoder):
    """A batch has `values`, (B, 1, W)."""

    table = SparseModality
    vector: int

    @classmethod
    def of(cls, modality: Any, name: str, context: BackboneContext) -> SparseEncoder:
        chosen = encoder_of(modality, name, (1, modality.width))
        encoder = cls(width=modality.width, tokens=1, encoder=chosen, **shared(modality, name))
        encoder.vector = modality.width
        return encoder

    def read(self, value: Any, where: str) -> list[int]:
        return [int(place) for place in value.split()]

    def collate(self, values: list[list[int] | None], ids: list[str]) -> dict[str, Tensor]:
        batch = torch.zeros(len(values), 1, self.vector)
        for row, places in enumerate(values):
            batch[row, 0, places or []] = 1
        return {"values": batch, "present": present_of(values)}

    def vectors(self, inputs: Any) -> tuple[Tensor, Tensor]:
        values = inputs["values"]
        return self._encoded(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))


class Convolved(TokenEncoder):
    """A convolution over the last dimension, its channels as tokens."""

    modality = ("sparse", "features", "image")

    def __init__(self, shape: tuple[int, ...], *, channels: int = 2) -> None:
        super().__init__()
        self.tokens, self.width = channels, shape[-1]
        self.convolve = nn.Conv1d(1, channels, 3, padding=1)

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        while values.dim() > 2:
            values = values.mean(1)  # (B, E)
        tokens = self.convolve(values[:, None])  # (B, T, E)
        return tokens, mask[:, :1].expand(-1, tokens.shape[1])


@pytest.fixture
def own() -> Iterator[None]:
    FORMATS.register("lines", table=Lines)(read_lines)
    MODALITIES.register("sparse")(SparseEncoder)
    ENCODERS.register("convolved")(Convolved)
    yield
    del FORMATS["lines"], MODALITIES["sparse"], ENCODERS["convolved"]


def document(model: Path, **modality: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "own",
        "backbone": {"model": str(model)},
        "modality": {
            "question": {"kind": "text", "route": "backbone"},
            "places": {"kind": "sparse", "width": 4, "route": "side", **modality},
        },
        "adapter": {"fuse": {"kind": "gmu", "at": ["mlp.out"], "sides": ["places"], "bottleneck": 4}},
        "data": {"format": "lines"},
        "task": {"answer": {"kind": "classification"}},
        "train": {"epochs": 1, "batch_size": 8},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    chance = np.random.default_rng(0)
    for split, size in SIZES.items():
        draws = [(int(chance.integers(4)), int(chance.integers(2))) for _ in range(size)]
        lines = [f"is it {WORDS[word]} ?|{place}|{'yes' if place % 2 == word else 'no'}" for place, word in draws]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


ENCODED = {"encoder": {"kind": "convolved", "channels": 3}}


@pytest.mark.parametrize("modality", [{}, ENCODED], ids=["as they are", "encoded"])
def test_a_recipe_with_kinds_of_our_own_runs(
    own: None, tiny_bert: Path, folder: Path, modality: dict[str, Any]
) -> None:
    recipe = parse_recipe(document(tiny_bert, **modality), base=folder)
    learned = 3 * 3 + 3 if modality else 0
    assert make_plan(recipe).parameters.encoders == learned
    run = train(recipe, runs=folder / "runs").run
    assert evaluate(run)
    model = load_artifact(run)
    moved = [name for name in model.trainable_state() if name.startswith("encoders.places.encoder.")]
    assert len(moved) == (2 if modality else 0)
    (found,) = model.predict([{"question": "is it red ?", "places": "0 2"}])
    assert found["label"] in ("no", "yes")


def test_an_encoder_reads_the_pixels_of_an_image(own: None, tiny_bert: Path, folder: Path) -> None:
    written = document(tiny_bert, kind="image", size=4, channels=1, missing="zero", **ENCODED)
    del written["modality"]["places"]["width"]
    recipe = parse_recipe(written, base=folder)
    encoder = Encoder.build(recipe.modality["places"], "places", BackboneContext(width=8))
    image = np.random.default_rng(0).random((4, 4), dtype=np.float32)
    side = encoder(encoder.collate([encoder.read(image, "a"), None], ["a", "b"]))
    assert (encoder.width, encoder.tokens) == (4, 3)
    assert side.mask.tolist() == [[True] * 3, [False] * 3]
    assert encoder.encoder is not None
    convolve = encoder.encoder.get_submodule("convolve")
    torch.testing.assert_close(side.tensor[0], convolve(torch.from_numpy(image.mean(0))[None]))


def test_an_encoder_of_another_modality_is_one_error(own: None, tiny_bert: Path, folder: Path) -> None:
    with pytest.raises(RecipeError) as error:
        parse_recipe(document(tiny_bert, encoder="rows"), base=folder)
    (problem,) = error.value.problems
    assert 'should be one of the encoders of sparse (convolved), not "rows"' in problem.message


def test_a_forgotten_kind_is_unknown(tiny_bert: Path, folder: Path) -> None:
    with pytest.raises(RecipeError) as error:
        parse_recipe(document(tiny_bert), base=folder)
    assert 'unknown modality kind "sparse"' in str(error.value)
    assert 'unknown data format "lines"' in str(error.value)
