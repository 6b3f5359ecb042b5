"""Samples become batches; whoever is wrong is named."""

from __future__ import annotations

import pytest
import torch

from adaptkit.data import Sample
from adaptkit.data.collate import Collator
from adaptkit.errors import DataError
from adaptkit.modalities.features.encoder import FeaturesEncoder
from adaptkit.tasks.classification.task import ClassificationTask

COLLATE = Collator(
    {"poster": FeaturesEncoder(2, name="poster", missing="zero")},
    {"genre": ClassificationTask("genre", ("drama", "comedy"))},
)


def sample(value: object, label: object = "drama", **targets: object) -> Sample:
    return Sample("7", {"poster": value}, {"genre": label, **targets}, "train.jsonl:3")


def test_a_batch_has_ids_inputs_and_targets() -> None:
    batch = COLLATE([sample([1.0, 2.0]), sample(None, "comedy")])
    assert batch["ids"] == ["7", "7"]
    assert torch.equal(batch["inputs"]["poster"]["values"], torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]]))
    assert batch["inputs"]["poster"]["present"].tolist() == [True, False]
    assert batch["targets"]["genre"].tolist() == [0, 1]


def test_samples_without_targets_make_a_batch_without_targets() -> None:
    assert COLLATE([Sample("7", {"poster": [1, 2]}, {})])["targets"] == {}


def test_errors_name_the_file_the_line_and_the_sample() -> None:
    with pytest.raises(DataError, match=r"train.jsonl:3 \(sample 7\)  poster has shape \(3,\)"):
        COLLATE([sample([1.0, 2.0, 3.0])])
    with pytest.raises(DataError, match=r"train.jsonl:3 \(sample 7\)  the label 'dramma' is not one"):
        COLLATE([sample([1.0, 2.0], "dramma")])
