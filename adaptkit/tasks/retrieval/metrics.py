"""Ranks of queries and items over a whole gallery, with ties counted fairly."""

from __future__ import annotations

import numpy as np

from adaptkit.tasks.metric import Metric, Values

# N queries, G items, P width of the common space

CELLS = 1 << 22  # cosines held at a time
TIE = 1e-7  # cosines of float32 vectors that are no farther apart are equal

METRICS = (
    Metric("q2g_r1", "R@1: share of queries whose item has rank 1 in the gallery"),
    Metric("q2g_r5", "R@5 of the queries"),
    Metric("q2g_r10", "R@10 of the queries"),
    Metric("q2g_mdr", "MdR: median rank of the queries' items", False),
    Metric("q2g_mnr", "MnR: mean rank of the queries' items", False),
    Metric("g2q_r1", "R@1: share of items whose best query has rank 1"),
    Metric("g2q_r5", "R@5 of the items"),
    Metric("g2q_r10", "R@10 of the items"),
    Metric("g2q_mdr", "MdR: median rank of the items' queries", False),
    Metric("g2q_mnr", "MnR: mean rank of the items' queries", False),
    Metric("n_gallery", "how many items the gallery has (a count)", None),
)


def retrieval(outputs: np.ndarray, items: np.ndarray, cells: int = CELLS) -> tuple[Values, list[str]]:
    """R@1, R@5, R@10, median and mean rank, from queries to items and back.

    The gallery is all items of the split, each once, with the vector of its first sample. A rank is
    1 + (how many are nearer) + (how many others are as near) / 2, so that equal vectors share the mean of their
    places, and a model that maps all to one point finds nothing. From items to queries an item is as near as its
    nearest query (as CLIP4Clip counts several captions of a video): what is ranked is items.

    Args:
        outputs: (N, 2*P): queries, then the items they belong to.
        items: (N,) which item: equal numbers for equal items.
        cells: how many cosines to hold at a time.
    """
    queries, vectors = (_unit(half) for half in np.split(outputs, 2, axis=1))  # (N, P)
    _, first, own = np.unique(items, return_index=True, return_inverse=True)  # (G,), (N,) place in the gallery
    gallery = vectors[first]  # (G, P)
    values: Values = {"n_gallery": len(gallery)}
    notes = []
    apart = float(np.abs(vectors - gallery[own]).max())
    if apart > 1e-3:
        notes.append(f"samples of one item have different vectors (apart by up to {apart:.2g}): the first one counts")
    if len(gallery) <= 10:
        notes.append(
            f"recall at 10 says nothing: the gallery has {len(gallery)} {'item' if len(gallery) == 1 else 'items'}"
        )
    for way, rank in (("q2g", query_ranks), ("g2q", item_ranks)):
        nearer, tied = rank(queries, gallery, own, cells)
        values |= _summary(way, 1 + nearer + tied / 2)
        if tied.any():
            notes.append(f"{way}: {int((tied > 0).sum())} of {len(tied)} ranks are means over ties")
    return values, notes


def query_ranks(queries: np.ndarray, gallery: np.ndarray, own: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) how many items are nearer to each query than its own, and how many others are as near."""
    parts = []
    step = max(1, cells // len(gallery))
    for at in range(0, len(queries), step):
        cosines = queries[at : at + step] @ gallery.T  # (n, G)
        parts.append(_before(cosines, own[at : at + step]))
    nearer, tied = zip(*parts, strict=True)
    return np.concatenate(nearer), np.concatenate(tied)


def item_ranks(queries: np.ndarray, gallery: np.ndarray, own: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """(G,) how many other items' queries come nearer to each item than its own nearest one, and how many as near."""
    order = np.argsort(own, kind="stable")
    queries, starts = queries[order], np.searchsorted(own[order], np.arange(len(gallery)))  # the queries of item g
    parts = []
    step = max(1, cells // len(queries))
    for at in range(0, len(gallery), step):
        cosines = queries @ gallery[at : at + step].T  # (N, g)
        nearest = np.maximum.reduceat(cosines, starts, axis=0)  # (G, g)
        parts.append(_before(nearest.T, np.arange(at, at + nearest.shape[1])))
    nearer, tied = zip(*parts, strict=True)
    return np.concatenate(nearer), np.concatenate(tied)


def _before(cosines: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per row of (n, G): how many columns are above the own one, and how many others are equal to it."""
    wanted = cosines[np.arange(len(own)), own][:, None]  # (n, 1)
    return (cosines > wanted + TIE).sum(1), (np.abs(cosines - wanted) <= TIE).sum(1) - 1


def _summary(way: str, ranks: np.ndarray) -> Values:
    recalls: Values = {f"{way}_r{k}": float((ranks <= k).mean()) for k in (1, 5, 10)}
    return {**recalls, f"{way}_mdr": float(np.median(ranks)), f"{way}_mnr": float(ranks.mean())}


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1; zero rows stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float64).tiny)
