"""A loss: the hinge of the true label's margin."""

from torch import Tensor, nn

from adaptkit.tasks import loss_for
from adaptkit.tasks.losses import LOSSES


@LOSSES.register("hinge")
@loss_for("classification")
def hinge(logits: Tensor, targets: Tensor, *, margin: float = 1.0) -> Tensor:
    """Multi-class hinge (Crammer and Singer 2001), mean over the batch.

    Args:
        margin: by which the true label is to win.
    """
    return nn.functional.multi_margin_loss(logits.float(), targets, margin=margin)
