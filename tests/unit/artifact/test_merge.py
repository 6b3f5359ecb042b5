"""Merging every weight-space adapter into every kind of host, alone and together, and refusing what would be wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from adaptkit.anatomy import Site, fingerprint
from adaptkit.artifact import merge, save_artifact
from adaptkit.errors import ArtifactError, SiteError
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import make_plan
from adaptkit.recipe import load_recipe
from adaptkit.surgery import Graft, Receipt, adapters_of, insert
from adaptkit.surgery.hosts import host_shape, oriented


class Hosts(nn.Module):
    """One of each kind of layer: (B, 6) token ids -> (B, 6, 2, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.fused = Conv1D(24, 8)
        self.linear = nn.Linear(24, 8)
        self.no_bias = nn.Linear(8, 8, bias=False)
        self.conv = nn.Conv2d(8, 6, 3, padding=1)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        nn.init.normal_(self.fused.bias)

    def forward(self, ids: Tensor) -> Tensor:
        x = torch.tanh(self.fused(self.words(ids)))  # (B, 6) -> (B, 6, 8) -> (B, 6, 24)
        x = torch.tanh(self.no_bias(torch.tanh(self.linear(x))))  # (B, 6, 8)
        return self.grouped(torch.tanh(self.conv(x.transpose(1, 2).unflatten(2, (2, 3)))))


# Name of the site -> path, width, width it reads, columns.
SITES = {
    "words": ("words", 8, None, None),
    "fused": ("fused", 24, 8, None),
    "fused.q": ("fused", 8, 8, (0, 8)),
    "fused.v": ("fused", 8, 8, (16, 24)),
    "linear": ("linear", 8, 24, None),
    "no_bias": ("no_bias", 8, 8, None),
    "conv": ("conv", 6, 8, None),
    "grouped": ("grouped", 6, 6, None),
}
LORA: dict[str, Any] = {"rank": 2, "alpha": 6.0}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", LORA),
    "dora": ("dora", LORA),
    "ia3": ("ia3", {}),
    "ia3_input": ("ia3", {"on": "input"}),
    "vera": ("vera", {"rank": 4}),
    "loha": ("loha", LORA),
    "lokr": ("lokr", {"rank": 1}),
}
IDS = torch.arange(12).reshape(2, 6) % 11


def hosts() -> Any:
    torch.manual_seed(0)
    return Hosts()


def graft(model: nn.Module, place: str, method: str, name: str = "") -> Graft:
    path, width, in_width, columns = SITES[place]
    site = Site(place, "", None, path, "after", width, columns=columns, in_width=in_width)
    kind, options = METHODS[method]
    return Graft(name or method, kind, site, host_shape(model, site), options=options)


def stirred(model: Any) -> Any:
    """Adapters away from their initial values; VeRA's frozen pair too, which changes no law."""
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".adapters." in name:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=chance))
    return model


def adapted(*at: tuple[str, str]) -> tuple[Any, Receipt]:
    """The model with (place, method) adapters in this order, named by their position."""
    model = hosts()
    receipt = insert(model, [graft(model, place, method, f"{method}{i}") for i, (place, method) in enumerate(at)])
    return stirred(model), receipt


def changed(model: nn.Module) -> set[str]:
    plain = hosts().state_dict()
    assert plain.keys() == model.state_dict().keys(), "nothing of the adapters is left"
    return {name for name, value in model.state_dict().items() if not torch.equal(value, plain[name])}


CELLS = [
    (place, method)
    for place in SITES
    for method in METHODS
    if not (method == "vera" and place in ("conv", "grouped"))
    and not (method in ("ia3_input", "vera", "loha", "lokr") and place == "words")
    and not (method == "ia3_input" and SITES[place][3])
]


@pytest.mark.parametrize(("place", "method"), CELLS)
def test_merged_equals_trained_and_unmerged(place: str, method: str) -> None:
    model = hosts()
    plain = model(IDS)
    receipt = insert(model, [graft(model, place, method)])
    torch.testing.assert_close(model(IDS), plain, rtol=0, atol=1e-6)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.2)
    for _ in range(4):
        optimizer.zero_grad()
        (model(IDS) - 1).square().mean().backward()
        optimizer.step()
    expected = model(IDS)
    assert (expected - plain).abs().max() > 1e-3
    merge(model, receipt)
    torch.testing.assert_close(model(IDS), expected, rtol=1e-5, atol=1e-5)
    path = SITES[place][0]
    scales_bias = method == "ia3" and oriented(model.get_submodule(path))[1] is not None
    assert changed(model) == {f"{path}.weight", *([f"{path}.bias"] if scales_bias else [])}
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_bfloat16_host_is_rounded_once_from_float32(method: str) -> None:
    """PEFT's safe merge rounds the change before adding it: a tenth of its weights are not the nearest ones."""
    model = hosts().bfloat16()
    receipt = insert(model, [graft(model, "linear", method)])
    stirred(model)
    expected, (adapter,) = model(IDS), adapters_of(model.linear).values()
    exact = adapter.merged(*(value.detach().float() for value in oriented(model.linear) if value is not None))
    merge(model, receipt)
    for name, value in zip(("weight", "bias"), exact, strict=True):
        assert torch.equal(model.linear.get_parameter(name), value.to(torch.bfloat16))
    torch.testing.assert_close(model(IDS), expected, rtol=0.05, atol=0.05)


TOGETHER = [
    [("linear", "lora"), ("linear", "lora"), ("linear", "vera"), ("linear", "loha"), ("linear", "lokr")],
    [("linear", "lora"), ("linear", "ia3")],
    [("linear", "ia3"), ("linear", "lora")],
    [("linear", "dora"), ("linear", "lora"), ("linear", "ia3")],
    [("linear", "ia3_input"), ("linear", "lora"), ("linear", "ia3")],
    [("linear", "lora"), ("linear", "ia3_input"), ("linear", "ia3_input")],
    [("linear", "ia3_input"), ("linear", "dora")],
    [("grouped", "lora"), ("grouped", "ia3"), ("grouped", "ia3_input")],
    [("fused.q", "lora"), ("fused.v", "dora"), ("fused", "ia3"), ("fused", "ia3_input")],
    [("words", "dora"), ("words", "lora"), ("words", "ia3")],
]


@pytest.mark.parametrize("at", TOGETHER, ids=lambda at: "+".join(".".join(each) for each in at))
def test_several_adapters_of_one_host_merge_as_they_run(at: list[tuple[str, str]]) -> None:
    model, receipt = adapted(*at)
    expected = model(IDS)
    merge(model, receipt)
    torch.testing.assert_close(model(IDS), expected, rtol=1e-5, atol=1e-5)


def test_the_order_matters() -> None:
    """(IA)3 after LoRA scales LoRA's change too."""
    outputs = []
    for order in (["lora", "ia3"], ["ia3", "lora"]):
        model = hosts()
        receipt = insert(model, [graft(model, "linear", method) for method in order])
        with torch.no_grad():
            model.linear.adapters["lora"].A.fill_(0.1)
            model.linear.adapters["lora"].B.fill_(0.1)
            model.linear.adapters["ia3"].l.fill_(2.0)
        merge(model, receipt)
        outputs.append(model(IDS))
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


def refused(model: Any, receipt: Receipt, message: str) -> None:
    """The merge fails, and the model is bit for bit what it was and still runs its adapters."""
    before = model(IDS)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ArtifactError, match=message):
        merge(model, receipt)
    now = model.state_dict()
    assert now.keys() == state.keys()
    assert all(torch.equal(value, now[name]) or not value.isfinite().all() for name, value in state.items())
    torch.testing.assert_close(model(IDS), before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("first", ["lora", "ia3", "dora"])
def test_dora_after_another_adapter_is_refused(first: str) -> None:
    """Its norm is that of the frozen weight, which a merged one has no longer."""
    refused(*adapted(("words", "lora"), ("linear", first), ("linear", "dora")), rf"dora2 .* but {first}1 changes")


def test_dora_beside_another_slice_is_not() -> None:
    model, receipt = adapted(("fused.q", "lora"), ("fused.v", "dora"))
    expected = model(IDS)
    merge(model, receipt)
    torch.testing.assert_close(model(IDS), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_merge_that_is_not_finite_changes_nothing(method: str) -> None:
    model, receipt = adapted(("words", "lora"), ("linear", method))
    with torch.no_grad():
        next(iter(model.linear.adapters[f"{method}1"].parameters())).fill_(math.nan)
    refused(model, receipt, r"into linear would give NaN or infinity; the model is unchanged")


def test_an_overflow_of_the_hosts_own_precision_is_not_finite() -> None:
    model = hosts().half()
    receipt = insert(model, [graft(model, "linear", "ia3")])
    with torch.no_grad():
        model.linear.adapters["ia3"].l.fill_(1e6)
    refused(model, receipt, "NaN or infinity")


class Scaled(nn.Embedding):
    """As in Gemma: what it returns is not its weight."""

    def forward(self, input: Tensor) -> Tensor:
        return 4 * super().forward(input)


def scale(model: Any) -> None:
    model.words = Scaled(11, 8)


def bound(model: Any) -> None:
    model.words = nn.Embedding(11, 8, max_norm=1.0)


def reflect(model: Any) -> None:
    model.conv = nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect")


def double(model: Any) -> None:
    model.linear = nn.utils.parametrizations.weight_norm(model.linear)


def share(model: Any) -> None:
    model.twin = nn.Linear(24, 8)
    model.twin.weight = model.linear.weight


def share_bias(model: Any) -> None:
    model.twin = nn.Linear(24, 8)
    model.twin.bias = model.linear.bias


@pytest.mark.parametrize(("alter", "place"), [(scale, "words"), (reflect, "conv")])
def test_hosts_whose_weight_is_not_all_they_do_are_refused_at_once(alter: Callable[[Any], None], place: str) -> None:
    model = hosts()
    alter(model)
    with pytest.raises(SiteError, match="whose weight lora cannot change"):
        insert(model, [graft(model, place, "lora")])


@pytest.mark.parametrize(
    ("alter", "place", "method", "message"),
    [
        (bound, "words", "lora", "words rescales its rows"),
        (double, "linear", "lora", "only layers with a weight of their own"),
        (share, "linear", "lora", "linear is shared with twin"),
        (share_bias, "linear", "ia3", "linear is shared with twin"),
    ],
)
def test_hosts_that_merging_would_get_wrong_are_refused(
    alter: Callable[[Any], None], place: str, method: str, message: str
) -> None:
    model = hosts()
    alter(model)
    receipt = insert(model, [graft(model, place, method)])
    refused(stirred(model), receipt, message)


def test_a_shared_bias_that_does_not_change_is_no_obstacle() -> None:
    model = hosts()
    share_bias(model)
    receipt = insert(model, [graft(model, "linear", "lora")])
    expected = stirred(model)(IDS)
    merge(model, receipt)
    torch.testing.assert_close(model(IDS), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("stays", "goes", "merges"),
    [
        ("lora", "lora", "after"),
        ("ia3", "lora", "after"),
        ("lora", "ia3", "after"),
        ("ia3_input", "lora", "both"),
        ("lora", "ia3_input", "none"),
        ("dora", "lora", "none"),
    ],
)
def test_adapters_of_another_insertion_stay_where_they_see_what_they_saw(stays: str, goes: str, merges: str) -> None:
    """Merging the first of two insertions, then the second."""
    for stays_first in (True, False):
        model = hosts()
        first = insert(model, [graft(model, "linear", stays if stays_first else goes, "first")])
        second = insert(model, [graft(model, "linear", goes if stays_first else stays, "second")])
        stirred(model)
        receipt = second if stays_first else first
        if merges == "none" or (merges == "after" and stays_first):
            refused(model, receipt, "of another insertion")
        else:
            expected = model(IDS)
            merge(model, receipt)
            torch.testing.assert_close(model(IDS), expected, rtol=1e-5, atol=1e-5)


def test_what_was_trained_of_the_backbone_stays_trained() -> None:
    model = hosts()
    receipt = insert(model, [graft(model, "linear", "lora")], unfrozen=["linear.weight", "conv.bias"])
    with torch.no_grad():
        model.linear.weight.mul_(2)
        model.conv.bias.add_(1)
    expected = stirred(model)(IDS)
    merge(model, receipt)
    torch.testing.assert_close(model(IDS), expected, rtol=1e-5, atol=1e-5)


def test_one_adapter_of_all_vera_layers_merges_into_each() -> None:
    model, receipt = adapted(("linear", "vera"), ("no_bias", "vera"), ("fused.q", "vera"))
    expected = model(IDS)
    merge(model, receipt)
    torch.testing.assert_close(model(IDS), expected, rtol=1e-5, atol=1e-5)
    assert changed(model) == {"linear.weight", "no_bias.weight", "fused.weight"}


RECIPE = (
    'adapter.fuse={kind="lora", at=["attn.q", "mlp.up"], rank=2}',
    'modality.features={kind="features", width=4, route="fusion"}',
)


def lora_model(recipe: Path, *more: str) -> AdaptedModel:
    """With deltas that are not zero."""
    model = build_model(make_plan(load_recipe(recipe, [*RECIPE, *more])))
    stirred(model.backbone)
    return model


def output(model: AdaptedModel) -> Tensor:
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    with torch.no_grad():
        return model.backbone(input_ids=ids).last_hidden_state


def test_merging_an_adapted_model_keeps_the_outputs_and_leaves_no_adapter(tiny_recipe: Path) -> None:
    model = lora_model(tiny_recipe)
    before = output(model)
    keys = {name for name in model.backbone.state_dict() if ".adapters." not in name}
    merge(model)
    torch.testing.assert_close(output(model), before, rtol=1e-5, atol=1e-6)
    assert set(model.backbone.state_dict()) == keys
    with pytest.raises(ArtifactError, match="no adapter to merge"):
        merge(model)


def test_what_cannot_be_merged_is_named_and_nothing_changes(tiny_recipe: Path) -> None:
    model = build_model(make_plan(load_recipe(tiny_recipe)))
    before = fingerprint(model.backbone)
    with pytest.raises(ArtifactError, match=r"cannot be merged.*fuse \(GMU\)"):
        merge(model)
    assert fingerprint(model.backbone) == before
    assert model.receipt.grafts


def test_a_merged_model_has_no_adapter_to_save(tiny_recipe: Path, tmp_path: Path) -> None:
    model = lora_model(tiny_recipe)
    merge(model)
    with pytest.raises(ArtifactError, match="merged"):
        save_artifact(model, tmp_path / "artifact")
