"""IEMOCAP: pairs of one-hot labels, no ids, and sequences of 20 words in a folder called seq_length_50."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptkit.benchmarks import import_benchmark, synthesise
from adaptkit.errors import DataError


def split(labels: Any) -> dict[str, Any]:
    text = np.zeros((len(labels), 20, 300))
    text[:, 12:] = 1
    audio, vision = np.zeros((len(labels), 20, 74)), np.zeros((len(labels), 20, 35))
    audio[:, 13:] = vision[:, 12:] = 1
    return {"labels": np.asarray(labels), "text": text, "audio": audio, "vision": vision}


def pairs(*held: str) -> list[list[int]]:
    return [[0, 1] if name in held else [1, 0] for name in ("neutral", "happy", "sad", "angry")]


def written(root: Path, labels: Any, folder: str = "seq_length_50") -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    content = dict.fromkeys(("train", "valid", "test"), split(labels))
    (root / folder / "iemocap_data.pkl").write_bytes(pickle.dumps(content))
    return root


def test_one_hot_pairs_become_names(tmp_path: Path) -> None:
    labels = [pairs("neutral"), pairs("angry", "sad"), pairs(), pairs("happy")]
    store = import_benchmark("iemocap", written(tmp_path, labels))
    assert [row["emotions"] for row in store.rows("train")] == [["neutral"], ["sad", "angry"], [], ["happy"]]
    assert store.meta["classes"]["emotions"] == ["angry", "happy", "neutral", "sad"]


def test_lengths_come_from_the_arrays_and_ids_from_the_positions(tmp_path: Path) -> None:
    store = import_benchmark("iemocap", written(tmp_path, [pairs(), pairs()]))
    row = store.rows("validation")[1]
    assert row["id"] == "validation_1"
    assert {name: row[name].shape for name in ("text", "audio", "vision")} == {
        "text": (8, 300),
        "audio": (8, 74),
        "vision": (8, 35),
    }
    assert not row["audio"][0].any()  # aligned: starts where the first modality does
    assert store.meta["audit"]["samples without an id in the source: named by split and position"] == 6


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[[1, 1]] * 4], "labels are not pairs of one 0 and one 1"),
        ([[[0.5, 0.5]] * 4], "labels are not pairs of one 0 and one 1"),
        ([[[0, 1]] * 3], r"labels have shape \(1, 3, 2\); 8 per sample expected"),
    ],
)
def test_labels_of_another_form_are_refused(tmp_path: Path, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_benchmark("iemocap", written(tmp_path, labels))


def test_the_unaligned_file_beside_the_aligned_one_asks_for_a_variant(tmp_path: Path) -> None:
    for variant in ("mult-aligned", "mult-noalign"):
        synthesise("iemocap", tmp_path, variant=variant, samples=4, force=True)
    with pytest.raises(
        DataError, match=r"iemocap_data\.pkl \(mult-aligned\), iemocap_data_noalign\.pkl \(mult-noalign\)"
    ):
        import_benchmark("iemocap", tmp_path)
    store = import_benchmark("iemocap", tmp_path, variant="mult-noalign")
    row = store.rows("train")[0]
    assert len(row["audio"]) != len(row["text"])
