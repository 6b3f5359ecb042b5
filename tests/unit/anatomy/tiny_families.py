"""Tiny random models of every family, and a way to see and change what passes a site."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import timm
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from adaptkit.anatomy import Site, dummy_inputs

_TEXT = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4}
_ENCODER = _TEXT | {"intermediate_size": 24, "max_position_embeddings": 40}
_DISTILBERT = {"vocab_size": 64, "dim": 16, "hidden_dim": 24, "n_layers": 3, "n_heads": 4}
_GPT2 = {"vocab_size": 64, "n_embd": 16, "n_layer": 3, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
_BART = {
    "vocab_size": 64,
    "d_model": 16,
    "max_position_embeddings": 40,
    **{f"{stack}_attention_heads": 4 for stack in ("encoder", "decoder")},
    **{f"{stack}_ffn_dim": 24 for stack in ("encoder", "decoder")},
    "encoder_layers": 3,
    "decoder_layers": 2,
}
_T5 = {
    "vocab_size": 64,
    "d_model": 16,
    "d_kv": 4,
    "d_ff": 24,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
}
_VISION = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "image_size": 16,
    "patch_size": 8,
}
_CLIP_TEXT = _ENCODER | {"bos_token_id": 0, "eos_token_id": 2}

CONFIGS = {
    "bert": ("bert", _ENCODER),
    "roberta": ("roberta", _ENCODER | {"pad_token_id": 1}),
    "distilbert": ("distilbert", _DISTILBERT),
    "gpt2": ("gpt2", _GPT2),
    "llama": ("llama", _ENCODER | {"num_key_value_heads": 2}),
    "bart": ("bart", _BART),
    "t5": ("t5", _T5),
    "t5-gated": ("t5", _T5 | {"feed_forward_proj": "gated-gelu"}),
    "vit": ("vit", _VISION),
    "clip": ("clip", {"text_config": _CLIP_TEXT, "vision_config": _VISION, "projection_dim": 8}),
}
TIMM = {
    "timm-vit": ("vit_tiny_patch16_224", {"img_size": 32, "embed_dim": 16, "depth": 3, "num_heads": 4}),
    "timm-resnet-basic": ("resnet18", {"layers": (2, 1, 1, 2), "channels": (4, 8, 8, 16)}),
    "timm-resnet-bottleneck": ("resnet50", {"layers": (2, 1, 2, 1), "channels": (4, 4, 8, 8)}),
}
FAMILIES = (*CONFIGS, *TIMM)
TRANSFORMERS = tuple(name for name in FAMILIES if "resnet" not in name)


def build(name: str, device: str = "cpu") -> nn.Module:
    """A tiny model in evaluation mode, the same numbers at every call; norms and biases are random too."""
    torch.manual_seed(0)
    with torch.device(device):
        if name in TIMM:
            architecture, options = TIMM[name]
            model = timm.create_model(architecture, num_classes=0, **options)
        else:
            model_type, options = CONFIGS[name]
            model = AutoModel.from_config(AutoConfig.for_model(model_type, **options))
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.5, 1.0)
    return model.eval()


def forward(model: nn.Module) -> object:
    """One forward of fixed tokens and pixels, without gradients."""
    inputs = dummy_inputs(model, 2, 5, "cpu")
    generator = torch.Generator().manual_seed(1)
    for key, value in inputs.items():
        if key.endswith("input_ids"):
            inputs[key] = torch.randint(3, 60, value.shape, generator=generator)
        elif value.is_floating_point():
            inputs[key] = torch.randn(value.shape, generator=generator)
    with torch.no_grad():
        return model(**inputs)


@contextlib.contextmanager
def at(model: nn.Module, site: Site, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Call `change` with what passes the site; what it returns, if anything, takes its place."""
    host = model.get_submodule(site.path)

    def before(module: nn.Module, args: tuple, kwargs: dict) -> tuple | None:
        if args:
            changed = change(args[0])
            return None if changed is None else ((changed, *args[1:]), kwargs)
        key = next(key for key, value in kwargs.items() if isinstance(value, Tensor))
        changed = change(kwargs[key])
        return None if changed is None else (args, {**kwargs, key: changed})

    def after(module: nn.Module, args: tuple, output: object) -> object:
        h = output if isinstance(output, Tensor) else output[0]
        changed = change(h)
        if changed is None or isinstance(output, Tensor):
            return changed
        return (changed, *output[1:])

    if site.when == "before":
        handle = host.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = host.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


def see(model: nn.Module, sites: tuple[Site, ...] | list[Site]) -> dict[Site, Tensor]:
    """What passes each site in one forward (a slice, for a fused projection)."""
    seen: dict[Site, Tensor] = {}

    def keep(site: Site) -> Callable[[Tensor], None]:
        def look(h: Tensor) -> None:
            seen[site] = (h if site.columns is None else h[..., slice(*site.columns)]).clone()

        return look

    with contextlib.ExitStack() as stack:
        for site in sites:
            stack.enter_context(at(model, site, keep(site)))
        forward(model)
    return seen
