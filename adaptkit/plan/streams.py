"""The modalities of a recipe as modules: encoders, projections into the input sequence, and the shapes they give."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from adaptkit.adapters.base import Shape
from adaptkit.anatomy import Anatomy, InputSpec, ModelRef, runnable_on_meta, tokenizer_for
from adaptkit.anatomy.calling.forward import hidden_states, pixels
from adaptkit.anatomy.calling.segments import input_width
from adaptkit.errors import RecipeError, SiteError
from adaptkit.modalities.context import BackboneContext
from adaptkit.modalities.encoder import Encoder
from adaptkit.modalities.projection import TokenProjection
from adaptkit.plan.answers import answer_tokens, prompts_of
from adaptkit.plan.native import check_behind, check_native
from adaptkit.recipe import Recipe


def build_encoders(recipe: Recipe, ref: ModelRef, model: nn.Module, spec: InputSpec, width: int) -> dict[str, Encoder]:
    """One encoder per modality, on the current default device.

    Raises:
        RecipeError: a modality that the backbone cannot take.
    """
    named, reader = recipe.backbone.tokenizer, "text" in spec.kinds and reads_text(recipe)
    context = partial(
        BackboneContext,
        width=width,
        tokenizer=tokenizer_for(ref, model, named, base=recipe.base, key="backbone") if reader else None,
        image_size=spec.image_size,
        channels=spec.channels,
        mean=spec.mean,
        std=spec.std,
        base=recipe.base,
    )
    # The prefix first: the text gets what the position embeddings leave.
    encoders = {
        name: Encoder.build(modality, name, context())
        for name, modality in recipe.modality.items()
        if modality.route != "backbone"
    }
    check_native(recipe, ref, spec)
    check_behind(recipe, ref, model, spec)
    room = text_room(recipe, spec, encoders)
    for name, modality in recipe.modality.items():
        if modality.route == "backbone":
            encoders[name] = Encoder.build(modality, name, context(max_tokens=room, **prompts_of(recipe)))
    return {name: encoders[name] for name in recipe.modality}


def prefix_length(recipe: Recipe, encoders: Mapping[str, Encoder]) -> int:
    """N, tokens that go before the text: those of route "tokens", and MMBT's [CLS] and [SEP].

    Raises:
        RecipeError: a modality whose length only the data knows.
    """
    lengths = token_lengths(recipe, encoders)
    ends = ends_of(recipe)
    return ends + sum(length + ends for length in lengths.values()) if lengths else 0


def ends_of(recipe: Recipe) -> int:
    """How many tokens stand before the first modality of the prefix, and behind each: [CLS] and [SEP] of MMBT."""
    return int(recipe.backbone.prefix == "mmbt")


def prompt_length(recipe: Recipe, stack: str) -> int:
    """L, tokens of all prompts that a stack reads besides its own, and those of prefixes behind which it counts."""
    specs = [(spec, {word.removeprefix(f"{stack}.") for word in spec.at}) for spec in recipe.adapter.values()]
    found = [spec for spec, at in specs if spec.facts["works_on"] == "sequence" and "embed.in" in at]
    ahead = [spec for spec, at in specs if spec.facts["works_on"] == "attention" and "attn.kv" in at]
    found += [spec for spec in ahead if spec.options.get("positions") == "after"]
    return sum(spec.options["length"] for spec in found)


def text_room(recipe: Recipe, spec: InputSpec, encoders: Mapping[str, Encoder]) -> int | None:
    """Most text tokens: what the recipe says, within what the position embeddings leave."""
    prompts = prompt_length(recipe, "encoder" if spec.form == "encoder_decoder" else "")
    prefix = prefix_length(recipe, encoders) + prompts
    if spec.form != "encoder_decoder":
        prefix += answer_tokens(recipe)
    if recipe.backbone.prefix == "mmbt":
        prefix = 0  # the positions of the text restart behind it
    asked = recipe.backbone.max_tokens
    if not reads_text(recipe):
        check_without_text(recipe, spec, prefix)
        return None
    if spec.max_tokens is None:
        return asked
    room = spec.max_tokens - prefix
    if room < 1 or (asked is not None and asked > room):
        taken = f", of which {prefix} are taken by other modalities, prompts and answers" if prefix else ""
        raise SiteError(
            f"backbone.max_tokens = {asked} does not fit: the backbone has {spec.max_tokens} positions{taken}.",
            where=recipe.where("backbone.max_tokens"),
            hint=f"Write max_tokens <= {max(room, 0)}.",
        )
    return asked or room


def reads_text(recipe: Recipe) -> bool:
    """Some text goes to the backbone itself; otherwise the tokens of other modalities are all that it reads."""
    return any(modality.route == "backbone" and modality.sequence for modality in recipe.modality.values())


def check_without_text(recipe: Recipe, spec: InputSpec, length: int) -> None:
    """A sequence without text is as long as its modalities, which must fit.

    Raises:
        SiteError: it is longer than the position embeddings.
        RecipeError: a limit for a text that is not there.
    """
    if recipe.backbone.max_tokens is not None:
        raise RecipeError(
            "backbone.max_tokens is the longest text, and no text goes to the backbone.",
            where=recipe.where("backbone.max_tokens"),
            hint="Write max_tokens in the modality.",
        )
    if spec.max_tokens is not None and length > spec.max_tokens:
        raise SiteError(
            f"{length} tokens of modalities and prompts do not fit: the backbone has {spec.max_tokens} positions.",
            where=recipe.where("backbone.model"),
            hint="Write a smaller max_tokens in the modalities of route tokens.",
        )


def build_projections(
    recipe: Recipe, encoders: Mapping[str, Encoder], backbone: nn.Module
) -> dict[str, TokenProjection]:
    """The way to the backbone's input embeddings, for every modality of route "tokens"."""
    lengths = token_lengths(recipe, encoders)
    width = input_width(backbone) if lengths else 0
    return {
        name: TokenProjection.of(recipe.modality[name], name, encoders[name].width, width, length)
        for name, length in lengths.items()
    }


def side_shapes(recipe: Recipe, encoders: Mapping[str, Encoder]) -> dict[str, Shape]:
    """Shapes of the modalities that adapters may read."""
    return {
        name: Shape(encoders[name].width, encoders[name].tokens)
        for name, modality in recipe.modality.items()
        if modality.route in ("side", "fusion")
    }


def span_shapes(recipe: Recipe, encoders: Mapping[str, Encoder], width: int) -> dict[str, Shape]:
    """Shapes of the modalities whose tokens share one sequence; none where the sequence holds one modality only."""
    parts = sequence_parts(recipe)
    return {name: Shape(width, encoders[name].tokens) for name in parts} if len(parts) > 1 else {}


def sequence_parts(recipe: Recipe) -> list[str]:
    """The modalities in the backbone's input sequence, in their order there: the text last, or first."""
    before = [name for name, modality in recipe.modality.items() if modality.route == "tokens"]
    text = [name for name, modality in recipe.modality.items() if modality.route == "backbone" and modality.sequence]
    return text + before if recipe.backbone.tokens == "behind" else before + text


def token_lengths(recipe: Recipe, encoders: Mapping[str, Encoder]) -> dict[str, int]:
    """Modality of route "tokens" -> N, the most tokens of a sample.

    Raises:
        RecipeError: a modality whose length only the data knows.
    """
    lengths: dict[str, int] = {}
    for name, modality in recipe.modality.items():
        if modality.route != "tokens":
            continue
        length = encoders[name].tokens
        if length is None:
            raise RecipeError(
                f'modality.{name}: route = "tokens" makes it part of the input, and its length is not known.',
                where=recipe.where(f"modality.{name}"),
                hint="Write max_tokens (or pool) there.",
            )
        lengths[name] = length
    return lengths


def spans_of(recipe: Recipe, lengths: Mapping[str, int]) -> dict[str, tuple[int, int | None]]:
    """Modality -> (start, stop) of its tokens in the backbone's sequence; negative ones count from its end.

    Args:
        recipe: with the order of the modalities.
        lengths: modality of route "tokens" -> how many it has.
    """
    parts, ends = sequence_parts(recipe), ends_of(recipe)
    behind = recipe.backbone.tokens == "behind"
    spans: dict[str, tuple[int, int | None]] = {}
    start = -sum(lengths.values()) if behind else ends
    for name in parts:
        if recipe.modality[name].route == "backbone":
            spans[name] = (0, start or None) if behind else (start, None)
            continue
        stop = start + lengths[name]
        spans[name] = start, (stop or None) if behind else stop
        start = stop + ends
    return spans


def stream_lengths(
    recipe: Recipe, model: nn.Module, anatomy: Anatomy, spec: InputSpec, encoders: Mapping[str, Encoder]
) -> dict[str, int | None]:
    """Stack -> T, the longest stream that its blocks see; None where nothing bounds it."""
    texts = [encoders[name].tokens for name, m in recipe.modality.items() if m.route == "backbone" and m.sequence]
    text = texts[0] if texts else None
    whole = None if texts and text is None else (text or 0) + prefix_length(recipe, encoders)
    if text and whole and recipe.backbone.prefix == "mmbt":
        whole -= 1  # the text's own [CLS] goes
    answer = answer_tokens(recipe)
    if spec.form in ("text", "vectors"):
        length = None if whole is None else whole + max(answer - 1, 0)  # the end token is never read
        return {stack.name: length for stack in anatomy.stacks}
    if spec.form == "encoder_decoder":
        return {"encoder": whole, "decoder": max(answer, 1)}
    images = image_lengths(model, anatomy, spec)
    return {stack.name: text if stack.name == "text" else images.get(stack.name) for stack in anatomy.stacks}


def image_lengths(model: Any, anatomy: Anatomy, spec: InputSpec) -> dict[str, int]:
    """Stack -> number of tokens of an image, seen in one forward on the meta device. Maps have none."""
    seen: dict[str, int] = {}

    def remember(name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and args[0].dim() == 3:
            seen[name] = args[0].shape[1]  # (B, T, D)

    assert spec.image_size is not None
    images = torch.empty(1, spec.channels, *spec.image_size, device=next(model.parameters()).device)
    hooks = [
        model.get_submodule(stack.blocks[0]).register_forward_pre_hook(partial(remember, stack.name))
        for stack in anatomy.stacks
        if stack.name != "text"
    ]
    try:
        with torch.no_grad(), runnable_on_meta(model):
            if spec.form == "two_towers":
                model.vision_model(pixel_values=images)
            else:
                hidden_states(model, spec, pixels(spec, images))
    finally:
        for hook in hooks:
            hook.remove()
    return seen
