"""Laws about a model with every adapter that applies in it at once: compilation, export, gradient checkpointing.

Capturing a graph costs seconds, so each model is captured once, with all its adapters, instead of once per adapter.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from adaptkit import sides
from adaptkit.errors import AdaptkitError
from adaptkit.surgery import Graft, insert
from tests.laws.cases import CASES, SPANS, TASKS, NotHereError, side_inputs, total
from tests.laws.families import Family, calm_outputs, outputs
from tests.laws.laws import Cell, NotApplicableError, Outputs, close, samples, stirred

# Cases of one class and one way to meet the host: one of them is captured.
CAPTURED = [
    name for name in CASES if name not in ("houlsby", "gmu_tied", "wander_published", "fusion_gmu", "rslora", "ia3")
]

_FOUND: dict[tuple[str, ...], tuple[Graft, ...]] = {}  # of the family at hand


class WithSides(nn.Module):
    """Lays out the sides inside the forward, as the adapted model does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: dict[str, Tensor], given: dict[str, Tensor]) -> Outputs:
        with sides.use_sides(given, task=TASKS[0], spans=SPANS):
            return outputs(self.model, inputs)


def everything(family: Family, names: Collection[str] = CAPTURED) -> tuple[Graft, ...]:
    """The grafts of every case that applies to a model and runs in it, each under its own name, in the last layers."""
    key = (family.name, *names)
    if key not in _FOUND:
        _FOUND.clear()
        grafts = [graft for name in names for graft in last_layers(family, name)]
        prompts = {graft.site.stack for graft in grafts if graft.site.when == "sequence" and graft.site.path}
        # A ladder cannot join the prompt's tokens in an image tower: a clear error, tested with the prompts.
        _FOUND[key] = tuple(g for g in grafts if g.kind != "ladder" or g.site.stack not in prompts)
    return _FOUND[key]


def last_layers(family: Family, name: str) -> list[Graft]:
    """The grafts of one case in the last layer of each stack where it has any; none where it does not run."""
    cell = Cell(family, CASES[name])
    try:
        cell.run(cell.inserted()[0])
        grafts = cell.case.grafts(family, name=name)
    except (NotHereError, AdaptkitError):
        return []
    last: dict[str, int] = {}
    for graft in grafts:
        if graft.site.layer is not None:
            last[graft.site.stack] = max(last.get(graft.site.stack, 0), graft.site.layer)
    return [graft for graft in grafts if graft.site.layer in (None, last.get(graft.site.stack))]


def adapted(family: Family, names: Collection[str]) -> nn.Module:
    model = family.fresh()
    insert(model, everything(family, names), seed=5)
    return stirred(model, {name for name, _ in model.named_parameters() if ".adapters." in f".{name}"})


def tensors(family: Family) -> dict[str, Tensor]:
    return {name: side.tensor for name, side in side_inputs(samples(family.inputs())).items()}


def compilation(family: Family, names: Collection[str] = CAPTURED) -> None:
    """`backend="eager"` runs the captured graph: what is tested is that capture is whole and right."""
    captured(family, names, lambda model, *_: torch.compile(model, fullgraph=True, backend="eager"))


def export(family: Family, names: Collection[str] = CAPTURED) -> None:
    """The exported program equals the model, and reads the sides of its own call.

    Not with a prompt in an image tower of transformers: an export gives its blocks a mask, and prompts refuse masks.
    Not with a prefix in BEiT: an export adds a mask of True to its bias, so that every key but the prefix gains 1.
    """
    if "pixel_values" in family.inputs():
        names = [name for name in names if name != "prompt"]
    if family.name == "beit":
        names = [name for name in names if name != "prefix"]
    captured(family, names, lambda model, *given: torch.export.export(model, given).module())


def captured(family: Family, names: Collection[str], capture: Callable[..., Callable[..., Outputs]]) -> None:
    inputs, given = family.inputs(), tensors(family)
    doubled = {name: 2 * value for name, value in given.items()}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch._dynamo.reset()
        model = WithSides(adapted(family, names))
        expected = model(inputs, given), model(inputs, doubled)
        try:
            program = capture(model, inputs, given)
            assert close(program(inputs, given), expected[0], 1e-4), "captured equals eager"
            assert close(program(inputs, doubled), expected[1], 1e-4), "it reads the sides of its own call"
        except Exception:
            refuse_if_plain_fails(family, capture)
            raise
    gc.collect()


def refuse_if_plain_fails(family: Family, capture: Callable[..., Callable[..., Outputs]]) -> None:
    """Raise NotApplicableError where the model without adapters cannot be captured either."""
    torch._dynamo.reset()
    inputs, given, plain = family.inputs(), tensors(family), WithSides(family.fresh())
    try:
        found = capture(plain, inputs, given)(inputs, given)
    except Exception as error:  # whatever the library says
        raise NotApplicableError(f"the plain model neither: {type(error).__name__}") from error
    if not close(found, plain(inputs, given), 1e-4):
        raise NotApplicableError("the plain model's capture gives other values")


def gradient_checkpointing(family: Family, names: Collection[str] = CAPTURED) -> None:
    """The same gradients, even though the sides of another batch are laid out when backward recomputes."""
    gradients = []
    for checkpointing in (False, True):
        model = without_dropout(adapted(family, names).train())
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", None)
            enable = enable or getattr(model, "gradient_checkpointing_enable", None)
            if enable is None or not getattr(model, "supports_gradient_checkpointing", False):
                raise NotApplicableError("the model has no gradient checkpointing")
            enable({"use_reentrant": False, "context_fn": sides.checkpoint_contexts})
            model.disable_input_require_grads()
        given, inputs = tensors(family), family.inputs()
        with sides.use_sides(given, task=TASKS[0], spans=SPANS):
            loss = total(calm_outputs(model, inputs))
        with sides.use_sides({name: torch.zeros_like(value) for name, value in given.items()}):
            loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        other = gradients[1][name]
        assert (gradient - other).abs().max() <= 1e-5 * (1 + gradient.abs().max()), name


def without_dropout(model: nn.Module) -> nn.Module:
    """In training mode, which checkpointing needs, but deterministic: no dropped layers, no masked spans of audio."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    for owner in (*model.modules(), getattr(model, "config", model)):
        for name, value in vars(owner).items():
            if isinstance(value, float) and (name == "p" or "drop" in name or name.startswith("mask_")):
                setattr(owner, name, 0.0)
    return model


WHOLE: dict[str, Callable[..., None]] = {law.__name__: law for law in (compilation, export, gradient_checkpointing)}
