"""Tiny conversations, a tokenizer of bytes and some words, chat templates as they are found, a recipe that chats."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from adaptkit.modalities.chat.templates import CHATML, TEMPLATES
from adaptkit.recipe import Recipe, parse_recipe

CORPUS = ["what is it? it is red. it is blue. it is\n\nred.", "user\n assistant\n system\n\n"] * 3
SPECIAL = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot|>", "[INST]", "[/INST]"]

# As published models have them, without what only tools and media need.
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.role }}<|im_end|>\n\n"
    "{{ message.content | trim }}<|eot|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant<|im_end|>\n\n"
    "{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|im_start|>{{ 'model' if message.role == 'assistant' else message.role }}\n{{ message.content | trim }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
INST = (  # nothing is written before an answer but the end of the question
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
    "{% else %} {{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
THINKING = (  # as Qwen3's: what was thought before the last answer is gone
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% if message.role == 'assistant' and loop.last %}"
    "<think>\n\n</think>\n\n{% endif %}{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FOUND = {"chatml": CHATML, "plain": TEMPLATES["plain"], "llama3": LLAMA3, "gemma": GEMMA, "inst": INST}
ENDLESS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}me: {% endif %}"
)


def said(*contents: str, system: str = "") -> list[dict[str, str]]:
    """User and assistant by turns."""
    turns = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(contents)]
    return [{"role": "system", "content": system}, *turns] if system else turns


def tokenizer(template: str | None = CHATML, **special: Any) -> Any:
    """Bytes, some words with the space or the line before them, and special tokens; every text comes back whole."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[AddedToken(word, special=True) for word in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(CORPUS, trainer)
    found: Any = PreTrainedTokenizerFast(
        tokenizer_object=words, **{"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", **special}
    )
    found.chat_template = template
    return found


def write_tokenizer(folder: Path, template: str | None = CHATML) -> Path:
    """`tokenizer`, as the folder of a model type that reads it."""
    tokenizer(template).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 320}))
    return folder


def write_chats(folder: Path, **sizes: int) -> Path:
    """Conversations of one to three turns, in several shapes, whose answers repeat the colour of the question."""
    folder.mkdir(exist_ok=True)
    chance = random.Random(0)
    for split, size in sizes.items():
        rows = []
        for number in range(size):
            colours = [chance.choice(("red", "blue")) for _ in range(chance.randint(1, 3))]
            messages = said(*(text for c in colours for text in (f"what is it? {c}", f"it is {c}.")))
            names = {"user": "human", "assistant": "gpt"}
            sharegpt = [{"from": names[m["role"]], "value": m["content"]} for m in messages]
            rows.append({"conversations": sharegpt} if number % 2 else {"id": f"{split}{number}", "messages": messages})
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


TINY: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY = {**TINY, "num_key_value_heads": 2, "max_position_embeddings": 256, "vocab_size": 320}


def chatting(words: Path, data: Path | None = None, *, family: str = "llama", **changes: Any) -> Recipe:
    """A recipe that chats; `changes` are tables, laid over its own."""
    tables: dict[str, Any] = {
        "name": "chatting",
        "backbone": {"model": family, "config": TINY, "tokenizer": str(words), "train": ["all"]},
        "modality": {"chat": {"kind": "chat", "max_tokens": 128}},
        "data": {"format": "chat", "root": str(data or ".")},
        "task": {"reply": {"kind": "generation", "max_tokens": 16, "monitor": "exact_match"}},
        "train": {"epochs": 4, "batch_size": 8, "optimizer": {"name": "adamw", "lr": 1e-2}},
    }
    for key, table in changes.items():
        tables[key] = {**tables[key], **table} if key in ("backbone", "train", "data") else table
    if "chat" in changes:
        tables["modality"] = {"chat": {**tables["modality"]["chat"], **tables.pop("chat")}}
    return parse_recipe(tables)
