"""What an adapter of another library is here: what a kind answers that was shown its tensors and its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from adaptkit.errors import ArtifactError


@dataclass(frozen=True, slots=True)
class Translated:
    """An adapter in our words.

    Attributes:
        options: keys of the adapter's table.
        state: name of a parameter -> its value.
        understood: keys of the other library's configuration that these options say.
    """

    options: Mapping[str, Any]
    state: Mapping[str, Tensor]
    understood: tuple[str, ...] = ()


def option(config: Mapping[str, Any], key: str, default: float) -> Any:
    """A value of a library's adapter_config.json; the default where it is left out or null.

    Raises:
        ArtifactError: the value is no number, where the default is one, or not true or false.
    """
    value = config.get(key)
    if value is None:
        return default
    truth = isinstance(default, bool)
    if isinstance(value, bool) is not truth or not isinstance(value, int | float):
        wanted = "true or false" if truth else "a number"
        raise ArtifactError(f"{key} = {value!r} is not {wanted}.", where="adapter_config.json")
    return value
