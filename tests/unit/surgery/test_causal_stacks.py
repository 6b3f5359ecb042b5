"""What adapters do in causal stacks: their causal form, what they are told of earlier tokens, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.adapters.base import Adapter, Shape
from adaptkit.adapters.ladder import Ladder
from adaptkit.adapters.loreft import LoReFT, chosen
from adaptkit.adapters.wander import Wander
from adaptkit.anatomy import select
from adaptkit.errors import SiteError
from adaptkit.kinds import ADAPTERS
from adaptkit.plan.grafting import PlanContext, plan_adapter
from adaptkit.recipe.adapter import AdapterSpec
from adaptkit.sides import Side, Sides
from adaptkit.surgery import Graft, insert, remove
from adaptkit.surgery.applying import grown
from adaptkit.surgery.counting import COUNTED, around, earlier, visible
from tests.laws.families import FAMILIES

HOST = Shape(8, None, causal=True)
SIDES = {"poster": Shape(5, 1), "trailer": Shape(7, 3)}


class Unsaid(Adapter):
    """It does not say whether it mixes tokens."""

    paper: ClassVar[str] = "none"
    formula: ClassVar[str] = "D"

    def __init__(self, host: Shape, sides: Mapping[str, Shape]) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(host.width))

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        return self.shift.expand_as(z)


class Said(Unsaid):
    mixes_tokens: ClassVar[Any] = "never"


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in (("unsaid", Unsaid), ("said", Said)):
        monkeypatch.setitem(ADAPTERS._entries, name, (kind, None))


def graft(family: str, word: str, kind: str, **more: Any) -> tuple[nn.Module, Graft]:
    """A model and one graft, as one writes it by hand."""
    model, anatomy = FAMILIES[family].fresh(), FAMILIES[family].anatomy()
    site = select(anatomy, [word], "all")[0]
    return model, Graft("own", kind, site, Shape(site.width, 6), **more)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("family", "word"), [("gpt2", "mlp.out"), ("llama", "final.out"), ("bart", "decoder.attn.out")]
)
def test_who_does_not_say_that_it_keeps_tokens_apart_is_refused(family: str, word: str) -> None:
    model, unsaid = graft(family, word, "unsaid")
    with pytest.raises(SiteError, match="mixes the tokens of its stream") as caught:
        insert(model, [unsaid])
    assert "mixes_tokens" in str(caught.value)
    assert word in str(caught.value)
    insert(model, [replace(unsaid, kind="said")])


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(("family", "word"), [("bert", "mlp.out"), ("bart", "encoder.mlp.out"), ("vit", "block.out")])
def test_elsewhere_it_may(family: str, word: str) -> None:
    model, unsaid = graft(family, word, "unsaid")
    insert(model, [unsaid])


def plan(family: str, table: dict[str, Any]) -> tuple[Graft, ...]:
    known = FAMILIES[family]
    spans = {"image": Shape(0, 4)}
    return plan_adapter("fuse", AdapterSpec.of(**table), PlanContext(known.fresh(), known.anatomy(), SIDES, spans))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "gmu", "at": ["block.out"], "sides": ["span:image"]}, r"'span:image' is a part of the stream.*route"),
        ({"kind": "loreft", "at": ["block.out"], "last": 2}, r"last = 2.*Write last = 0"),
        ({"kind": "ladder", "at": ["final.out"], "attention": "full"}, r'attention = "full".*attention = "causal"'),
    ],
)
def test_a_plan_says_what_cannot_be_causal(table: dict[str, Any], message: str) -> None:
    with pytest.raises(SiteError, match=message) as caught:
        plan("gpt2", table)
    assert "adapter.fuse" in str(caught.value)


def test_a_ladder_takes_the_form_of_its_stack() -> None:
    shapes = {"block_0": Shape(8)}
    for host, attention, causal in ((HOST, "auto", True), (HOST, "causal", True), (Shape(8), "auto", False)):
        ladder = Ladder(host, shapes, reduction_factor=2, attention=attention)
        assert all(block.causal == causal for block in ladder.blocks)
        assert ladder.reads_earlier == (host is HOST)
    assert not Ladder(HOST, shapes, reduction_factor=2, block="mlp").reads_earlier, "it keeps tokens apart"


@pytest.mark.parametrize("combine", ["cp", "published", "residual"])
def test_the_causal_wander_equals_the_full_one_of_one_token(combine: Any) -> None:
    """Each token by itself is a stream of one token, and no stream is too long."""
    options: Any = {"rank": 4, "drank": 2, "trank": 3, "combine": combine}
    torch.manual_seed(0)
    causal, full = Wander(HOST, SIDES, **options).double(), Wander(Shape(8, 1), SIDES, **options).double()
    for parameter in causal.parameters():
        nn.init.normal_(parameter)
    full.load_state_dict(causal.state_dict())
    h, given = torch.randn(2, 40, 8).double(), Sides()
    given["poster"], given["trailer"] = Side.of(torch.randn(2, 1, 5)), Side.of(torch.randn(2, 3, 7))
    alone = [full(h[:, t : t + 1], h[:, t : t + 1], given) for t in range(40)]
    assert torch.allclose(causal(h, h, given), torch.cat(alone, dim=1), rtol=1e-9)


def test_the_first_tokens_are_counted_from_the_beginning_of_the_text() -> None:
    now, before = torch.ones(2, 1, dtype=torch.bool), torch.tensor([[True, True, False], [False, False, True]])
    assert chosen(now, 2, 0, before).tolist() == [[False], [True]]
    assert chosen(now, 2, 0).tolist() == [[True], [True]]
    assert LoReFT(HOST, {}, first=2).reads_earlier
    assert not LoReFT(HOST, {}).reads_earlier


class Cache:
    def __init__(self, length: int) -> None:
        self.length = length

    def get_seq_length(self) -> int:
        return self.length


@pytest.mark.parametrize(
    ("given", "length"),
    [
        ({"past_key_values": Cache(4)}, 4),
        ({"past_key_values": None, "attention_mask": torch.ones(2, 6)}, 0),
        ({"cache_params": [torch.zeros(1)], "attention_mask": torch.ones(2, 6)}, 5),
        ({"past_key_values": Cache(0)}, 0),
        ({}, 0),
    ],
)
def test_how_many_tokens_there_were(given: dict[str, Any], length: int) -> None:
    assert earlier(given, 1) == length


def test_a_cache_that_does_not_tell_is_an_error() -> None:
    with pytest.raises(SiteError, match=r"list.*use_cache=False"):
        earlier({"state": [torch.zeros(1)]}, 1)


def test_masks_of_all_forms() -> None:
    expected = torch.tensor([[False, True, True]])
    square = torch.tensor([[[[False, False, False], [False, True, True]]]])
    low = torch.where(square, 0.0, torch.finfo(torch.float32).min)
    assert all(torch.equal(visible(mask), expected) for mask in (expected, expected.long(), square, low))


def test_a_mask_grows_with_beams_and_with_what_is_generated() -> None:
    mask = torch.tensor([[False, True], [True, True]])
    found = grown(mask, torch.zeros(4, 3, 8))
    assert found is not None
    assert found.tolist() == [[False, True, True]] * 2 + [[True, True, True]] * 2
    assert grown(mask, torch.zeros(3, 2, 8)) is mask, "rows that are no continuations"
    assert grown(None, torch.zeros(4, 3, 8)) is None


def test_who_counts_is_released() -> None:
    model, first = graft("gpt2", "block.out", "loreft", options={"first": 2})
    second = replace(first, adapter="other")
    receipts = [insert(model, [each]) for each in (first, second)]
    root: Any = around(model, first.site.path)
    assert root is model
    assert getattr(root, COUNTED).readers == 2
    remove(model, receipts[0])
    assert getattr(root, COUNTED).readers == 1
    remove(model, receipts[1])
    assert not hasattr(root, COUNTED)
    assert not root._forward_pre_hooks


def test_a_recomputation_counts_as_its_own_forward_did() -> None:
    with sides.use_sides({}):
        sides.count("", torch.ones(1, 5, dtype=torch.bool))
        _, again = sides.checkpoint_contexts()
    assert sides.counted("", 2) == (None, None)
    with again:
        now, before = sides.counted("", 2)
    assert now is not None
    assert before is not None
    assert (now.shape, before.shape) == ((1, 2), (1, 3))
