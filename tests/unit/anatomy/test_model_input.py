"""What a module of one's own reads: said, seen, or asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptkit.anatomy import ModelInput, dummy_inputs, study
from adaptkit.anatomy.calling.inputs import own_input
from adaptkit.anatomy.calling.own import own_output_shape, own_states
from adaptkit.anatomy.model_input import model_input
from adaptkit.errors import RecipeError
from tests.laws.zoo_own import OwnConvNet, OwnTransformer


class Net(nn.Module):
    """One layer, and any forward."""

    def __init__(self, first: nn.Module, **attributes: Any) -> None:
        super().__init__()
        self.first = first
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor, mask: Tensor | None = None, padding_mask: Tensor | None = None) -> Any:
        return self.first(x)


class Returns(Net):
    def __init__(self, output: Any) -> None:
        super().__init__(nn.Embedding(9, 8))
        self.output = output

    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        return self.output(self.first(x))


def test_an_embedding_comes_first() -> None:
    found = model_input(OwnTransformer())
    assert found == ModelInput("text", argument="tokens", mask="mask", max_tokens=32)
    assert {key: (tuple(value.shape), value.dtype) for key, value in dummy_inputs(OwnTransformer(), 3, 5).items()} == {
        "tokens": ((3, 5), torch.long),
        "mask": ((3, 5), torch.bool),
    }


def test_a_convolution_comes_first() -> None:
    found = model_input(Net(nn.Conv2d(1, 4, 3), image_size=28))
    assert found == ModelInput("image", argument="x", size=(28, 28), channels=1)
    with pytest.raises(RecipeError, match='"size": '):
        own_input(Net(nn.Conv2d(1, 4, 3)), "net")


def test_what_it_says_counts() -> None:
    said = ModelInput("vectors", width=6, causal=True)
    for told in (said, {"kind": "vectors", "width": 6, "causal": True}, lambda: said):
        found = model_input(Net(nn.Embedding(5, 6), adaptkit_input=told))
        assert (found.kind, found.width, found.causal, found.argument) == ("vectors", 6, True, "x")  # type: ignore[union-attr]


def test_what_it_does_not_say_is_seen() -> None:
    model = OwnTransformer()
    model.adaptkit_input = {"kind": "text", "causal": True}  # type: ignore[assignment]
    assert model_input(model) == ModelInput("text", argument="tokens", mask="mask", max_tokens=32, causal=True)


def test_an_adapter_in_the_first_layer_hides_nothing() -> None:
    model = OwnTransformer()
    before = model_input(model)
    model.embed.add_module("adapters", nn.Linear(3, 3))
    assert model_input(model) == before


def test_masks_mean_what_their_names_say() -> None:
    counts = torch.tensor([[1, 1, 0]])
    found = model_input(Net(nn.Embedding(5, 6)))
    assert found is not None
    given = found.named({"input_ids": counts, "attention_mask": counts, "token_type_ids": counts})
    assert given.keys() == {"x", "mask", "padding_mask"}
    assert given["mask"].tolist() == [[True, True, False]]
    assert given["padding_mask"].tolist() == [[False, False, True]]


def test_models_of_libraries_and_what_tells_nothing() -> None:
    from tests.unit.anatomy.tiny_families import build

    assert model_input(build("bert", "meta")) is model_input(build("timm-vit", "meta")) is None
    assert model_input(Net(nn.Linear(3, 3))) is None
    with pytest.raises(RecipeError, match=r'first layer, Linear, does not tell.*"kind": "text"'):
        own_input(Net(nn.Linear(3, 3)), "net")


MISTAKES: dict[str, tuple[Any, str]] = {
    "dict": ("text", "is not a dict with a kind"),
    "kind": ({"kind": "txet"}, "kind is 'txet'"),
    "key": ({"kind": "text", "max_token": 3}, "unknown key 'max_token'. Did you mean \"max_tokens\"?"),
    "width": ({"kind": "vectors"}, "needs a width"),
    "argument": ({"kind": "text", "argument": "ids"}, "the forward has no argument 'ids'"),
}


@pytest.mark.parametrize(("told", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_in_what_it_says(told: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        model_input(Net(nn.Embedding(5, 6), adaptkit_input=told))
    assert message in str(caught.value)


def test_a_forward_without_names() -> None:
    class Wrapped(Net):
        def forward(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            return self.first(*args, **kwargs)

    with pytest.raises(RecipeError, match="no argument with a name"):
        model_input(Wrapped(nn.Embedding(5, 6)))
    assert model_input(Wrapped(nn.Embedding(5, 6), adaptkit_input={"kind": "text", "argument": "input"})) is not None


def test_states_in_what_a_forward_returns() -> None:
    states = torch.zeros(2, 3, 4)

    class Output:
        last_hidden_state = states

    for output in (states, (states, None), [states], {"last_hidden_state": states, "more": 1}, Output()):
        assert own_states(output) is states
    assert own_states(states[:, 0]).shape == (2, 1, 4)


@pytest.mark.parametrize(
    ("output", "shape"),
    [
        (lambda h: h, (None, 8)),
        (lambda h: h.mean(1), (1, 8)),
        (lambda h: (h[..., :5], None), (None, 5)),
    ],
)
def test_the_shape_of_what_comes_out(output: Any, shape: tuple[int | None, int]) -> None:
    model = Returns(output)
    assert own_output_shape(model, own_input(model, "net").own) == shape  # type: ignore[arg-type]


def test_the_shape_of_a_map() -> None:
    assert own_output_shape(OwnConvNet(), own_input(OwnConvNet(), "net").own) == (64, 16)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (lambda h: h[:, :3], "returns 3 vectors for 4 tokens"),
        (lambda h: "states", "returns str for x (2, 4)"),
        (lambda h: h.view(3, 7), "fails on x (2, 4)"),
        (lambda h: h.sum(), "returns () for x (2, 4)"),
    ],
)
def test_forwards_that_cannot_be_used(output: Any, told: str) -> None:
    model = Returns(output)
    with pytest.raises(RecipeError) as caught:
        own_output_shape(model, own_input(model, "net").own)  # type: ignore[arg-type]
    assert told in str(caught.value)


def test_a_forward_without_a_mask_is_noted() -> None:
    assert any("padding counts" in note for note in study(Returns(lambda h: h)).notes)
    assert not any("padding counts" in note for note in study(OwnTransformer()).notes)


def test_a_dict_as_config_is_no_configuration_of_a_library() -> None:
    """Many modules keep their settings under this name."""
    model = OwnTransformer()
    model.config = {"width": 32}  # type: ignore[assignment]
    assert study(model).stacks == study(OwnTransformer()).stacks
