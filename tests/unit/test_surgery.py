"""Surgery on one small model: what it refuses, and what several adapters do together."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from adaptkit import sides
from adaptkit.adapters.base import Shape
from adaptkit.anatomy.site import Site
from adaptkit.errors import SiteError
from adaptkit.surgery import Graft, insert, remove
from adaptkit.surgery.instantiating import check_fits


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


class Several(nn.Module):
    """Reads and returns more than the stream."""

    def forward(self, h: torch.Tensor, factor: float, shift: float = 0.0) -> tuple[torch.Tensor, float, float]:
        return h * factor + shift, factor, shift


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_a_host_reads_and_returns_besides_its_stream_stays(when: str) -> None:
    model = nn.Sequential(nn.Identity(), Several())
    site = Site("mlp.in" if when == "before" else "mlp.out", "", 1, "1", when, 4, in_width=None)
    insert(model, [Graft("a", "bottleneck", site, Shape(4), options={"bottleneck": 2})])
    x = torch.randn(2, 3, 4)
    with torch.no_grad():
        for parameter in model[1].adapters.parameters():
            parameter.normal_()
        change = model[1].adapters["a"](x, x, sides.Sides()) - x if when == "before" else 0.0
    for output in (model[1](x, 2.0, 5.0), model[1](x, 2.0, shift=5.0), model[1](h=x, factor=2.0, shift=5.0)):
        h, factor, shift = output
        assert (factor, shift) == (2.0, 5.0)
        assert not torch.equal(h, 2 * x + 5)
        if when == "before":
            torch.testing.assert_close(h, 2 * (x + change) + 5)


def test_what_only_let_parameters_move_is_removed_once() -> None:
    model = net()
    unfrozen = insert(model, [], unfrozen=["0.weight"])
    remove(model, unfrozen)
    with pytest.raises(SiteError, match="this insertion is not in the model"):
        remove(model, unfrozen)


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


@pytest.mark.parametrize(("blocks", "any_width"), [(True, False), (False, True), (True, True), (False, False)])
def test_what_reads_another_width_says_so(blocks: bool, any_width: bool) -> None:
    other = replace(at("2").site, width=6)
    graft = replace(at("2"), reads=(other,))
    adapter: Any = SimpleNamespace(
        reads_blocks=blocks,
        reads_any_width=any_width,
        reads_input=False,
        works_on="stream",
        keeps_length=True,
        changes_input=False,
    )
    if blocks or any_width:
        check_fits(graft, adapter)
    else:
        with pytest.raises(SiteError, match="reads a stream of width 6 and writes one of width 4"):
            check_fits(graft, adapter)


def test_a_block_is_read_before_its_adapters_where_another_model_runs_in_step_only() -> None:
    own = at("2")
    other = replace(own.site, model="vision")
    assert replace(own, in_step=True).returned(other)
    assert not replace(own, in_step=True).returned(own.site)
    assert not own.returned(other)
