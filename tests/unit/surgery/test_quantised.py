"""Hosts that keep their weight as codes: stand-ins always, bitsandbytes and torchao where they are installed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.anatomy import fingerprint, study
from adaptkit.anatomy.quantised import is_quantised, keep_codes, weight_of
from adaptkit.artifact import merge
from adaptkit.errors import ArtifactError, SiteError
from adaptkit.plan.grafting import PlanContext, plan_adapter
from adaptkit.plan.parameters import unfrozen_parameters
from adaptkit.recipe.adapter import AdapterSpec
from adaptkit.surgery import Graft, insert, remove
from tests.laws.families import WORDS, text, transformers_model

# B batch, T tokens, D width a projection writes, C width it reads

KINDS = ("lora", "dora", "loha", "lokr", "vera", "ia3")
WIDE = {"hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 128}


class EightBits(nn.Linear):
    """What bitsandbytes' Linear8bitLt keeps: codes (D, C), of which 127 stands for the scale of its row."""

    def __init__(self, layer: nn.Linear, *, packed: bool = False) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        scale = layer.weight.detach().abs().amax(1)
        codes = (layer.weight.detach() / scale[:, None] * 127).round().to(torch.int8)
        self.weight = nn.Parameter(codes.flatten().unsqueeze(1) if packed else codes, requires_grad=False)
        if not packed:
            self.weight.SCB = scale  # type: ignore[attr-defined]
        self.bias = layer.bias

    def forward(self, input: Tensor) -> Tensor:
        scale = getattr(self.weight, "SCB", torch.ones(self.out_features))
        weight = self.weight.view(self.out_features, self.in_features) * scale[:, None] / 127
        return functional.linear(input, weight, self.bias)


class Codes(Tensor):
    """What torchao does: a tensor that knows its numbers, and few operations."""

    @staticmethod
    def __new__(cls, numbers: Tensor) -> Codes:
        made = torch.Tensor._make_wrapper_subclass(cls, numbers.shape, dtype=numbers.dtype)  # type: ignore[attr-defined]
        made.numbers = numbers
        return made

    def dequantize(self) -> Tensor:  # type: ignore[override]
        return self.numbers

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["numbers"], None

    def __deepcopy__(self, memo: dict[int, Any]) -> Codes:
        return type(self)(self.numbers.clone())

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__
        if name.startswith(("detach", "alias")):
            return type(args[0])(args[0].numbers)
        if name.startswith(("linear", "t.", "addmm", "mm", "transpose")):
            return func(*(a.numbers if isinstance(a, Codes) else a for a in args), **(kwargs or {}))
        raise NotImplementedError(name)


class Sealed(Codes):
    """What torchao does with 4 bits: a tensor of a plain number format, whose numbers nobody can ask for."""

    dequantize = Tensor.dequantize

    @classmethod
    def of(cls, layer: nn.Linear) -> nn.Module:
        made = knowing(layer)
        numbers: Any = made.weight
        made.weight = nn.Parameter(Sealed(numbers.numbers), requires_grad=False)
        return made


def eight_bits(layer: nn.Linear) -> nn.Module:
    return EightBits(layer)


def knowing(layer: nn.Linear) -> nn.Module:
    made = nn.Linear(layer.in_features, layer.out_features, device="meta")
    made.weight, made.bias = nn.Parameter(Codes(layer.weight.detach().clone()), requires_grad=False), layer.bias
    return made


def of_bitsandbytes(bits: int, **how: Any) -> Callable[[nn.Linear], nn.Module]:
    def convert(layer: nn.Linear) -> nn.Module:
        library: Any = pytest.importorskip("bitsandbytes")
        inputs, outputs = layer.in_features, layer.out_features
        if bits == 8:
            made = library.nn.Linear8bitLt(inputs, outputs, has_fp16_weights=False)
            made.weight = library.nn.Int8Params(layer.weight.detach(), requires_grad=False, has_fp16_weights=False)
        else:
            made = library.nn.Linear4bit(inputs, outputs, compute_dtype=torch.float32)
            made.weight = library.nn.Params4bit(layer.weight.detach(), requires_grad=False, **how)
        made.bias = layer.bias
        return made.to("cpu")

    return convert


def of_torchao(config: str) -> Callable[[nn.Linear], nn.Module]:
    def convert(layer: nn.Linear) -> nn.Module:
        library: Any = pytest.importorskip("torchao.quantization")
        library.quantize_(layer, getattr(library, config)())
        return layer

    return convert


WAYS: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "scaled rows": eight_bits,
    "a tensor that knows": knowing,
    "bitsandbytes 8": of_bitsandbytes(8),
    "bitsandbytes nf4": of_bitsandbytes(4, quant_type="nf4"),
    "bitsandbytes fp4 twice": of_bitsandbytes(4, quant_type="fp4", compress_statistics=True),
    "torchao int8": of_torchao("Int8WeightOnlyConfig"),
    "torchao intx": of_torchao("IntxWeightOnlyConfig"),
    "torchao float8": of_torchao("Float8WeightOnlyConfig"),
}


def plain() -> nn.Module:
    return transformers_model("bert", **WIDE, **WORDS)()


def converted(how: Callable[[nn.Linear], nn.Module]) -> nn.Module:
    model = plain()
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear):
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, how(module))
    return keep_codes(model)


def dense(model: nn.Module) -> nn.Module:
    """The plain model with the numbers that the codes of this one stand for."""
    twin = plain()
    with torch.no_grad():
        for path, module in twin.named_modules():
            if isinstance(module, nn.Linear):
                module.weight.copy_(weight_of(model.get_submodule(path)))
    return twin


def grafts(model: nn.Module, kind: str, **options: Any) -> tuple[Graft, ...]:
    spec = AdapterSpec.of(kind=kind, at=["attn.q", "mlp.down"], **options)
    return plan_adapter("a", spec, PlanContext(model, study(model), lengths={"": 6}))


def states(model: nn.Module) -> Tensor:
    return model(**text()).last_hidden_state


@pytest.fixture(params=WAYS.values(), ids=list(WAYS))
def how(request: pytest.FixtureRequest) -> Callable[[nn.Linear], nn.Module]:
    return request.param


@pytest.mark.filterwarnings("ignore")  # of the libraries
def test_the_anatomy_is_that_of_the_plain_model(how: Callable[[nn.Linear], nn.Module]) -> None:
    model = converted(how)
    before = {name: type(module) for name, module in model.named_modules()}
    found, expected = study(model), study(plain())
    assert found.sites == expected.sites
    assert found.parameters == expected.parameters
    assert {name: type(module) for name, module in model.named_modules()} == before


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_does_on_codes_what_it_does_on_their_numbers(
    how: Callable[[nn.Linear], nn.Module], kind: str
) -> None:
    model = converted(how)
    twin = dense(model)
    before, hash_before = states(model).detach(), fingerprint(model)
    receipt, _ = insert(model, grafts(model, kind)), insert(twin, grafts(twin, kind))
    torch.testing.assert_close(states(model), before, rtol=0, atol=1e-5)  # identity at init
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
                twin.get_parameter(name).copy_(parameter)
    changed = states(model)
    assert (changed - before).abs().max() > 1e-3
    torch.testing.assert_close(changed, states(twin), rtol=0, atol=1e-5)
    for each in (changed, states(twin)):
        (each**2 * torch.linspace(-1, 1, each.shape[-1])).mean().backward()
    for name, parameter in twin.named_parameters():
        if parameter.requires_grad:
            grad = model.get_parameter(name).grad
            assert grad is not None
            torch.testing.assert_close(grad, parameter.grad, rtol=1e-2, atol=1e-5)
    with pytest.raises(ArtifactError, match="keeps its weight as codes"):
        merge(model, receipt)
    remove(model, receipt)
    assert torch.equal(states(model), before)
    assert fingerprint(model) == hash_before


@pytest.mark.filterwarnings("ignore")
def test_codes_do_not_train_and_say_so(how: Callable[[nn.Linear], nn.Module]) -> None:
    model = converted(how)
    with pytest.raises(SiteError, match="keeps its weight as codes") as refused:
        insert(model, (), unfrozen=unfrozen_parameters(model, ["all"]))
    assert "norms" in (refused.value.problems[0].hint or "")
    receipt = insert(model, (), unfrozen=unfrozen_parameters(model, ["bias", "norm"]))
    states(model).sum().backward()
    remove(model, receipt)


@pytest.mark.parametrize("how", [lambda layer: EightBits(layer, packed=True), Sealed.of], ids=["packed", "sealed"])
def test_numbers_that_nobody_knows_are_not_guessed(how: Callable[[nn.Linear], nn.Module]) -> None:
    """DoRA measures its host's weight; LoRA does not, and works on anything."""
    model = converted(how)
    assert study(model).sites == study(plain()).sites
    before = copy.deepcopy({name: list(vars(module)) for name, module in model.named_modules()})
    with pytest.raises(SiteError, match=r"dora reads the weight of .*query.*not known") as refused:
        insert(model, grafts(model, "dora"))
    assert "lora" in (refused.value.problems[0].hint or "")
    assert {name: list(vars(module)) for name, module in model.named_modules()} == before
    with pytest.raises(SiteError, match="keeps its weight as codes"):
        insert(model, (), unfrozen=unfrozen_parameters(model, ["all"]))
    receipt = insert(model, grafts(model, "lora"))
    assert torch.isfinite(states(model)).all()
    with pytest.raises(ArtifactError, match="keeps its weight as codes"):
        merge(model, receipt)


def test_plain_layers_of_every_precision_are_read_as_they_are() -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        layer = nn.Linear(4, 3, dtype=dtype)
        assert not is_quantised(layer)
        assert weight_of(layer) is layer.weight


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("twice", [False, True])
def test_codes_that_a_forward_packed_anew_are_read_as_well(twice: bool) -> None:
    layers: Any = pytest.importorskip("bitsandbytes.nn.modules")
    layer: Any = of_bitsandbytes(4, quant_type="nf4", compress_statistics=twice)(nn.Linear(64, 64))
    before = weight_of(layer)
    layer.weight.data, state = layers._convert_weight_packed_for_cpu(layer.weight.data, layer.weight.quant_state)
    torch.testing.assert_close(weight_of(layer), before, rtol=1e-2, atol=1e-4)  # its scales were rounded to bfloat16
    assert layer.weight.quant_state is state
    assert state.packing_format_for_cpu
