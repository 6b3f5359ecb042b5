"""CH-SIMS: four ratings of each clip on a scale from -1 to 1."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptkit.benchmarks import import_benchmark
from adaptkit.errors import DataError

FILE = "SIMS/Processed/unaligned_39.pkl"


def split(**changed: Any) -> dict[str, Any]:
    return {
        "raw_text": ["我不想嫁给李茶", "好"],
        "audio": np.ones((2, 4, 33)),
        "vision": np.ones((2, 3, 709)),
        "id": ["video_0001$_$0001", "video_0001$_$0002"],
        "text": np.ones((2, 5, 768)),
        "text_bert": np.ones((2, 3, 5)),
        "audio_lengths": [4, 2],
        "vision_lengths": [3, 1],
        "annotations": ["Negative", "Positive"],
        "classification_labels": np.array([0, 2]),
        "regression_labels": np.array([-0.4, 1.0]),
        "regression_labels_T": np.array([0.2, 0.6]),
        "regression_labels_A": np.array([-0.6, 0.8]),
        "regression_labels_V": np.array([-0.8, 0.0]),
    } | changed


def written(root: Path, **changed: Any) -> Path:
    path = root / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(dict.fromkeys(("train", "valid", "test"), split(**changed)), protocol=4))
    return root


def test_each_rating_is_a_column(tmp_path: Path) -> None:
    store = import_benchmark("sims", written(tmp_path))
    first, second = store.rows("validation")
    names = ("sentiment", "sentiment_text", "sentiment_audio", "sentiment_vision")
    assert [first[name] for name in names] == [-0.4, 0.2, -0.6, -0.8]
    assert [second[name] for name in names] == [1.0, 0.6, 0.8, 0.0]
    assert first["words"] == "我不想嫁给李茶"
    assert second["id"] == "video_0001$_$0002"


def test_a_missing_rating_is_an_error(tmp_path: Path) -> None:
    written(tmp_path)
    content = split()
    del content["regression_labels_A"]
    (tmp_path / FILE).write_bytes(pickle.dumps(dict.fromkeys(("train", "valid", "test"), content)))
    with pytest.raises(DataError, match=r"unaligned_39\.pkl  train has no regression_labels_A"):
        import_benchmark("sims", tmp_path)


def test_the_scale_ends_at_one(tmp_path: Path) -> None:
    store = import_benchmark("sims", written(tmp_path, regression_labels=np.array([-0.4, 2.0])))
    assert store.meta["audit"]["sentiment outside [-1, 1]"] == 3
