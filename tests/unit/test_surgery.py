"""Surgery on one small model: what it refuses, and what several adapters do together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from adaptkit import sides
from adaptkit.adapters.base import Shape
from adaptkit.anatomy.site import Site
from adaptkit.errors import SiteError
from adaptkit.surgery import Graft, insert, remove


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))


def at(path: str, *, adapter: str = "a", kind: str = "bottleneck", when: str = "after", **options) -> Graft:
    widths = {"0": (8, 4), "1": (8, None), "2": (4, 8), "9": (4, None)}
    width, in_width = widths[path]
    site = Site("mlp.out", "", int(path), path, when, width, in_width=in_width)
    return Graft(adapter, kind, site, Shape(width, None, in_width), options=options or {"bottleneck": 2})


def test_two_adapters_of_one_host_run_in_order_and_leave_one_by_one() -> None:
    model, x = net(), torch.randn(3, 5, 4)
    plain = model(x)
    first = insert(model, [at("2")], seed=1)
    second = insert(model, [at("2", adapter="b", kind="lora", rank=2)], seed=2)
    assert list(model[2].adapters) == ["a", "b"]
    assert all(parameter.requires_grad for parameter in model[2].adapters.parameters())
    assert not any(parameter.requires_grad for parameter in (model[0].weight, model[2].weight))
    with torch.no_grad():
        model[2].adapters["b"].B.normal_()
    changed = model(x)
    assert not torch.equal(changed, plain)
    remove(model, first)
    assert torch.equal(model(x), changed), "the bottleneck was the identity"
    remove(model, second)
    assert torch.equal(model(x), plain)


def test_removing_gives_back_what_was_trainable_before() -> None:
    model = net()
    model[0].weight.requires_grad_(False)
    receipt = insert(model, [at("2")], unfrozen=["2.bias"])
    assert [n for n, p in model.named_parameters() if p.requires_grad and "adapters" not in n] == ["2.bias"]
    remove(model, receipt)
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["0.weight"]


@pytest.mark.parametrize(
    ("grafts", "message"),
    [
        ([at("2"), at("9")], "no module '9'"),
        ([at("2"), at("2")], "already carries an adapter 'a'"),
        ([at("0"), at("2", kind="lora", rank=64)], "rank = 64 exceeds"),
    ],
)
def test_a_refused_insertion_changes_nothing(grafts: list[Graft], message: str) -> None:
    model = net()
    keys, x = list(model.state_dict()), torch.randn(2, 4)
    before = model(x)
    with pytest.raises(SiteError, match=message):
        insert(model, grafts)
    assert list(model.state_dict()) == keys
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model(x), before)


def test_a_host_with_an_attribute_of_that_name_is_refused() -> None:
    model = net()
    model[2].adapters = nn.Identity()
    with pytest.raises(SiteError, match="attribute `adapters` of its own"):
        insert(model, [at("2")])


def test_removing_twice_is_an_error_and_changes_nothing() -> None:
    model = net()
    receipt = insert(model, [at("2")])
    remove(model, receipt)
    with pytest.raises(SiteError, match="carries no adapter"):
        remove(model, receipt)


def test_sides_are_cleared_after_the_forward() -> None:
    model = net()
    graft = replace(at("2", kind="gmu", bottleneck=2), sides={"poster": Shape(3)})
    insert(model, [graft])
    x, poster = torch.randn(2, 5, 4), torch.randn(2, 3)
    with sides.use_sides({"poster": poster}):
        model(x)
    with pytest.raises(SiteError, match="no side inputs are laid out"):
        model(x)
    with sides.use_sides({"postr": poster}), pytest.raises(SiteError, match='Did you mean "postr"'):
        model(x)


def test_sides_nest_and_survive_an_error() -> None:
    with sides.use_sides({"a": torch.zeros(2, 3)}):
        with pytest.raises(ZeroDivisionError), sides.use_sides({"a": torch.ones(2, 3)}):
            1 / 0  # noqa: B018
        assert sides.read(("a",))["a"].tensor.sum() == 0


def test_a_parallel_adapter_holds_no_tensor_between_forwards() -> None:
    model = net()
    graft = replace(at("2"), reads=(Site("mlp.stream", "", 2, "0", "before", 4),))
    insert(model, [graft])
    model(torch.randn(2, 3, 4)).sum().backward()
    assert model[2].adapters["a"].captured == {}
