"""Tiny models of every supported family, random weights, and one batch for each."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from adaptkit.anatomy import Anatomy, study

TOKENS = 6

_BUILT: dict[str, nn.Module | bytes] = {}
_STUDIED: dict[str, Anatomy] = {}


@dataclass(frozen=True)
class Family:
    """How to build a tiny model and call it.

    Attributes:
        build: a fresh model in evaluation mode; equal on every call.
        inputs: keyword arguments of one forward of three samples.
        lengths: stack -> tokens of its stream.
        convolutional: blocks are convolutions on maps.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Tensor]]
    lengths: dict[str, int]
    convolutional: bool = False

    def fresh(self) -> nn.Module:
        """A copy of the model, which is built once; kept pickled where it can be, which is the fastest to copy."""
        if self.name not in _BUILT:
            model = self.build()
            try:
                _BUILT[self.name] = pickle.dumps(model)
            except Exception:  # models with parametrizations
                _BUILT[self.name] = model
        kept = _BUILT[self.name]
        return pickle.loads(kept) if isinstance(kept, bytes) else copy.deepcopy(kept)

    def anatomy(self) -> Anatomy:
        if self.name not in _STUDIED:
            _STUDIED[self.name] = study(self.fresh(), name=self.name)
        return _STUDIED[self.name]


def transformers_model(model_type: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from transformers import AutoConfig, AutoModel

        torch.manual_seed(0)
        model = AutoModel.from_config(AutoConfig.for_model(model_type, **settings)).eval()
        return shaken(model)

    return build


def timm_model(name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        torch.manual_seed(0)
        return shaken(timm.create_model(name, pretrained=False, num_classes=0, **settings).eval())

    return build


def shaken(model: nn.Module) -> nn.Module:
    """Random norms, biases and scales: a wrong place of a residual or a norm then shows in the numbers."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() == max(parameter.shape, default=1):  # one dimension, whatever ones are around it
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def calibrated(build: Callable[[], nn.Module], inputs: Callable[[], dict[str, Tensor]]) -> Callable[[], nn.Module]:
    """With the batch norms' statistics of these inputs, as training leaves them: else deep signals fade to nothing."""

    def built() -> nn.Module:
        model = build()
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train().momentum = None  # the first batch alone counts
        with torch.no_grad():
            outputs(model, inputs())
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval().momentum = momentum
        return model

    return built


def text() -> dict[str, Tensor]:
    mask = torch.ones(3, TOKENS, dtype=torch.long)
    mask[1, 4:] = 0
    ids = torch.arange(3 * TOKENS).reshape(3, TOKENS) % 40 + 3
    return {"input_ids": ids * mask + (1 - mask), "attention_mask": mask}


def pair() -> dict[str, Tensor]:
    return {**text(), "decoder_input_ids": torch.arange(12).reshape(3, 4) + 5}


def image(side: int = 16) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))}


def clip() -> dict[str, Tensor]:
    return {**text(), **image()}


def timm_image() -> dict[str, Tensor]:
    return {"x": image(32)["pixel_values"]}


SMALL = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48}
WORDS = {"vocab_size": 64, "max_position_embeddings": 32}
TOWER = {**SMALL, "projection_dim": 16}

FAMILIES = {
    family.name: family
    for family in (
        Family("bert", transformers_model("bert", **SMALL, **WORDS), text, {"": TOKENS}),
        Family("roberta", transformers_model("roberta", **SMALL, **WORDS), text, {"": TOKENS}),
        Family(
            "distilbert",
            transformers_model("distilbert", dim=32, n_heads=4, n_layers=2, hidden_dim=48, **WORDS),
            text,
            {"": TOKENS},
        ),
        Family(
            "gpt2",
            transformers_model("gpt2", n_embd=32, n_head=4, n_layer=2, vocab_size=64, n_positions=32),
            text,
            {"": TOKENS},
        ),
        Family("llama", transformers_model("llama", **SMALL, **WORDS, num_key_value_heads=2), text, {"": TOKENS}),
        Family(
            "bart",
            transformers_model(
                "bart",
                d_model=32,
                encoder_layers=2,
                decoder_layers=2,
                encoder_attention_heads=4,
                decoder_attention_heads=4,
                encoder_ffn_dim=48,
                decoder_ffn_dim=48,
                **WORDS,
            ),
            pair,
            {"encoder": TOKENS, "decoder": 4},
        ),
        Family(
            "t5",
            transformers_model("t5", d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=64),
            pair,
            {"encoder": TOKENS, "decoder": 4},
        ),
        Family("vit", transformers_model("vit", **SMALL, image_size=16, patch_size=8), image, {"": 5}),
        Family(
            "clip",
            transformers_model(
                "clip",
                projection_dim=16,
                text_config={**TOWER, **WORDS, "eos_token_id": 2},
                vision_config={**TOWER, "image_size": 16, "patch_size": 8},
            ),
            clip,
            {"text": TOKENS, "vision": 5},
        ),
        Family(
            "timm_vit",
            timm_model("vit_tiny_patch16_224", img_size=32, embed_dim=32, depth=2, num_heads=4),
            timm_image,
            {"": 5},
        ),
        Family(
            "timm_resnet",
            timm_model("resnet18", layers=(1, 1, 1, 1), channels=(8, 16, 24, 32), stem_width=8),
            timm_image,
            {},
            convolutional=True,
        ),
    )
}


def outputs(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """Every floating-point tensor the model gives: hidden states of both stacks, pooled vectors, embeddings."""
    if "x" in inputs:
        given = model(inputs["x"])
    else:
        given = model(**inputs, **({"use_cache": False} if "decoder_input_ids" in inputs else {}))
    return tuple(value for value in flat(given) if value.is_floating_point())


def calm_outputs(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """The outputs with one seed: a few models draw random numbers in evaluation mode too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return outputs(model, inputs)


def flat(given: object) -> list[Tensor]:
    """The tensors inside nested outputs, in order. What a cache holds is no output."""
    if isinstance(given, Tensor):
        return [given]
    if isinstance(given, dict | tuple | list):
        values = list(given.values()) if isinstance(given, dict) else list(given)
        return [tensor for value in values for tensor in flat(value)]
    return []
