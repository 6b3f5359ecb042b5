"""An encoder of features: a convolution over the numbers of a vector, its channels as tokens."""

from torch import Tensor, nn

from adaptkit.modalities.token_encoder import ENCODERS, TokenEncoder


@ENCODERS.register("convolved")
class Convolved(TokenEncoder):
    """A convolution over the numbers of a vector.

    Args:
        channels: T', one token each.
    """

    modality = ("features",)

    def __init__(self, shape: tuple[int, ...], *, channels: int = 2) -> None:
        super().__init__()
        self.tokens, self.width = channels, shape[-1]
        self.convolve = nn.Conv1d(1, channels, 3, padding=1)

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.convolve(values.mean(1)[:, None]), mask[:, :1].expand(-1, self.tokens)  # (B, T', E)
