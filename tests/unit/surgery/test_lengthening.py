"""Prompts in models: what the stack sees, what leaves it, and that nothing else changes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, DynamicCache

from adaptkit import sides
from adaptkit.anatomy import select, study
from adaptkit.errors import SiteError
from adaptkit.surgery import Graft, Receipt, host_shape, insert, remove

# B batch, T tokens, L length of the prompt, D width
B, T, L, D = 3, 6, 2, 32

SMALL = {"hidden_size": D, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48}
WORDS = {"vocab_size": 64, "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
BART = {
    "d_model": D,
    "scale_embedding": True,
    **{f"{side}_{key}": value for side in ("encoder", "decoder")
       for key, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))},
}  # fmt: skip
T5 = {"d_model": D, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 64}
TEXT: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", SMALL | WORDS),
    "distilbert": ("distilbert", {"dim": D, "n_heads": 4, "n_layers": 2, "hidden_dim": 48, **WORDS}),
    "albert": ("albert", {**SMALL, **WORDS, "embedding_size": 24}),
    "electra": ("electra", {**SMALL, **WORDS, "embedding_size": 24}),
    "gpt2": ("gpt2", {"n_embd": D, "n_head": 4, "n_layer": 2, "n_positions": 32, **WORDS}),
    "llama": ("llama", {**SMALL, **WORDS, "num_key_value_heads": 2}),
    "bart": ("bart", BART | WORDS),
    "t5": ("t5", T5),
}


def build(name: str) -> Any:
    model_type, settings = TEXT[name]
    torch.manual_seed(0)
    return AutoModel.from_config(AutoConfig.for_model(model_type, **settings)).eval()


def vision(name: str) -> Any:
    torch.manual_seed(0)
    if name == "timm":
        return timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0, img_size=32, embed_dim=D,
                                 depth=2, num_heads=4).eval()  # fmt: skip
    return AutoModel.from_config(AutoConfig.for_model("vit", **SMALL, image_size=16, patch_size=8)).eval()


def text(model: Any, *, padded: bool = True) -> dict[str, Tensor]:
    mask = torch.ones(B, T, dtype=torch.long)
    mask[1, 4:] = 0 if padded else 1
    ids = torch.arange(B * T).reshape(B, T) % 40 + 3
    inputs = {"input_ids": ids, "attention_mask": mask}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids[:, :4] + 5
    return inputs


def grafts(model: nn.Module, at: str, name: str = "law", kind: str = "prompt", **options: Any) -> list[Graft]:
    options = {"length": L, **options} if kind == "prompt" else options
    return [
        Graft(name, kind, site, host_shape(model, site), options=options) for site in select(study(model), [at], "all")
    ]


def prompted(model: nn.Module, at: str = "embed.in", **options: Any) -> Receipt:
    receipt = insert(model, grafts(model, at, **options), seed=5)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return receipt


def adapter(model: nn.Module, name: str = "law") -> Any:
    return next(module for path, module in model.named_modules() if path.endswith(f"adapters.{name}"))


def floats(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [value for value in output.to_tuple() if isinstance(value, Tensor) and value.is_floating_point()]


def equal(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("name", TEXT)
@torch.no_grad()
def test_embeddings_and_token_ids_are_one_input(name: str) -> None:
    """What the hook relies on: `get_input_embeddings()(ids)` as `inputs_embeds` is what the model makes of ids."""
    model = build(name)
    inputs = text(model)
    ids = inputs.pop("input_ids")
    root = model.encoder if model.config.is_encoder_decoder else model
    given = {"inputs_embeds": root.get_input_embeddings()(ids), **inputs}
    assert equal(floats(model(**given, use_cache=False)), floats(model(input_ids=ids, **inputs, use_cache=False)))


@pytest.mark.parametrize("name", ["bert", "distilbert", "albert", "electra", "gpt2", "llama"])
@torch.no_grad()
def test_the_stack_sees_the_prompt_before_its_words(name: str) -> None:
    plain, model = build(name), build(name)
    prompted(model)
    inputs = text(model)
    embeds = plain.get_input_embeddings()(inputs["input_ids"])
    longer = torch.cat([adapter(model).tokens().expand(B, -1, -1), embeds], dim=1)
    mask = torch.cat([torch.ones(B, L, dtype=torch.long), inputs["attention_mask"]], dim=1)
    expected = plain(inputs_embeds=longer, attention_mask=mask).last_hidden_state[:, L:]
    torch.testing.assert_close(model(**inputs).last_hidden_state, expected)
    assert not torch.allclose(expected, plain(**inputs).last_hidden_state, atol=1e-3)


@pytest.mark.parametrize("name", ["bart", "t5"])
@pytest.mark.parametrize("stack", ["encoder", "decoder"])
@torch.no_grad()
def test_encoders_and_decoders_have_prompts_of_their_own(name: str, stack: str) -> None:
    """Behind the scale of the word embedding (BART), causal in the decoder, cut before the decoder reads it."""
    plain, model = build(name), build(name)
    prompted(model, f"{stack}.embed.in")
    inputs = text(model)
    assert [path for path, _ in model.named_modules() if path.endswith("adapters.law")] == [f"{stack}.adapters.law"]
    tokens, mask = adapter(model).tokens().expand(B, -1, -1), inputs["attention_mask"]
    longer = torch.cat([torch.ones(B, L, dtype=torch.long), mask], dim=1)
    words = plain.encoder.get_input_embeddings()(inputs["input_ids"])
    if stack == "encoder":
        states = plain.encoder(inputs_embeds=torch.cat([tokens, words], dim=1), attention_mask=longer)[0][:, L:]
        expected = plain.decoder(
            input_ids=inputs["decoder_input_ids"], encoder_hidden_states=states, encoder_attention_mask=mask
        )[0]
    else:
        states = plain.encoder(inputs_embeds=words, attention_mask=mask)[0]
        start = plain.decoder.get_input_embeddings()(inputs["decoder_input_ids"])
        expected = plain.decoder(
            inputs_embeds=torch.cat([tokens, start], dim=1), encoder_hidden_states=states, encoder_attention_mask=mask
        )[0][:, L:]
    torch.testing.assert_close(model(**inputs, use_cache=False).last_hidden_state, expected)


@torch.no_grad()
def test_masks_positions_and_types_grow_with_the_input() -> None:
    model = build("bert")
    prompted(model)
    inputs = text(model, padded=False)
    expected = model(**inputs).last_hidden_state
    for further in (
        {"token_type_ids": torch.zeros(B, T, dtype=torch.long)},
        {"position_ids": torch.arange(T).expand(B, T)},
        {"position_ids": torch.arange(T)[None]},
    ):
        torch.testing.assert_close(model(**inputs, **further).last_hidden_state, expected)
    torch.testing.assert_close(model(inputs["input_ids"], inputs["attention_mask"]).last_hidden_state, expected)
    torch.testing.assert_close(model(inputs["input_ids"]).last_hidden_state, expected)
    types = model(**inputs, token_type_ids=torch.ones(B, T, dtype=torch.long)).last_hidden_state
    assert not torch.allclose(types, expected, atol=1e-3)


@torch.no_grad()
def test_everything_that_leaves_has_the_length_it_had() -> None:
    model = build("bert")
    prompted(model)
    inputs = text(model)
    output = model(**inputs, output_hidden_states=True)
    assert [states.shape for states in output.hidden_states] == [(B, T, D)] * 3
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    assert torch.equal(output.pooler_output, model.pooler(output.last_hidden_state)), "the pooler reads token 0"
    first, pooled, *_ = model(**inputs, return_dict=False)
    assert torch.equal(first, output.last_hidden_state)
    assert torch.equal(pooled, output.pooler_output)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("masked", [True, False])
@torch.no_grad()
def test_a_cache_holds_the_prompt_once(name: str, masked: bool) -> None:
    """Token by token gives what all at once gives."""
    model = build(name)
    prompted(model)
    ids = torch.arange(B * T).reshape(B, T) % 40 + 3
    mask = torch.ones(B, T, dtype=torch.long)
    whole = model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    start = model(input_ids=ids[:, :3], attention_mask=mask[:, :3], use_cache=True)
    cache, states = start.past_key_values, [start.last_hidden_state]
    for step in range(3, T):
        given = {"attention_mask": mask[:, : step + 1]} if masked else {}
        output = model(input_ids=ids[:, step : step + 1], past_key_values=cache, use_cache=True, **given)
        states.append(output.last_hidden_state)
    assert cache.get_seq_length() == L + T
    torch.testing.assert_close(torch.cat(states, dim=1), whole)


@pytest.mark.parametrize("name", ["timm", "vit"])
@torch.no_grad()
def test_images_get_it_behind_their_tokens(name: str) -> None:
    plain, model = vision(name), vision(name)
    prompted(model)
    pixels = torch.randn(B, 3, 32 if name == "timm" else 16, 32 if name == "timm" else 16)
    if name == "timm":
        x = plain.norm_pre(plain._pos_embed(plain.patch_embed(pixels)))
        blocks, norm, found = plain.blocks, plain.norm, model.forward_features(pixels)
    else:
        x, blocks, norm = plain.embeddings(pixels), plain.layers, plain.layernorm
        found = model(pixel_values=pixels).last_hidden_state
    for index in (0, len(x[0])):  # the place among the tokens does not matter to attention
        states = torch.cat([x[:, :index], adapter(model).tokens().expand(B, -1, -1), x[:, index:]], dim=1)
        for block in blocks:
            states = block(states)
        expected = norm(torch.cat([states[:, :index], states[:, index + L :]], dim=1))
        torch.testing.assert_close(found, expected)
    assert found.shape == x.shape


@pytest.mark.parametrize("name", ["bert", "bart", "timm"])
def test_undone_bit_for_bit_and_copies_stand_alone(name: str) -> None:
    model = vision(name) if name == "timm" else build(name)
    inputs = {"x": torch.randn(B, 3, 32, 32)} if name == "timm" else text(model)
    keys, before = list(model.state_dict()), floats(model(**inputs))
    receipt = prompted(model)
    after = floats(model(**inputs))
    assert not equal(after, before)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert equal(floats(twin(**inputs)), after)
        with torch.no_grad():
            adapter(twin).embedding.add_(1.0)
        assert not equal(floats(twin(**inputs)), after)
        remove(twin, receipt)
        assert equal(floats(twin(**inputs)), before)
    assert equal(floats(model(**inputs)), after), "the original is untouched"
    remove(model, receipt)
    assert equal(floats(model(**inputs)), before)
    assert list(model.state_dict()) == keys
    for module in model.modules():
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        assert not any(hook.__module__.startswith("adaptkit") for hook in hooks)
        assert not any(word.startswith("adapter") for word in vars(module))


@pytest.mark.parametrize("name", ["bert", "timm"])
@torch.no_grad()
def test_two_prompts_are_one_longer_prompt(name: str) -> None:
    model = vision(name) if name == "timm" else build(name)
    inputs = {"x": torch.randn(B, 3, 32, 32)} if name == "timm" else text(model)
    first = prompted(model)
    alone = floats(model(**inputs))
    second = insert(model, grafts(model, "embed.in", "more", length=3), seed=6)
    both = floats(model(**inputs))
    assert not equal(both, alone)
    one = vision(name) if name == "timm" else build(name)
    insert(one, grafts(one, "embed.in", length=L + 3))
    adapter(one).embedding.copy_(torch.cat([adapter(model).embedding, adapter(model, "more").embedding]))
    assert equal(floats(one(**inputs)), both)
    remove(model, second)
    assert equal(floats(model(**inputs)), alone)
    remove(model, first)


@pytest.mark.parametrize("name", ["bert", "timm"])
def test_other_adapters_of_the_stack_see_masks_and_spans_that_fit(name: str) -> None:
    model = vision(name) if name == "timm" else build(name)
    inputs = {"x": torch.randn(B, 3, 32, 32)} if name == "timm" else text(model)
    tokens = 5 if name == "timm" else T
    prompted(model)
    seen: list[tuple[Tensor, Tensor]] = []
    block = model.blocks[1] if name == "timm" else model.encoder.layer[1]

    def look(module: nn.Module, args: Any) -> None:
        mask = sides.read((), "").mask
        assert mask is not None
        seen.append((mask, sides.span("question", args[0], mask).tensor - args[0][:, -3 - 1 : -1]))

    block.register_forward_pre_hook(look)
    mask = torch.ones(B, tokens, dtype=torch.bool)
    mask[0, 0] = False
    span = (tokens - 4, tokens - 1) if name == "bert" else (tokens + L - 4, tokens + L - 1)
    with sides.use_sides({}, {"": mask}, spans={"question": span}):
        model(**inputs)
        after = sides.read((), "").mask
        assert after is not None
        assert torch.equal(after, mask)
    longer, rest = seen[0]
    at_front = torch.cat([torch.ones(B, L, dtype=torch.bool), mask], dim=1)
    assert torch.equal(longer, at_front if name == "bert" else at_front.roll(-L, 1))
    assert rest.abs().max() == 0, "the span of the question moved with it"


def test_it_may_start_from_words() -> None:
    model = build("bert")
    words = model.get_input_embeddings().weight
    insert(model, grafts(model, "embed.in", init="vocabulary", length=5), seed=5)
    tokens = adapter(model).tokens()
    assert all((words == token).all(1).any() for token in tokens)
    other = build("bert")
    torch.manual_seed(9)
    insert(other, grafts(other, "embed.in", init="vocabulary", length=5), seed=5)
    assert torch.equal(adapter(other).tokens(), tokens), "the seed alone decides"
    image = vision("timm")
    with pytest.raises(SiteError, match="no weight"):
        insert(image, grafts(image, "embed.in", init="vocabulary"))


@torch.no_grad()
def test_every_task_may_have_its_own() -> None:
    model = build("bert")
    site = select(study(model), ["embed.in"], "all")[0]
    options = {"length": L, "reparametrize": 5}
    graft = Graft("law", "prompt", site, host_shape(model, site), options=options, tasks=("vqa", "gqa"),
                  per_task="multiple")  # fmt: skip
    insert(model, [graft])
    outputs = []
    for task in ("vqa", "gqa", "vqa"):
        with sides.use_sides({}, task=task):
            outputs.append(floats(model(**text(model))))
    assert equal(outputs[0], outputs[2])
    assert not equal(outputs[0], outputs[1])


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"attention_mask": torch.ones(B, 1, T, T)}, "attention_mask cannot grow"),
        ({"langs": torch.zeros(B, T)}, "langs cannot grow"),
    ],
)
def test_arguments_that_cannot_grow_are_refused(further: dict[str, Tensor], message: str) -> None:
    model = build("bert")
    prompted(model)
    with pytest.raises(SiteError, match=message):
        model(**{**text(model), **further})


def test_a_mask_of_four_dimensions_is_read_where_a_cache_is_used_only() -> None:
    model = build("gpt2")
    prompted(model)
    given = {"attention_mask": torch.ones(B, 1, T, T, dtype=torch.bool), "past_key_values": DynamicCache()}
    with pytest.raises(SiteError, match="attention_mask cannot grow"):
        model(**{**text(model), **given, "use_cache": False})
    given["past_key_values"] = DynamicCache()
    assert model(**{**text(model), **given, "use_cache": True}).last_hidden_state.shape[1] == T


def test_images_in_the_sequence_of_the_text_are_refused() -> None:
    """What comes out is longer than what the hook put in, so that the prompt's part of it is not known."""
    config = AutoConfig.for_model("visual_bert", **SMALL, **WORDS, visual_embedding_dim=16)
    torch.manual_seed(0)
    model = AutoModel.from_config(config).eval()
    prompted(model)
    assert model(**text(model)).last_hidden_state.shape == (B, T, D)
    with pytest.raises(SiteError, match=f"{L + T} tokens go in, {L + T + 4} come out"):
        model(**text(model), visual_embeds=torch.randn(B, 4, 16))


@torch.no_grad()
def test_several_streams_in_a_row_are_cut_one_by_one() -> None:
    """ProphetNet returns its n-gram streams one behind the other."""
    settings = {"hidden_size": D, "num_encoder_layers": 1, "num_decoder_layers": 1, "encoder_ffn_dim": 48,
                "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4, "decoder_ffn_dim": 48}  # fmt: skip
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model("prophetnet", **settings, **WORDS, ngram=2)).eval()
    prompted(model, "decoder.embed.in")
    output = model(**text(model), use_cache=False)
    assert output.last_hidden_state.shape == (B, 4, D)
    assert output.last_hidden_state_ngram.shape == (B, 8, D)


@torch.no_grad()
def test_arguments_with_boxes_grow() -> None:
    torch.manual_seed(0)
    settings = SMALL | WORDS | {"hidden_size": 48, "channel_shrink_ratio": 2}
    model = AutoModel.from_config(AutoConfig.for_model("lilt", **settings)).eval()
    prompted(model)
    output = model(**text(model), bbox=torch.zeros(B, T, 4, dtype=torch.long))
    assert output.last_hidden_state.shape == (B, T, 48)


def test_a_masked_block_is_refused() -> None:
    model = vision("timm")
    prompted(model)
    with pytest.raises(SiteError, match="mask"):
        model.blocks[0](torch.randn(B, 5, D), attn_mask=None, attention_mask=torch.ones(B, 5))


def swin() -> nn.Module:
    return timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, depths=(1, 1), embed_dim=12,
                             num_heads=(1, 2), img_size=56).eval()  # fmt: skip


def resnet() -> nn.Module:
    return timm.create_model("resnet18", pretrained=False, layers=(1, 1, 1, 1), channels=(8, 8, 8, 8)).eval()


@pytest.mark.parametrize("make", [swin, resnet])
def test_windows_and_convolutions_have_no_such_place(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(SiteError, match="whose blocks see all tokens"):
        select(study(make()), ["embed.in"], "all")


def test_the_text_tower_of_clip_takes_no_embeddings() -> None:
    tower = {**SMALL, "projection_dim": 16}
    words = {"vocab_size": 64, "max_position_embeddings": 32, "eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1}
    config = AutoConfig.for_model(
        "clip", projection_dim=16, text_config=tower | words, vision_config={**tower, "image_size": 16, "patch_size": 8}
    )
    anatomy = study(AutoModel.from_config(config))
    assert [site.full_name for site in select(anatomy, ["embed.in"], "all")] == ["vision.embed.in"]
    with pytest.raises(SiteError, match="inputs_embeds"):
        select(anatomy, ["text.embed.in"], "all")


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5", "timm"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@torch.no_grad()
def test_compiled_and_exported_equal_eager(name: str) -> None:
    torch._dynamo.reset()
    model = vision(name) if name == "timm" else build(name)
    inputs = {"x": torch.randn(B, 3, 32, 32)} if name == "timm" else {**text(model), "use_cache": False}
    prompted(model)
    expected = floats(model(**inputs))
    compiled = torch.compile(model, fullgraph=True, backend="eager")(**inputs)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(floats(compiled), expected, strict=True))
    exported = torch.export.export(model, (), inputs).module()(**inputs)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(floats(exported), expected, strict=True))


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = build(name)
        prompted(model)
        for module in model.modules():
            module.training = checkpointing and hasattr(module, "gradient_checkpointing")
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            enable({"use_reentrant": False, "context_fn": sides.checkpoint_contexts})
            model.disable_input_require_grads()
        model(**text(model), use_cache=False).last_hidden_state.square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() != set()
    for path, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][path])


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_who_pools_the_first_token_may_read_the_prompt_as_in_peft(left: bool) -> None:
    model = build("bert")
    plain, inputs = copy.deepcopy(model), text(model)
    if left:
        inputs = {name: value.flip(1) for name, value in inputs.items()}
    prompted(model, pooled="trained")
    before = adapter(model).tokens().detach().expand(B, -1, -1)
    embeds = torch.cat([before, plain.get_input_embeddings()(inputs["input_ids"])], dim=1)
    mask = torch.cat([torch.ones(B, L, dtype=torch.long), inputs["attention_mask"]], dim=1)
    with torch.no_grad():
        whole = plain(inputs_embeds=embeds, attention_mask=mask).last_hidden_state  # (B, L + T, D)
        found = model(**inputs)
    first = inputs["attention_mask"].argmax(1)
    expected = whole[:, L:].clone()
    expected[torch.arange(B), first] = whole[:, 0]
    torch.testing.assert_close(found.last_hidden_state, expected)
    if not left:
        torch.testing.assert_close(found.pooler_output, plain.pooler(whole))  # of whole[:, 0]: PEFT's classifiers


def test_a_prompt_behind_an_image_has_no_first_token_to_stand_for() -> None:
    with pytest.raises(SiteError, match='pooled = "trained" needs a prompt before the first token'):
        prompted(vision("vit"), pooled="trained")
