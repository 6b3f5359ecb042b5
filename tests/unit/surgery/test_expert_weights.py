"""LoRA in the weights of fused experts: PEFT's numbers, every way transformers runs them, nothing else touched."""

from __future__ import annotations

import copy
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, batched_mm_experts_forward

from adaptkit.adapters.factored import Factored
from adaptkit.anatomy import select, study
from adaptkit.artifact import merge
from adaptkit.artifact.from_peft import convert_peft
from adaptkit.errors import ArtifactError, SiteError
from adaptkit.kinds import ADAPTERS
from adaptkit.sides import use_sides
from adaptkit.surgery import Graft, adapters_of, host_shape, insert, observe_changes, remove
from adaptkit.surgery.instantiating import build_all

GOLDENS = Path(__file__).parents[2] / "goldens" / "peft"
E, D, INNER, R = 4, 32, 24, 2  # experts, widths of the stream and inside an expert, rank

PLAIN = {"hidden_size": D, "intermediate_size": INNER, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1,
         "eos_token_id": 2}  # fmt: skip
FEW: dict[str, Any] = {"num_local_experts": E, "num_experts_per_tok": 2}
MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": FEW,
    "qwen3_moe": {"num_experts": E, "num_experts_per_tok": 2, "moe_intermediate_size": INNER, "head_dim": 8},
    "gpt_oss": {**FEW, "head_dim": 8},
}
IDS = torch.arange(2 * 7).reshape(2, 7) % 50 + 3
SITES = ["mlp.experts.gate_up", "mlp.experts.down"]


def build(kind: str = "mixtral", how: str = "grouped_mm") -> Any:
    torch.manual_seed(0)
    model: Any = AutoModel.from_config(AutoConfig.for_model(kind, **PLAIN, **MIXTURES[kind])).eval()
    model.set_experts_implementation(how)
    return model


def states(model: Any) -> Tensor:
    return model(input_ids=IDS, use_cache=False).last_hidden_state


def grafts(
    model: nn.Module, at: list[str] = SITES, kind: str = "lora", name: str = "tune", **options: Any
) -> list[Graft]:
    options = options or {"rank": R, "alpha": 4.0}
    return [Graft(name, kind, site, host_shape(model, site), options=options) for site in select(study(model), at)]


def stirred(model: nn.Module, name: str = "tune", scale: float = 0.2) -> None:
    generator = torch.Generator().manual_seed(len(name))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if f".adapters.{name}" in key:
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("kind", MIXTURES)
def test_the_weights_of_experts_are_sites_with_their_shapes(kind: str) -> None:
    model = build(kind)
    gate_up, down = select(study(model), SITES, layers=[1])
    assert (gate_up.path, gate_up.parameter, gate_up.width, gate_up.in_width) == (
        "layers.1.mlp.experts", "gate_up_proj", 2 * INNER, D,
    )  # fmt: skip
    assert (down.parameter, down.width, down.in_width) == ("down_proj", D, INNER)
    assert host_shape(model, down).experts == E


@pytest.mark.parametrize("how", ["eager", "grouped_mm", "batched_mm", "another"])
@pytest.mark.parametrize("kind", MIXTURES)
def test_adapted_experts_are_those_with_the_changed_weights(kind: str, how: str) -> None:
    """However transformers runs them; a way that is not known here gets the sums."""
    ALL_EXPERTS_FUNCTIONS.register("another", only_tensors)
    model, twin = build(kind, how), build(kind, how)
    plain = states(model)
    insert(model, grafts(model))
    assert torch.equal(states(model), plain), "fresh ones change nothing"
    stirred(model)
    with torch.no_grad():
        for layer in range(2):
            experts, adapted = twin.layers[layer].mlp.experts, model.layers[layer].mlp.experts
            for name, word in (("gate_up_proj", "gate_up"), ("down_proj", "down")):
                adapter: Any = adapters_of(adapted)[f"tune_{word}"]
                change = 2.0 * torch.stack([adapter.B[e] @ adapter.A[e] for e in range(E)])
                getattr(experts, name).add_(change.mT if kind == "gpt_oss" else change)
    found = states(model)
    assert (found - plain).abs().max() > 0.1
    torch.testing.assert_close(found, states(twin), rtol=1e-5, atol=1e-5)


def only_tensors(module: Any, *args: Any) -> Tensor:
    assert not any(isinstance(getattr(module, name), Factored) for name in ("gate_up_proj", "down_proj"))
    return batched_mm_experts_forward(module, *args)


@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss"])
def test_peft(kind: str) -> None:
    """`target_parameters` of PEFT 0.21: base, fresh, adapted and merged states, and the spread of fresh values."""
    folder = GOLDENS / f"{kind}_experts"
    model: Any = AutoModel.from_pretrained(folder / "backbone").eval()
    io, saved = load_file(folder / "io.safetensors"), load_file(folder / "adapter_model.safetensors")
    settings = json.loads((folder / "adapter_config.json").read_text())
    ids, rank = io["in.input_ids"], settings["r"]

    def run() -> Tensor:
        return model(input_ids=ids, use_cache=False).last_hidden_state

    torch.testing.assert_close(run(), io["out.base"], rtol=1e-5, atol=1e-5)
    made = grafts(model, rank=rank, alpha=float(settings["lora_alpha"]))
    receipt = insert(model, made)
    torch.testing.assert_close(run(), io["out.init"], rtol=1e-5, atol=1e-5)
    assert 4 * len(made) // 2 == len(saved)
    for graft in made:
        adapter: Any = adapters_of(model.get_submodule(graft.site.path))[graft.child]
        assert adapter.A.abs().max() <= adapter.A.shape[-1] ** -0.5, "Kaiming-uniform over the inputs of one expert"
        assert adapter.A.abs().max() > 0.9 * adapter.A.shape[-1] ** -0.5
        # PEFT wraps one parameter of a module in another's wrapper, and keeps all experts in two matrices.
        prefix = f"base_model.model.{graft.site.path}.{'base_layer.' if graft.site.name.endswith('up') else ''}lora_"
        count = adapter.A.shape[0]
        adapter.A.data = saved[f"{prefix}A.weight"].view(count, rank, -1)
        adapter.B.data = saved[f"{prefix}B.weight"].view(-1, rank, count).permute(2, 0, 1).contiguous()
    torch.testing.assert_close(run(), io["out.adapter"], rtol=1e-5, atol=1e-5)
    merge(model, receipt)
    torch.testing.assert_close(run(), io["out.merged"], rtol=1e-5, atol=1e-5)


def test_checkpoints_of_peft_with_experts_are_refused(tmp_path: Path) -> None:
    """Their tensors are those of all experts in one, and one module's wrapper is in another's."""
    source = GOLDENS / "mixtral_experts"
    with pytest.raises(ArtifactError, match=r"target_parameters = \['mlp\.experts\.gate_up_proj'"):
        convert_peft(source, tmp_path / "ours", backbone=str(source / "backbone"))
    assert not (tmp_path / "ours").exists()


def test_two_insertions_leave_in_any_order() -> None:
    model = build()
    plain, config = states(model), model.layers[0].mlp.experts.config
    first = insert(model, grafts(model))
    stirred(model)
    one = states(model)
    second = insert(model, grafts(model, name="more"))
    stirred(model, "more")
    both = states(model)
    assert (both - one).abs().max() > 1e-2
    other = copy.deepcopy(model)
    remove(model, second)
    assert torch.equal(states(model), one)
    remove(model, first)
    assert torch.equal(states(model), plain)
    assert model.layers[0].mlp.experts.config is config
    merge(other, first)
    torch.testing.assert_close(states(other), both, rtol=1e-5, atol=1e-5)
    remove(other, second)
    torch.testing.assert_close(states(other), one, rtol=1e-5, atol=1e-5)


def test_another_way_to_run_them_may_be_chosen_later() -> None:
    model = build()
    insert(model, grafts(model))
    stirred(model)
    before = states(model)
    for how in ("eager", "batched_mm"):
        model.set_experts_implementation(how)
        torch.testing.assert_close(states(model), before, rtol=1e-5, atol=1e-5)


def test_threads_do_not_meet() -> None:
    """One thread trains while others evaluate: each has its own weights, and nothing is left on the module."""
    model = build()
    insert(model, grafts(model))
    stirred(model)
    before, expected = dict(vars(model.layers[0].mlp.experts)), states(model).detach()
    wrong: list[str] = []

    def work(train: bool) -> None:
        for _ in range(15):
            with torch.set_grad_enabled(train):
                found = states(model)
            if not torch.equal(found, expected) or found.requires_grad != train:
                wrong.append(threading.current_thread().name)

    threads = [threading.Thread(target=work, args=(train,)) for train in (True, False, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert vars(model.layers[0].mlp.experts) == before


def test_an_exception_inside_leaves_nothing_behind() -> None:
    model = build(how="eager")
    insert(model, grafts(model))
    stirred(model)
    expected, experts = states(model), model.layers[0].mlp.experts
    own = experts.act_fn
    experts.act_fn = nn.Linear(3, 3)
    with pytest.raises(RuntimeError):
        states(model)
    experts.act_fn = own
    assert torch.equal(states(model), expected)


def test_the_anatomy_of_adapted_experts_is_that_of_the_plain_ones() -> None:
    model = build()
    before = study(model)
    insert(model, grafts(model))
    assert study(model) == before


def test_what_they_change_is_seen() -> None:
    model = build()
    insert(model, grafts(model))
    with observe_changes() as fresh:
        states(model)
    assert fresh.ratios(model)["tune_down"] == {f"layers.{i}.mlp.experts": 0.0 for i in range(2)}
    stirred(model)
    with observe_changes() as changes:
        states(model)
    found = changes.ratios(model)
    assert all(ratio and ratio > 0.01 for word in ("gate_up", "down") for ratio in found[f"tune_{word}"].values())


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "dropout": ("lora", {"dropout": 0.1}, r"dropout = 0\.1 cannot be had in fused experts"),
    "rank": ("lora", {"rank": 25}, r"rank = 25 exceeds the smaller width of the projection \(24 -> 32\)"),
} | {
    kind: (kind, {}, f"{kind} does not work on the weights of fused experts")
    for kind, known in ADAPTERS.kinds.items()
    if not known.facts["changes_experts"]
}  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_form_for_experts_is_refused(kind: str, options: dict[str, Any], message: str) -> None:
    model = build()
    (site,) = select(study(model), ["mlp.experts.down"], layers=[0])
    with pytest.raises(SiteError, match=message) as caught:
        build_all([Graft("tune", kind, site, host_shape(model, site), options=options)])
    hint = caught.value.problems[0].hint
    assert 'kind = "lora", or at = "mlp.out"' in hint if "does not work" in message else hint


def test_samples_of_several_tasks_cannot_be_told_apart() -> None:
    """The router has sorted their tokens by then."""
    model = build()
    sites = select(study(model), ["mlp.experts.down"])
    given: dict[str, Any] = {"options": {"rank": R}, "per_task": "multiple", "tasks": ("vqa", "gqa")}
    insert(model, [Graft("tune", "lora", site, host_shape(model, site), **given) for site in sites])
    for task in given["tasks"]:
        with use_sides(task=task):
            states(model)
    with use_sides(task=["vqa", "gqa"]), pytest.raises(SiteError, match="fused experts do not know whose tokens"):
        states(model)


def test_codes_are_refused() -> None:
    model = build()
    made = grafts(model, ["mlp.experts.down"])
    experts = model.layers[0].mlp.experts
    experts.down_proj = nn.Parameter(experts.down_proj.detach().to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(SiteError, match=r"layers\.0\.mlp\.experts\.down_proj is kept as torch\.float8_e4m3fn codes"):
        insert(model, made)
    assert not adapters_of(model.layers[1].mlp.experts)


def test_experts_that_run_in_another_way_have_no_such_site() -> None:
    """Llama 4 multiplies by its experts' weights itself."""
    sizes = {**PLAIN, "num_local_experts": 2, "intermediate_size_mlp": 24, "head_dim": 8, "moe_layers": [0, 1]}
    with torch.device("meta"):
        anatomy = study(AutoModel.from_config(AutoConfig.for_model("llama4_text", **sizes)))
    with pytest.raises(SiteError, match=r"has no site 'mlp\.experts\.gate_up'") as caught:
        select(anatomy, ["mlp.experts.gate_up"])
    assert "experts interface of transformers" in caught.value.problems[0].hint


def test_a_merge_that_would_not_be_finite_changes_nothing() -> None:
    model = build()
    receipt = insert(model, grafts(model))
    stirred(model)
    adapter: Any = adapters_of(model.layers[1].mlp.experts)["tune_down"]
    adapter.A.data[0, 0, 0] = float("nan")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ArtifactError, match=r"merging tune_down into layers\.1\.mlp\.experts would give NaN"):
        merge(model, receipt)
    assert all(torch.equal(value.nan_to_num(), before[name].nan_to_num()) for name, value in model.state_dict().items())
