"""`[adapter.NAME]`: which adapter goes where. Its further keys are the keyword arguments of its class."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from adaptkit.recipe.signatures import AdapterSignature, adapter_signatures
from adaptkit.recipe.table import Table
from adaptkit.recipe.words import in_words

LAYERS_EXAMPLE = '"all", "last", "3..9" or [0, 4, -1]'
_RANGE = re.compile(r"-?\d+\.\.-?\d+")
_AT_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
_LAYERS_SCHEMA = {
    "anyOf": [
        {"enum": ["all", "last"]},
        {"type": "string", "pattern": f"^{_RANGE.pattern}$"},
        {"type": "array", "items": {"type": "integer"}, "minItems": 1},
    ]
}


def _one_or_many(value: Any) -> Any:
    """`at = "mlp.out"` is short for `at = ["mlp.out"]`."""
    return [value] if isinstance(value, str) else value


def _layers(value: Any) -> Any:
    """The four ways to say which layers; whether they exist is the plan's question."""
    if isinstance(value, str) and (value in ("all", "last") or _RANGE.fullmatch(value)):
        return value
    if isinstance(value, list) and value and all(type(layer) is int for layer in value):
        return value
    raise PydanticCustomError("layers", f"should be {LAYERS_EXAMPLE}")


class AdapterSpec(Table):
    """Small trainable modules inserted at sites; one name may cover many."""

    kind: str = Field(examples=["gmu"], description="Which adapter.")
    at: Annotated[list[str], BeforeValidator(_one_or_many), WithJsonSchema(_AT_SCHEMA)] = Field(
        min_length=1,
        examples=[["mlp.out"]],
        description='Sites ("mlp.out", "attn.q", "block.out", ...) or "path:GLOB"; one needs no brackets.',
    )
    layers: Annotated[str | list[int], BeforeValidator(_layers), WithJsonSchema(_LAYERS_SCHEMA)] = Field(
        default="all",
        description=f"Which layers: {LAYERS_EXAMPLE} (from 0, inclusive, negative from the end).",
    )
    sides: list[str] = Field(
        default=[],
        description='What it reads: modalities of route "side" or "fusion"; "span:NAME", the tokens of a modality '
        'within the stream; "STACK@block.out", the block of another tower at the same depth. What it combines: '
        '"adapter:NAME", an adapter of the same at and layers that is written before it.',
    )
    read: Literal["site", "stream", "in"] = Field(
        default="site",
        description="Place of the same branch that it reads; parallel adapters read another one.",
    )
    share: Literal["none", "layers"] = Field(
        default="none",
        description='"layers": all layers at the same site share one adapter. "none": each has its own.',
    )
    per_task: Literal["single", "multiple", "half_shared_up", "half_shared_down"] = Field(
        default="single",
        description='How tasks share it: "single" is one adapter for all, "multiple" one copy per task; half-shared '
        "copies have the up- or the down-projection in common.",
    )
    train: bool = Field(
        default=True, description="Whether it trains; false keeps the values it starts with (see init_from)."
    )
    init_from: str | None = Field(
        default=None,
        examples=["./runs/films/artifact"],
        description="Artifact or run folder, relative to the recipe file, whose adapter of the same name gives the "
        "initial values.",
    )
    expect: int | None = Field(default=None, ge=1, description="Number of grafts it must make; the plan asserts it.")
    options: dict[str, Any] = Field(default={}, description="Keyword arguments of the adapter's class, all of them.")

    @property
    def signature(self) -> AdapterSignature:
        """What the adapter's class says about itself."""
        return adapter_signatures()[self.kind]

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, data: Any) -> Any:
        """Keys that are not ours are the adapter's: they move into `options`, which is one field."""
        if not isinstance(data, dict):
            return data
        own = {key: value for key, value in data.items() if key in cls.model_fields}
        others = {key: value for key, value in data.items() if key not in cls.model_fields}
        options = own.get("options", {})
        return own | {"options": options | others if isinstance(options, dict) else options}

    @field_validator("kind")
    @classmethod
    def _kind_exists(cls, kind: str) -> str:
        known = adapter_signatures()
        if kind not in known:
            raise PydanticCustomError("unknown_kind", "unknown adapter", {"known": [*known]})
        return kind

    @field_validator("options")
    @classmethod
    def _options_fit(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        signature = adapter_signatures().get(info.data.get("kind", ""))
        return options if signature is None else complete_options(signature, options)

    @model_serializer(mode="wrap")
    def _flat(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As the recipe writes it: the options beside the other keys."""
        table = handler(self)
        return table | table.pop("options", {})


def complete_options(signature: AdapterSignature, options: dict[str, Any]) -> dict[str, Any]:
    """The options, checked by name and type, with every default filled in, in the order of the signature.

    Raises:
        ValidationError: all that is wrong with them.
    """
    complete: dict[str, Any] = {}
    problems = [
        InitErrorDetails(type="extra_forbidden", loc=(name,), input=value)
        for name, value in options.items()
        if name not in signature.parameters
    ]
    for name, parameter in signature.parameters.items():
        if name not in options:
            if parameter.required:
                problems.append(InitErrorDetails(type="missing", loc=(name,), input=options))
            complete[name] = parameter.default
            continue
        try:
            complete[name] = parameter.check.validate_python(options[name])
        except ValidationError:
            error = PydanticCustomError("option", "{text}", {"text": f"should be {in_words(parameter.type)}"})
            problems.append(InitErrorDetails(type=error, loc=(name,), input=options[name]))
    if problems:
        raise ValidationError.from_exception_data(signature.kind, problems)
    return complete
