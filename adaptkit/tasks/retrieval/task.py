"""Queries that find items of a gallery, and items that find their queries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from adaptkit.tasks.labels import label_of
from adaptkit.tasks.metric import Metric, Values
from adaptkit.tasks.retrieval.metrics import METRICS, retrieval
from adaptkit.tasks.retrieval.table import Retrieval
from adaptkit.tasks.task import TASKS, Task

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

# B batch, P width of the common space, Q queries, G items of the gallery

TOP, CHUNK = 10, 1024  # items of a prediction; queries compared with the gallery at a time


@TASKS.register("retrieval")
class RetrievalTask(Task):
    """Every sample is a query and the item it belongs to. Targets are (B,) int64: equal for equal items.

    Outputs are (B, 2*P): the query, divided by the temperature, then the item; before that both have length 1. So
    their product is what the loss reads, and the temperature, a parameter of the head, changes no rank.

    The loss is symmetric cross-entropy over the batch (InfoNCE, as in CLIP), where samples of one item are
    positives of each other, each with an equal share of the target (UniCL: Yang et al. 2022, eq. 2 to 4).

    Args:
        width: P.
    """

    table = Retrieval
    kind = "retrieval"
    default_monitor = "q2g_r1"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    collective: ClassVar[bool] = True

    def __init__(self, name: str, *, width: int = 256, **common: Any) -> None:
        super().__init__(name, outputs=2 * width, **common)

    @classmethod
    def of(cls, spec: Any, name: str, training_targets: Sequence[Any] | None) -> RetrievalTask:
        return cls(name, width=spec.width, **cls.shared(spec))

    @classmethod
    def build_head(cls, spec: Any, width: int, outputs: int, widths: Mapping[str, int]) -> nn.Module:
        """Called with the pooled vector and the query's."""
        from adaptkit.tasks.heads import build_head
        from adaptkit.tasks.retrieval.head import RetrievalHead

        parts = [build_head(spec.head, size, spec.width) for size in (width, widths[spec.query])]
        return RetrievalHead(*parts, temperature=spec.temperature).requires_grad_(spec.head.train)

    def encode(self, values: Sequence[Any], ids: Sequence[str]) -> Tensor:
        import torch

        return torch.tensor([_mark(label_of(value, where)) for value, where in zip(values, ids, strict=True)])

    def own_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        queries, items = logits.float().chunk(2, dim=1)  # (B, P) each
        products = queries @ items.T  # (B, B)
        same = (targets[:, None] == targets[None, :]).float()
        share = same / same.sum(1, keepdim=True)  # symmetric, as the rows of one item are equal
        return (cross_entropy(products, share) + cross_entropy(products.T, share)) / 2

    def scores(self, logits: Tensor) -> np.ndarray:
        return logits.detach().float().cpu().numpy()

    def compute(self, scores: np.ndarray, targets: np.ndarray) -> tuple[Values, list[str]]:
        return retrieval(scores, targets)

    def decode(self, logits: Tensor, items: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The ten nearest of `items` for every sample's query, each item once, with their cosines."""
        from torch.nn.functional import normalize

        queries, vectors = (normalize(half.detach().float(), dim=1) for half in logits.chunk(2, dim=1))
        first = {item: place for place, item in reversed(list(enumerate(items)))}
        names = sorted(first, key=first.__getitem__)
        gallery = vectors[[first[name] for name in names]]  # (G, P)
        found = []
        for chunk in queries.split(CHUNK):
            values, places = (chunk @ gallery.T).topk(min(TOP, len(names)), dim=1)
            for row, at in zip(values.tolist(), places.tolist(), strict=True):
                found.append({"items": [names[place] for place in at], "cosines": row})
        return found


def _mark(item: str) -> int:
    """The same 63 bits for the same item, in every batch and process."""
    return int.from_bytes(hashlib.blake2b(item.encode(), digest_size=8).digest(), "big") >> 1
