"""What a module reads that no library built: what its `adaptkit_input` says, else what its first layer tells."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from adaptkit.errors import RecipeError, nearest

# B batch, T tokens, C channels, H height, W width of an image, E width of a vector

ATTRIBUTE = "adaptkit_input"
EMBEDS = "inputs_embeds"  # what transformers calls vectors in place of words
MASKS = ("attention_mask", "mask")
PADDING_MASKS = ("padding_mask", "key_padding_mask", "src_key_padding_mask")  # torch's word for the opposite
WRITE = {
    "text": f'{ATTRIBUTE} = {{"kind": "text", "max_tokens": 128}}',
    "image": f'{ATTRIBUTE} = {{"kind": "image", "size": [224, 224]}}',
    "vectors": f'{ATTRIBUTE} = {{"kind": "vectors", "width": 64}}',
}


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What the forward of a module reads, said in its attribute `adaptkit_input` as one of these or as a dict.

    Attributes:
        kind: "text", ids of tokens (B, T); "image", pixels (B, C, H, W); "vectors", (B, T, E).
        argument: of the forward that takes it. Default: the first.
        mask: argument (B, T) that is True where a token counts; whole numbers where its name is attention_mask.
            Default: `attention_mask` or `mask`, where the forward has one.
        padding_mask: argument (B, T) that is True where a token does not count. Default: `padding_mask`,
            `key_padding_mask` or `src_key_padding_mask`, where the forward has one.
        max_tokens: longest T. Default: of text, the length of a table of positions, where one is found; else no limit.
        causal: tokens see only what comes before them.
        size: (H, W) of an image, or the side of a square one. Default: what a module calls image_size or img_size.
        channels: C.
        mean: per channel, subtracted after scaling to 0..1.
        std: per channel, divides after scaling to 0..1.
        width: E.
    """

    kind: Literal["text", "image", "vectors"]
    argument: str = ""
    mask: str = ""
    padding_mask: str = ""
    max_tokens: int | None = None
    causal: bool = False
    size: tuple[int, int] | int | None = None
    channels: int = 3
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    width: int | None = None

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(H, W)."""
        if self.size is None:
            return None
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return height, width

    @property
    def sees_padding(self) -> bool:
        """It is not told which tokens count."""
        return self.kind != "image" and not (self.mask or self.padding_mask)

    def named(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of the forward, from inputs under the names that transformers gives them."""
        given = "inputs_embeds" if self.kind == "vectors" else "pixel_values" if self.kind == "image" else "input_ids"
        named = {self.argument: inputs[given]} if given in inputs else {EMBEDS: inputs[EMBEDS]}
        counts = inputs.get("attention_mask")
        if counts is not None and self.mask:
            named[self.mask] = counts.long() if self.mask == "attention_mask" else counts.bool()
        if counts is not None and self.padding_mask:
            named[self.padding_mask] = ~counts.bool()
        return named

    def example(self, batch: int, tokens: int, device: str | torch.device = "meta") -> dict[str, Tensor]:
        """Keyword arguments of one forward without data."""
        if self.kind == "image":
            height, width = self.image_size or (224, 224)
            return self.named({"pixel_values": torch.zeros(batch, self.channels, height, width, device=device)})
        mask = torch.ones(batch, tokens, dtype=torch.long, device=device)
        if self.kind == "text":
            return self.named({"input_ids": torch.zeros_like(mask), "attention_mask": mask})
        vectors = torch.zeros(batch, tokens, self.width or 1, device=device)
        return self.named({"inputs_embeds": vectors, "attention_mask": mask})


def is_transformers(model: nn.Module) -> bool:
    return hasattr(getattr(model, "config", None), "model_type")


def has_head(model: nn.Module) -> bool:
    """Whether a model of transformers gives words one after another: it has the head for that, and the search."""
    head = getattr(model, "get_output_embeddings", None)
    return hasattr(model, "generate") and head is not None and head() is not None


def is_own(model: nn.Module) -> bool:
    """It is of neither library."""
    return not is_transformers(model) and not type(model).__module__.startswith("timm.")


def model_input(model: nn.Module) -> ModelInput | None:
    """What a module of one's own reads; None where it neither says nor shows it, and for models of libraries.

    Raises:
        RecipeError: what it says of itself cannot be.
    """
    if not is_own(model):
        return None
    told = getattr(model, ATTRIBUTE, None)
    if told is None:
        found = _seen(model)
    else:
        told = told() if callable(told) else told
        found = _checked(told if isinstance(told, ModelInput) else _read(told, model), model)
    return None if found is None else _with_arguments(_with_sizes(found, model), model)


def first_layer(model: nn.Module) -> nn.Module | None:
    """The first module with weights that holds no other, but for adapters."""
    leaves = (each for each in model.modules() if not any(name != "adapters" for name, _ in each.named_children()))
    return next((leaf for leaf in leaves if any(True for _ in leaf.parameters())), None)


def takes_embeddings(model: nn.Module) -> bool:
    """A module of one's own that takes vectors in place of words, as the models of transformers do."""
    return EMBEDS in inspect.signature(model.forward).parameters and hasattr(model, "get_input_embeddings")


def vocabulary(model: nn.Module) -> int | None:
    """How many words a module of one's own embeds; None for one that reads no text."""
    found, first = model_input(model), first_layer(model)
    return first.num_embeddings if found and found.kind == "text" and isinstance(first, nn.Embedding) else None


def _seen(model: nn.Module) -> ModelInput | None:
    """Words where an embedding comes first, an image where a convolution does; other layers do not tell."""
    first = first_layer(model)
    if isinstance(first, nn.Embedding):
        return ModelInput("text")
    return ModelInput("image", channels=first.in_channels) if isinstance(first, nn.Conv2d) else None


def _with_sizes(found: ModelInput, model: nn.Module) -> ModelInput:
    """With the longest text, or the size of an image, where the module shows it and does not say it."""
    words = next((module for module in model.modules() if isinstance(module, nn.Embedding)), None)
    if found.kind == "text" and found.max_tokens is None and words is not None:
        return replace(found, max_tokens=_positions(model, words.embedding_dim))
    return replace(found, size=_image_size(model)) if found.kind == "image" and found.size is None else found


def _positions(model: nn.Module, width: int) -> int | None:
    """The length of a table of absolute positions, as wide as the words."""
    for path, parameter in model.named_parameters():
        name = path.removesuffix(".weight").rpartition(".")[2]
        positions = re.search(r"(^|_)pos|position|^wpe$", name) and "rel" not in name
        if positions and parameter.dim() in (2, 3) and parameter.shape[-1] == width:
            return int(parameter.shape[-2])
    return None


def _image_size(model: nn.Module) -> tuple[int, int] | None:
    """What the module, or one inside it, calls the size of its image."""
    for module in model.modules():
        for name in ("image_size", "img_size"):
            size = getattr(module, name, None)
            if isinstance(size, int) and not isinstance(size, bool):
                return size, size
            if isinstance(size, (tuple, list)) and len(size) == 2:
                return int(size[0]), int(size[1])
    return None


def _read(told: Any, model: nn.Module) -> ModelInput:
    """A dict as a ModelInput."""
    name, known = type(model).__name__, [field.name for field in fields(ModelInput)]
    if not isinstance(told, Mapping) or "kind" not in told:
        raise RecipeError(f"{name}.{ATTRIBUTE} is not a dict with a kind.", hint=f"Write {WRITE['text']}.")
    for key in told:
        if key not in known:
            raise RecipeError(f"{name}.{ATTRIBUTE}: unknown key {key!r}.", hint=nearest(str(key), known))
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    return ModelInput(**values)


def _checked(found: ModelInput, model: nn.Module) -> ModelInput:
    """What is said, if it says enough."""
    where = f"{type(model).__name__}.{ATTRIBUTE}"
    if found.kind not in WRITE:
        raise RecipeError(f"{where}: kind is {found.kind!r}.", hint='Write "text", "image" or "vectors".')
    if found.kind == "vectors" and found.width is None:
        raise RecipeError(f"{where} of kind 'vectors' needs a width.", hint=f"Write {WRITE['vectors']}.")
    return found


def _with_arguments(found: ModelInput, model: nn.Module) -> ModelInput:
    """With the names of the forward's arguments."""
    parameters = inspect.signature(model.forward).parameters.values()
    names = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        _check_arguments(found, model, names)
    if not found.argument and not names:
        told = f"the forward of {type(model).__name__} has no argument with a name."
        raise RecipeError(told, hint="Write forward(self, ids, mask=None), for example.")
    found = replace(found, argument=found.argument or names[0])
    if found.kind == "image" or found.mask or found.padding_mask:
        return found
    return replace(found, mask=_first(MASKS, names), padding_mask=_first(PADDING_MASKS, names))


def _first(words: tuple[str, ...], names: list[str]) -> str:
    return next((word for word in words if word in names), "")


def _check_arguments(found: ModelInput, model: nn.Module, names: list[str]) -> None:
    """Raise RecipeError where the forward lacks an argument that is said to be there."""
    for word in filter(None, (found.argument, found.mask, found.padding_mask)):
        if word not in names:
            told = f"{type(model).__name__}.{ATTRIBUTE}: the forward has no argument {word!r}."
            raise RecipeError(told, hint=nearest(word, names))
