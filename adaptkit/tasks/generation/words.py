"""Between texts and the ids of a tokenizer: labels that end, and texts without what only the tokenizer needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adaptkit.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

# B batch, A tokens of the longest answer

IGNORED = -100  # what cross-entropy leaves out


class Words:
    """A tokenizer as a task that generates uses it.

    Args:
        tokenizer: of the backbone.
        framed: an answer is a sequence of its own, with all the special tokens of one (encoder-decoders); otherwise
            it follows the prompt.
        ends: ids that end an answer, the first of them the one that is written; by default the tokenizer's.

    Attributes:
        end: id of the token that ends an answer.
        ends: all that end one.
        pad: id that fills shorter ones.

    Raises:
        RecipeError: the tokenizer has no token that could end an answer.
    """

    def __init__(self, tokenizer: Any, *, framed: bool, ends: Sequence[int] = ()) -> None:
        self.tokenizer, self.framed = tokenizer, framed
        own = [n for n in (tokenizer.eos_token_id, tokenizer.sep_token_id) if n is not None][:1]
        ends = [*ends] or own
        if not ends:
            raise RecipeError(
                "the tokenizer has no token that ends a text, so no answer would ever end.",
                where="backbone.tokenizer",
                hint="Give its tokenizer_config.json an eos_token, or take another tokenizer.",
            )
        self.end: int = ends[0]
        self.ends: list[int] = ends
        self.pad: int = self.end if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def ids(self, text: str, limit: int | None = None) -> list[int]:
        """Of an answer, with the end token, which a limit never cuts."""
        found = list(self.tokenizer(text, add_special_tokens=self.framed, verbose=False)["input_ids"])
        while found and found[-1] == self.end:
            found.pop()
        return [*(found if limit is None else found[: limit - 1]), self.end]

    def labels(self, texts: Sequence[str], limit: int | None = None) -> Tensor:
        """(B, A) int64, IGNORED behind the end of the shorter ones."""
        import torch

        rows = [self.ids(text, limit) for text in texts]
        longest = max(map(len, rows))
        return torch.tensor([row + [IGNORED] * (longest - len(row)) for row in rows])

    def text(self, ids: Sequence[int], stop: Sequence[str] = ()) -> str:
        """What ids say up to the end token, or to the first text that was to stop them."""
        first = int(self.framed)  # an encoder-decoder may begin with what ends others
        until = next((at for at, token in enumerate(ids) if at >= first and token in self.ends), len(ids))
        text = self.tokenizer.decode(ids[:until], skip_special_tokens=True)
        cuts = [at for word in stop if (at := text.find(word)) >= 0]
        return text[: min(cuts, default=len(text))].strip()


def nll_of(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) negative log-likelihood of labels (B, A) by logits (B, A, V), in float32."""
    from torch.nn.functional import cross_entropy

    each = cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    return each.view_as(labels).sum(1)
