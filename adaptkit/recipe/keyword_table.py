"""A table whose `kind` names a class, and whose further keys are that class's keyword arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from adaptkit.recipe.signatures import Signature
from adaptkit.recipe.table import Table
from adaptkit.recipe.words import in_words


class KeywordTable(Table):
    """The base of `[adapter.NAME]` and `[fusion]`."""

    noun: ClassVar[str]

    kind: str = Field(description="Which class.")
    options: dict[str, Any] = Field(default={}, description="Keyword arguments of the class, all of them.")

    @classmethod
    def signatures(cls) -> Mapping[str, Signature]:
        """kind -> what its class says about itself."""
        raise NotImplementedError

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, data: Any) -> Any:
        """Keys that are not ours are those of the class: they move into `options`, which is one field."""
        if not isinstance(data, dict):
            return data
        own = {key: value for key, value in data.items() if key in cls.model_fields}
        others = {key: value for key, value in data.items() if key not in cls.model_fields}
        options = own.get("options", {})
        return own | {"options": options | others if isinstance(options, dict) else options}

    @field_validator("kind")
    @classmethod
    def _kind_exists(cls, kind: str) -> str:
        known = cls.signatures()
        if kind not in known:
            raise PydanticCustomError("unknown_kind", "unknown kind", {"known": [*known], "noun": cls.noun})
        return kind

    @field_validator("options")
    @classmethod
    def _options_fit(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        signature = cls.signatures().get(info.data.get("kind", ""))
        return options if signature is None else complete_options(signature, options)

    @model_serializer(mode="wrap")
    def _flat(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As the recipe writes it: the options beside the other keys."""
        table = handler(self)
        return table | table.pop("options", {})


def complete_options(signature: Signature, options: dict[str, Any]) -> dict[str, Any]:
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
