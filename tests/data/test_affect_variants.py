"""Every variant of the affective benchmarks: written, found, read back, with a signal that needs all modalities."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from adaptkit.benchmarks import BENCHMARKS, find_benchmark, import_benchmark, synthesise
from adaptkit.benchmarks.affect.importer import Affect
from adaptkit.benchmarks.affect.padding import MODALITIES, Layout
from adaptkit.data.store import Store

NAMES = ("mosi", "mosei", "sims", "iemocap")
VARIANTS = [(name, variant) for name in NAMES for variant in BENCHMARKS[name].variants]
WIDTHS = {
    ("mosi", "mult-aligned"): (300, 5, 20),
    ("mosi", "multibench"): (300, 74, 35),
    ("mosi", "mmsa-unaligned"): (768, 5, 20),
    ("mosei", "mult-noalign"): (300, 74, 35),
    ("mosei", "mmsa-aligned"): (768, 74, 35),
    ("sims", "mmsa-unaligned"): (768, 33, 709),
    ("iemocap", "mult-aligned"): (300, 74, 35),
}


def layout(name: str, variant: str) -> Layout:
    source = find_benchmark(name)
    assert isinstance(source, Affect)
    return source.layouts[variant]


def imported(folder: Path, name: str, variant: str, samples: int = 12) -> Store:
    synthesise(name, folder, variant=variant, samples=samples)
    return import_benchmark(name, folder)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_what_is_written_is_found_and_read_back(tmp_path: Path, name: str, variant: str) -> None:
    store = imported(tmp_path, name, variant)
    assert store.meta["variant"] == variant
    dropped = 1 if variant == "multibench" else 0
    assert store.meta["splits"] == {"train": 12 - dropped, "validation": 4 - dropped, "test": 4 - dropped}
    assert set(store.columns) <= set(BENCHMARKS[name].columns)
    widths = tuple(store.columns[modality]["width"] for modality in MODALITIES)
    assert widths == WIDTHS.get((name, variant), widths)
    rows = list(store.rows("train"))
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(np.isfinite(row["audio"]).all() for row in rows)
    assert sum(row["vision"] is None for row in rows) <= 1
    assert any("in audio" in text or "audio:" in text for text in store.meta["audit"])
    place = layout(name, variant).places[0]
    assert list(store.meta["sources"]) == [place]
    assert hashlib.sha256((tmp_path / place).read_bytes()).hexdigest() in store.meta["sources"][place]


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_no_padding_is_left(tmp_path: Path, name: str, variant: str) -> None:
    store, aligned = imported(tmp_path, name, variant), variant in ("mult-aligned", "multibench", "mmsa-aligned")
    lengths = set()
    for row in store.rows("train"):
        if row["text"] is None:
            continue
        lengths.add(len(row["text"]))
        assert row["text"][0].any()
        assert row["text"][-1].any()
        assert row["audio"][1:-1].any(axis=1).all()
        if aligned:
            assert len(row["audio"]) == len(row["text"])
            assert row["vision"] is None or len(row["vision"]) == len(row["text"])
    assert len(lengths) > 2


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_the_bytes(tmp_path: Path, name: str) -> None:
    variant = next(iter(BENCHMARKS[name].variants))
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        synthesise(name, tmp_path / folder, variant=variant, samples=6, seed=seed)
    place = layout(name, variant).places[0]
    a, b, c = ((tmp_path / folder / place).read_bytes() for folder in "abc")
    assert a == b
    assert a != c


def pooled(store: Store, split: str, names: tuple[str, ...]) -> np.ndarray:
    """(N, E + ...) means over the steps, 0 where absent."""
    widths = {name: store.columns[name]["width"] for name in names}
    rows = [
        np.concatenate([np.zeros(widths[n]) if row[n] is None else row[n].mean(axis=0) for n in names])
        for row in store.rows(split)
    ]
    return np.stack(rows)


def error(store: Store, names: tuple[str, ...], split: str = "test") -> float:
    """Mean absolute error of a ridge regression relative to that of the mean."""

    def targets(part: str) -> np.ndarray:
        if "sentiment" in store.columns:
            return np.array([[row["sentiment"]] for row in store.rows(part)])
        return np.array(
            [[float(e in row["emotions"]) for e in store.meta["classes"]["emotions"]] for row in store.rows(part)]
        )

    x, y = pooled(store, "train", names), targets("train")
    centre = y.mean(axis=0)
    weights = np.linalg.solve(x.T @ x + 100 * np.eye(x.shape[1]), x.T @ (y - centre))
    residual = targets(split) - centre - pooled(store, split, names) @ weights
    return float(np.abs(residual).mean() / np.abs(targets(split) - centre).mean())


@pytest.mark.parametrize(
    ("name", "variant"), [("mosi", "mult-aligned"), ("sims", "mmsa-unaligned"), ("iemocap", "mult-noalign")]
)
def test_the_signal_needs_the_text_and_the_rest(tmp_path: Path, name: str, variant: str) -> None:
    store = imported(tmp_path, name, variant, samples=120)
    together, text = error(store, MODALITIES), error(store, ("text",))
    rest = error(store, ("audio", "vision"))
    assert together < 0.6 * min(text, rest)
    assert max(text, rest) < 0.9


def test_the_words_tell_what_the_text_vectors_tell(tmp_path: Path) -> None:
    store = imported(tmp_path, "sims", "mmsa-unaligned", samples=40)
    rows = list(store.rows("train"))
    best = [r["sentiment_text"] for r in rows if any(w in r["words"] for w in ("excellent", "brilliant", "amazing"))]
    worst = [r["sentiment_text"] for r in rows if any(w in r["words"] for w in ("terrible", "awful", "dreadful"))]
    assert best
    assert worst
    assert min(best) > 0.3
    assert max(worst) < -0.3


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_describes_itself(name: str) -> None:
    source = find_benchmark(name)
    assert isinstance(source, Affect)
    assert source.name == name
    assert source.layouts.keys() == source.variants.keys()
    places = {layout.places[0] for layout in source.layouts.values()}
    for file, digest in source.known_sums.items():
        assert file in places
        assert len(bytes.fromhex(digest)) == 32
