"""Which class of transformers builds a model: without a head, or with that of a language model."""

from __future__ import annotations

from typing import Any

from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PretrainedConfig

from adaptkit.anatomy.loading.resolve import ModelRef
from adaptkit.errors import RecipeError

GENERATES = "Take a decoder (gpt2, llama, qwen2) or an encoder-decoder (bart, t5)."


def auto_class(ref: ModelRef, settings: PretrainedConfig) -> Any:
    """What of transformers builds the model: without a head, or with that of a language model.

    Raises:
        RecipeError: it is to have one, and there is none for its type.
    """
    if not ref.head:
        return AutoModel
    auto = AutoModelForSeq2SeqLM if getattr(settings, "is_encoder_decoder", False) else AutoModelForCausalLM
    if type(settings) not in auto._model_mapping:
        raise RecipeError(
            f"{ref.name} ({settings.model_type}) has no language-model head, so it generates no text.", hint=GENERATES
        )
    return auto
