"""What identifies a model: its tensors (which also proves that frozen means frozen), configuration and tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.anatomy.model_input import is_transformers

# Of a configuration: where and with what it was written, and what only other uses of the model read.
RECORDS = {
    *("transformers_version", "name_or_path", "torch_dtype", "dtype", "architectures", "auto_map", "tokenizer_class"),
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params"),
    *("output_attentions", "output_hidden_states", "return_dict", "use_return_dict", "use_cache"),
}

# Case, accents, digits, signs, further scripts, white space: what normalisers and pre-tokenizers treat differently.
SAMPLE = "The quick brown FOX's 42.5% naïve café -- don't! İstanbul e\u0301 東京 Москва 🙂\t<b>\n  end"
SAMPLED = 512  # words of the vocabulary that are encoded as well


def fingerprint(model: nn.Module, *, leave: tuple[str, ...] = ()) -> str:
    """`sha256:...` over name, dtype, shape and bytes of all parameters and persistent buffers, by name.

    Those whose names begin with one of `leave` do not count.

    Tensors of grafted adapters (names with `.adapters.`) do not count, so that the hash is the same before
    and after surgery. Tied tensors count under each of their names.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if ".adapters." in f".{name}" or name.startswith(leave):
            continue
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        for part in parts(tensor.detach()):
            digest.update(part.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"


def parts(tensor: Tensor) -> Iterator[Tensor]:
    """The plain tensors that one consists of: codes and scales, where it has other numbers than its own bytes."""
    inside: Any = getattr(tensor, "__tensor_flatten__", None)
    if inside is None:
        yield tensor
        return
    for name in inside()[0]:
        yield from parts(getattr(tensor, name))


def configuration(model: Any) -> dict[str, Any]:
    """What the configuration of a model of transformers says of its function, as JSON; {} of other models.

    Activation, number of heads, the epsilon of a norm: with other ones the same tensors give other outputs. What only
    records versions and places is left out, since it differs between installations of one and the same model.
    """
    known = is_transformers(model) and hasattr(model.config, "to_json_string")
    return _functional(json.loads(model.config.to_json_string(use_diff=False))) if known else {}


def _functional(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _functional(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in RECORDS and not key.startswith("_") and "attn_implementation" not in key
    }


def tokenizer_identity(tokenizer: Any) -> dict[str, Any]:
    """What a tokenizer makes of text, as JSON: hashes of its words, its merges or scores, and encodings of a sample.

    The sample has words of the vocabulary in three spellings, so that normalising, splitting and special tokens are
    compared by what they do: how they are written down changes from version to version.
    """
    rows = sorted(tokenizer.get_vocab().items(), key=lambda row: (row[1], row[0]))
    words = [word for word, _ in rows[:: max(len(rows) // SAMPLED, 1)]]
    lines = [" ".join(words[start : start + 32]) for start in range(0, len(words), 32)]
    texts = [SAMPLE, *(spelt for line in lines for spelt in (line, line.upper(), line.title()))]
    found = {
        "words": len(rows),
        "vocabulary": _digest(rows),
        "special_tokens": {key: str(word) for key, word in tokenizer.special_tokens_map.items()},
        "padding_side": tokenizer.padding_side,
        "encodings": _digest(tokenizer(texts, verbose=False)["input_ids"]),
    }
    rules = list(_rules(tokenizer))
    return {**found, "rules": _digest(rules)} if rules else found


def _rules(tokenizer: Any) -> Iterator[Any]:
    """The merges of a BPE, the scores of a unigram model: what no vocabulary shows and no sample covers."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    model = json.loads(backend.to_str())["model"] if backend is not None else {}
    for merge in model.get("merges") or ():
        yield merge.split(" ") if isinstance(merge, str) else merge  # one text until tokenizers 0.20
    if isinstance(model.get("vocab"), list):
        yield from model["vocab"]  # [word, score]


def _digest(value: Any) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(value).encode()).hexdigest()}"
