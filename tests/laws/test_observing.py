"""What is told of how much an adapter changes: for every adapter, without changing or drawing anything."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.adapters.base import ADAPTERS, Shape
from adaptkit.anatomy import Site
from adaptkit.surgery import Graft, insert, observe_changes
from tests.laws.cases import CASES, Case
from tests.laws.families import FAMILIES, Family
from tests.laws.laws import Cell, equal, stirred
from tests.laws.test_surgery import NOT_HERE

NO_STREAM = {"prompt", "prefix"}  # they add tokens, keys and values: there is no stream that they change
CELLS = [
    pytest.param(FAMILIES[name], case, id=f"{name}-{case.name}")
    for name in ("bert", "clip", "timm_resnet")
    for case in CASES.values()
    if case.kind and name not in NOT_HERE.get(case.name, ())
]


@pytest.mark.parametrize(("family", "case"), CELLS)
def test_every_adapter_is_seen_and_nothing_changes(family: Family, case: Case) -> None:
    cell = Cell(family, case)
    model, _ = cell.inserted()
    with observe_changes() as fresh:
        cell.run(model)
    stirred(model, cell.own(model))
    expected, state = cell.run(model), torch.get_rng_state()
    with observe_changes() as seen:
        assert equal(cell.run(model), expected)
    assert torch.equal(torch.get_rng_state(), state)
    ratios = seen.ratios(model)
    places = {(name, path) for name, found in ratios.items() for path in found}
    ran = {place for place in places if ratios[place[0]][place[1]]}
    if case.kind in NO_STREAM:
        assert not places
        return
    assert ran == places, "an adapter that acts has a ratio above zero"
    planned = {(graft.child, graft.site.path) for graft in cell.grafts}
    assert places == planned
    if case.identity:
        start = [ratio for found in fresh.ratios(model).values() for ratio in found.values() if ratio is not None]
        assert max(start, default=0) < 1e-5


class Half(nn.Module):
    """A stack of two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def graft(kind: str, path: str, width: int, **keys: object) -> Graft:
    site = Site("layer.out", "", 0, path, "after", width)
    host = Shape(width, 3, in_width={"first": 4, "second": 6}[path])
    return Graft("law", kind, site, host, options=keys)


@pytest.mark.parametrize("kind", ["bottleneck", "lora", "dora"])
@pytest.mark.parametrize("padded", [False, True])
def test_the_ratio_is_that_of_what_happens_to_the_stream(kind: str, padded: bool) -> None:
    """Against the two models run by hand; tokens that do not count, NaN among them, are not looked at."""
    model, plain = Half(), Half()
    keys = {"bottleneck": 3} if kind == "bottleneck" else {"rank": 2}
    insert(model, [graft(kind, "second", 5, **keys)])
    stirred(model, {name for name, _ in model.named_parameters() if ".adapters." in name})
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[True, True, True], [True, padded is False, padded is False]])
    if padded:
        x[1, 1:] = torch.nan
    with torch.no_grad(), observe_changes() as seen, sides.use_sides({}, {"": mask}):
        for _ in range(2):
            model(x)
        change, stream = (model(x) - plain(x))[mask], plain(x)[mask]
    expected = float(change.norm() / stream.norm())
    assert seen.ratios(model) == {"law": {"second": pytest.approx(expected, rel=1e-4)}}
    assert ADAPTERS[kind].reads_input == (kind != "bottleneck")


def test_nobody_looks_outside_and_lookers_nest() -> None:
    model = Half()
    insert(model, [graft("bottleneck", "first", 6, bottleneck=3)])
    x = torch.ones(1, 3, 4)
    with observe_changes() as outer:
        model(x)
        with observe_changes() as inner:
            model(torch.zeros(1, 3, 4))
        before = {key: value.clone() for key, value in outer.sums.items()}
    model(x)
    assert len(inner.sums) == 1
    assert all(torch.equal(outer.sums[key], value) for key, value in before.items())


def test_what_has_no_ratio_has_none() -> None:
    model = Half()
    with torch.no_grad():
        model.first.bias.zero_()
    insert(model, [graft("bottleneck", "first", 6, bottleneck=3)])
    with observe_changes() as seen:
        model(torch.zeros(1, 3, 4))
    assert seen.ratios(model) == {"law": {"first": None}}
    with observe_changes() as seen:
        model(torch.full((1, 3, 4), torch.nan))
    assert seen.ratios(model) == {"law": {"first": None}}
