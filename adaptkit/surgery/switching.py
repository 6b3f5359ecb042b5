"""Modules of transformers that look a function up by the name in their configuration, switched over to one of ours.

Such a module gets a configuration of its own, a copy that says our name. Everything else reads the configuration it
always read, and gives it back when the last adapter leaves.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import nn

from adaptkit.surgery.hooks import bindings

SWITCHED = "adapter_switched"  # on a module: what it had before


class Interface(NamedTuple):
    """How transformers finds a function.

    Attributes:
        name: of ours.
        field: of a configuration that says a name. Not its property, which also sets configurations inside it.
        register: makes our name known, again in every process that unpickles a module.
    """

    name: str
    field: str
    register: Callable[[], None]


INTERFACES: dict[str, Interface] = {}


class Switched:
    """What a module had before: its configuration, and what else it has to know. Copies and pickles work as well."""

    def __init__(self, name: str, config: Any, functions: Mapping[str, Callable[..., Any]]) -> None:
        INTERFACES[name].register()
        self.name = name
        self.config = config
        self.functions = dict(functions)

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return Switched, (self.name, self.config, self.functions)


def switch(host: Any, interface: Interface, functions: Mapping[str, Callable[..., Any]] = MappingProxyType({})) -> None:
    """Switch a module over, once."""
    if not hasattr(host, SWITCHED):
        setattr(host, SWITCHED, Switched(interface.name, host.config, functions))
        host.config = copy.copy(host.config)
        setattr(host.config, interface.field, interface.name)


def switch_back(host: Any, name: str) -> None:
    """Give a module its configuration back if no other adapter than `name` needs the switch."""
    when = bindings(host)[name].when
    if not any(binding.when == when for other, binding in bindings(host).items() if other != name):
        host.config = getattr(host, SWITCHED).config
        delattr(host, SWITCHED)


def switched(host: nn.Module) -> Switched:
    return getattr(host, SWITCHED)
