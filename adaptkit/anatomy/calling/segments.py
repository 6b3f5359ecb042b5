"""What BERT-like models know of the parts of their input: segment embeddings, positions, [CLS] and [SEP]."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from torch import nn

from adaptkit.anatomy.model_input import model_input
from adaptkit.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Segments:
    """How a model tells the parts of its input from each other.

    Attributes:
        path: of its segment (token type) embedding.
        position: number of the first position.
    """

    path: str
    position: int

    @classmethod
    def of(cls, model: nn.Module, name: str) -> Segments:
        """Of a model of transformers; a skeleton will do.

        Raises:
            RecipeError: it has no segment embeddings, or takes no positions.
        """
        arguments = inspect.signature(model.forward).parameters
        width = input_embedding(model).embedding_dim
        found = [
            path
            for path, module in model.named_modules()
            if path.endswith("token_type_embeddings")
            and isinstance(module, nn.Embedding)
            and module.embedding_dim == width
        ]
        if not found or not {"inputs_embeds", "position_ids"} <= arguments.keys():
            lacks = "takes no positions" if found else "has no segment embeddings (token types)"
            raise RecipeError(
                f'{name} {lacks}, which prefix = "mmbt" needs.',
                hint='Take a BERT-like backbone, or write prefix = "plain".',
            )
        table = next((m for p, m in model.named_modules() if p.endswith("position_embeddings")), None)
        before = getattr(table, "padding_idx", None)  # RoBERTa's positions start behind that of the padding
        return cls(found[0], 0 if before is None else before + 1)


def input_embedding(model: Any) -> nn.Embedding:
    """The embedding of words: what `inputs_embeds` stands in for. Its width need not be that of the stream (ALBERT)."""
    return model.get_input_embeddings()


def input_width(model: nn.Module) -> int:
    """Channels of the vectors that a model takes: in place of words, or as they are."""
    own = model_input(model)
    if own is not None and own.width is not None:
        return own.width
    return input_embedding(model).embedding_dim


def ends_of_sequence(tokenizer: Any, name: str) -> tuple[int, int]:
    """The ids of [CLS] and [SEP].

    Raises:
        RecipeError: the tokenizer does not put them around a text.
    """
    ids = tokenizer("")["input_ids"]
    around = tokenizer.cls_token_id is not None and ids == [tokenizer.cls_token_id, tokenizer.sep_token_id]
    if not around or tokenizer.padding_side != "right":
        raise RecipeError(
            f"the tokenizer of {name} does not put [CLS] and [SEP] around a text and padding behind it, which "
            'prefix = "mmbt" needs.',
            hint='Take a BERT-like backbone, or write prefix = "plain".',
        )
    return ids[0], ids[1]
