"""Calling a language model for words: the scores of given ones (teacher forcing), and words of its own.

A decoder reads prompt and answer as one sequence: [tokens of modalities][prompt, padded on the left][answer, padded on
the right]. So every answer begins in the same column, only its columns need scores, and the prompt stands in training
exactly where it stands in a generation. An encoder-decoder reads the prompt in one stack and the answer in the other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from adaptkit.anatomy.calling.forward import Call, Prefix, alone, decoder_start, prefixed
from adaptkit.anatomy.calling.inputs import InputSpec
from adaptkit.anatomy.loading.quiet import quietly

# B batch, L prompt tokens, N tokens of modalities, P = N + L, A tokens of an answer, K answers per sample, V words

IGNORED = -100  # a label that is no label: padding


@dataclass(frozen=True, slots=True)
class Sequences:
    """What was generated for a batch.

    Attributes:
        ids: (B, K, A), the best answer first; the end token, where there is one, and padding are among them.
        scores: (B, K) log-probabilities as the search compared them; None where it compared none.
    """

    ids: Tensor
    scores: Tensor | None


def opening(backbone: Any, spec: InputSpec, text: Mapping[str, Tensor] | None, tokens: Prefix | None) -> Call:
    """What the model reads before the first word of its answer.

    Args:
        backbone: the model.
        spec: what it reads.
        text: collated prompts, padded on any side; None where the modalities are all that it reads.
        tokens: the modalities before the text, or behind that of an encoder.
    """
    decodes = spec.form == "encoder_decoder"
    if text is not None:
        text = {key: text[key] for key in ("input_ids", "attention_mask")}
        text = text if decodes else started(left_padded(text), backbone, tokens)
    inputs = alone(backbone, tokens) if text is None else prefixed(backbone, text, tokens)
    mask = inputs["attention_mask"].bool()  # (B, P)
    if not decodes:
        return Call(inputs, {"": mask}, mask)
    behind = tokens.tensor if tokens is not None and tokens.behind else None
    return Call(inputs, {"encoder": mask, "decoder": torch.ones_like(mask[:, :1])}, None, behind)


def left_padded(text: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same texts with their padding before them."""
    order = text["attention_mask"].argsort(dim=1, stable=True)  # (B, L)
    return {key: value.gather(1, order) for key, value in text.items()}


def started(text: dict[str, Tensor], backbone: Any, tokens: Prefix | None) -> dict[str, Tensor]:
    """Nothing can follow nothing: where no modality is before an empty text, it gets the token that begins texts."""
    ids, mask = text["input_ids"], text["attention_mask"]
    if tokens is not None:
        return text
    if ids.shape[1] == 0:
        ids, mask = (torch.zeros(len(ids), 1, dtype=x.dtype, device=x.device) for x in (ids, mask))
    start = next(n for n in (backbone.config.bos_token_id, backbone.config.eos_token_id, 0) if n is not None)
    last = torch.arange(ids.shape[1], device=ids.device) == ids.shape[1] - 1
    empty = last & ~mask.bool().any(1, keepdim=True)  # (B, L)
    start = start if start < backbone.config.vocab_size else 0
    return {"input_ids": ids.masked_fill(empty, start), "attention_mask": mask.masked_fill(empty, 1)}


def answered(backbone: Any, spec: InputSpec, call: Call, labels: Tensor) -> Call:
    """The opening with the words of an answer behind it, as in training.

    Args:
        backbone: the model.
        spec: what it reads.
        call: the opening.
        labels: (B, A) ids, the end token among them, IGNORED behind it. The last one is never read.
    """
    given, counts = labels[:, :-1].clamp(min=0), labels[:, :-1] != IGNORED  # (B, A - 1)
    inputs, mask = dict(call.inputs), call.inputs["attention_mask"]
    if spec.form == "encoder_decoder":
        start = torch.full_like(labels[:, :1], decoder_start(backbone))
        read = torch.cat([torch.ones_like(start, dtype=torch.bool), counts], dim=1)  # (B, A)
        inputs |= {"decoder_input_ids": torch.cat([start, given], dim=1), "decoder_attention_mask": read.long()}
        return Call({**inputs, "use_cache": False}, {**call.masks, "decoder": read}, None, call.behind)
    if "inputs_embeds" in inputs:
        words = backbone.get_input_embeddings()(given).to(inputs["inputs_embeds"].dtype)
        inputs["inputs_embeds"] = torch.cat([inputs["inputs_embeds"], words], dim=1)  # (B, P + A - 1, D)
    else:
        inputs["input_ids"] = torch.cat([inputs["input_ids"], given], dim=1)
    return _in_one_pass(backbone, inputs, torch.cat([mask, counts.to(mask.dtype)], dim=1))


def told(backbone: Any, ids: Tensor, tokens: Prefix | None) -> Call:
    """Whole conversations for a decoder, as in training.

    Args:
        backbone: the model.
        ids: (B, T), IGNORED where a sample has none, on any side. The last column is never read.
        tokens: the modalities before them.
    """
    given, counts = ids[:, :-1].clamp(min=0), ids[:, :-1] != IGNORED  # (B, T - 1)
    inputs = prefixed(backbone, {"input_ids": given, "attention_mask": counts.long()}, tokens)
    return _in_one_pass(backbone, inputs, inputs["attention_mask"])


def _in_one_pass(backbone: Any, inputs: dict[str, Any], mask: Tensor) -> Call:
    """What a decoder reads at once, without a cache; (B, T) mask says what counts."""
    inputs |= {"attention_mask": mask, "use_cache": False}
    if takes(backbone, "position_ids"):  # as a generation counts them: padding has no position
        inputs["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)
    return Call(inputs, {"": mask.bool()}, mask.bool())


def word_scores(backbone: Any, call: Call, count: int) -> Tensor:
    """(B, A, V) logits of the last `count` tokens; those of the prompt are never computed where the model can do so."""
    how = {"logits_to_keep": count} if takes(backbone, "logits_to_keep") else {}
    return backbone(**call.inputs, **how).logits[:, -count:]


def generated(
    backbone: Any,
    spec: InputSpec,
    call: Call,
    settings: Mapping[str, Any],
    *,
    stops: Callable[[list[int]], bool] | None = None,
    streamer: Any = None,
) -> Sequences:
    """The answers that the model gives itself, by transformers' own search.

    Args:
        backbone: the model, in evaluation mode.
        spec: what it reads.
        call: the opening.
        settings: keys of a GenerationConfig, all that are to differ from its neutral defaults.
        stops: whether an answer so far ends here, of its ids.
        streamer: gets the ids as they come.
    """
    decodes, several = spec.form == "encoder_decoder", settings.get("num_return_sequences", 1)
    scored = several > 1 and settings.get("num_beams", 1) > 1
    if decodes:
        settings = {**settings, "decoder_start_token_id": decoder_start(backbone)}
    before = 1 if decodes else call.inputs["input_ids"].shape[1] if "input_ids" in call.inputs else 0
    further = {} if stops is None else {"stopping_criteria": StoppingCriteriaList([StopsAt(stops, before)])}
    with neutral(backbone), quietly():
        found = backbone.generate(
            **call.inputs,
            generation_config=GenerationConfig(**settings, output_scores=scored, return_dict_in_generate=True),
            streamer=streamer,
            **further,
        )
    ids = found.sequences[:, before:]  # (B * K, A)
    scores = found.sequences_scores.unflatten(0, (-1, several)) if scored else None
    return Sequences(ids.unflatten(0, (-1, several)), scores)


class StopsAt(StoppingCriteria):
    """Ends every answer by itself; transformers' own criterion for texts needs to know all words of the tokenizer.

    Args:
        stops: whether an answer ends, of its ids so far.
        before: ids in front of the answer.
    """

    def __init__(self, stops: Callable[[list[int]], bool], before: int) -> None:
        self.stops, self.before = stops, before

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """(B * K,) bool of ids (B * K, before + A)."""
        rows = input_ids[:, self.before :].tolist()
        return torch.tensor([self.stops(row) for row in rows], dtype=torch.bool, device=input_ids.device)


@contextmanager
def neutral(backbone: Any) -> Iterator[None]:
    """Without the habits that a checkpoint brings along (BART's summaries: 4 beams, 56 tokens at least)."""
    own = backbone.generation_config
    backbone.generation_config = GenerationConfig()
    try:
        yield
    finally:
        backbone.generation_config = own


def takes(model: nn.Module, argument: str) -> bool:
    return argument in inspect.signature(model.forward).parameters
