"""The laws of generation, for every adapter in four language models: neither what comes later nor a cache matters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.errors import SiteError
from adaptkit.sides import Side
from tests.laws.cases import CASES, SPANS, TASKS, Case, NotHereError, side_inputs
from tests.laws.families import Family, shaken
from tests.laws.laws import Cell, stirred
from tests.laws.zoo_text import GPT, PLAIN, SEQ2SEQ, SHARED, T5

IDS: dict[str, Any] = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": None, "forced_eos_token_id": None}
NEW = 4  # tokens that are generated


def language_model(model_type: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

        torch.manual_seed(0)
        kind = AutoModelForSeq2SeqLM if "decoder_start_token_id" in settings else AutoModelForCausalLM
        return shaken(kind.from_config(AutoConfig.for_model(model_type, **{**settings, **IDS})).eval())

    return build


def prompts() -> dict[str, Tensor]:
    """Three samples; the second one is padded on the left."""
    mask = torch.ones(3, 5, dtype=torch.long)
    mask[1, :2] = 0
    ids = torch.arange(15).reshape(3, 5) % 11 + 5
    return {"input_ids": ids * mask + (1 - mask), "attention_mask": mask}


def sources() -> dict[str, Tensor]:
    """For an encoder, padded on the right: its positions are counted from the left."""
    return {name: value.flip(1) for name, value in prompts().items()}


FAMILIES = {
    family.name: family
    for family in (
        Family("gpt2", language_model("gpt2", **GPT), prompts, {"": 12}),
        Family("llama", language_model("llama", **PLAIN, **SHARED), prompts, {"": 12}),
        Family("bart", language_model("bart", **SEQ2SEQ), sources, {"encoder": 12, "decoder": 12}),
        Family("t5", language_model("t5", **T5, decoder_start_token_id=2), sources, {"encoder": 12, "decoder": 12}),
    )
}
WANDER = {"kind": "wander", "rank": 4, "drank": 2, "trank": 3}
MORE = (
    Case("ladder_apart", (("final.out",),), {"kind": "ladder", "reduction_factor": 4, "block": "mlp"}),
    Case("loreft_first", (("block.out",),), {"kind": "loreft", "rank": 2, "first": 4}),
    Case("prefix_after", (("attn.kv",),), {"kind": "prefix", "length": 3, "positions": "after"}),
    Case("wander_vector", (("attn.out",),), {**WANDER, "combine": "published", "sides": ["poster"]}),
)
CELLS = [
    pytest.param(family, case, id=f"{family.name}-{case.name}")
    for family in FAMILIES.values()
    for case in (*CASES.values(), *MORE)
]
NEEDS_THE_PAST = {"ladder"}


def adapted(family: Family, case: Case) -> nn.Module:
    """The model with trained adapters of a case."""
    cell = Cell(Family(f"lm_{family.name}", family.build, family.inputs, family.lengths), case)
    try:
        assert cell.grafts or cell.case.unfrozen(family.build())
    except NotHereError as error:
        pytest.skip(str(error))
    except SiteError as error:
        assert (family.name, case.name) == ("t5", "prefix_after"), "relative positions cannot be moved, all others work"
        pytest.skip(str(error))
    model, _ = cell.inserted()
    return stirred(model, cell.own(model))


def laid_out(case: Case, rows: slice = slice(None)) -> Any:
    """The sides of these samples."""
    given = {n: Side(s.tensor[rows], s.mask[rows], s.present[rows]) for n, s in side_inputs().items()}
    return sides.use_sides(given, task=TASKS[0] if case.tasks else None, spans=SPANS)


def generate(model: Any, case: Case, inputs: dict[str, Tensor], rows: slice = slice(None), **how: Any) -> Any:
    """What is generated for these samples: ids, and the scores of all tokens at every step."""
    given = {name: value[rows] for name, value in inputs.items()}
    torch.manual_seed(1)
    with laid_out(case, rows), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.generate(
            **given, max_new_tokens=NEW, return_dict_in_generate=True, output_logits=True, eos_token_id=None, **how
        )


def same(left: Any, right: Any) -> None:
    assert torch.equal(left.sequences, right.sequences)
    for one, other in zip(left.logits, right.logits, strict=True):
        assert torch.allclose(one, other, atol=1e-4), (one - other).abs().max()


@pytest.mark.parametrize(("family", "case"), CELLS)
def test_no_output_depends_on_a_later_input(family: Family, case: Case) -> None:
    model, inputs = adapted(family, case), family.inputs()
    key = "input_ids"
    if model.config.is_encoder_decoder:
        key = "decoder_input_ids"
        inputs[key] = torch.arange(15).reshape(3, 5) % 13 + 3
    with laid_out(case), torch.no_grad():
        before = model(**inputs, use_cache=False).logits
        for place in range(1, 5):
            other = {**inputs, key: inputs[key].clone()}
            other[key][:, place] += 17
            after = model(**other, use_cache=False).logits
            assert torch.allclose(after[:, :place], before[:, :place], atol=1e-6), f"token {place} is seen too early"
            assert not torch.allclose(after[:, place], before[:, place], atol=1e-3), "it is seen at its place"


@pytest.mark.parametrize(("family", "case"), CELLS)
def test_a_cache_changes_nothing(family: Family, case: Case) -> None:
    model = adapted(family, case)
    ways = {
        "greedy": {},
        "beams": {"num_beams": 2, "num_return_sequences": 2},
        "samples": {"do_sample": True, "num_return_sequences": 2},
    }
    past = case.name in NEEDS_THE_PAST
    for way in ways.values():
        run = partial(generate, model, case, family.inputs(), **way)
        without = run(use_cache=False)
        for cache in ({"use_cache": True}, {"cache_implementation": "static"}):
            with pytest.raises(SiteError, match="use_cache=False") if past else nullcontext():
                same(run(**cache), without)


@pytest.mark.parametrize(("family", "case"), CELLS)
def test_every_sample_hears_its_own_sides(family: Family, case: Case) -> None:
    """In a batch with padding and beams as alone, without any padding."""
    model, inputs = adapted(family, case), family.inputs()
    how = {"num_beams": 2, "use_cache": case.name not in NEEDS_THE_PAST}
    together = generate(model, case, inputs, **how).sequences
    counts = inputs["attention_mask"].bool()
    for row in range(3):
        alone = {name: value[:, counts[row]] for name, value in inputs.items()}
        found = generate(model, case, alone, slice(row, row + 1), **how).sequences
        assert torch.equal(found[0, -NEW:], together[row, -NEW:])


def test_generation_without_sides_says_how() -> None:
    family, case = FAMILIES["gpt2"], CASES["gmu_tied"]
    with pytest.raises(SiteError, match="use_sides"):
        adapted(family, case).generate(**family.inputs(), max_new_tokens=2)
