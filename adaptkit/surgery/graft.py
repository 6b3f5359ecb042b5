"""One adapter instance at one site of one layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adaptkit.adapters.base import ADAPTERS, Adapter, Shape
from adaptkit.anatomy.site import Site


@dataclass(frozen=True, slots=True)
class Graft:
    """What surgery needs in order to insert one adapter.

    Attributes:
        adapter: its name in the recipe, `[adapter.NAME]`; one name may cover many grafts.
        kind: entry of the adapter registry.
        site: where it goes.
        host: shape of the stream at that site.
        sides: side name -> shape, in the adapter's order.
        options: keyword arguments of the adapter's class.
        read: another place of the same branch that the adapter reads (parallel adapters), or None.
        parameters: how many parameters it has.
    """

    adapter: str
    kind: str
    site: Site
    host: Shape
    sides: Mapping[str, Shape] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    read: Site | None = None
    parameters: int = 0

    @property
    def child(self) -> str:
        """Its name among the host's adapters: q, k and v of a fused projection share one host."""
        return self.adapter if self.site.columns is None else f"{self.adapter}_{self.site.name.rpartition('.')[2]}"

    def build(self) -> Adapter:
        """The adapter, freshly initialised, on the current default device.

        Raises:
            SiteError: widths or lengths that cannot work.
        """
        return ADAPTERS.named(self.kind)(self.host, dict(self.sides), **self.options)

    def as_dict(self) -> dict[str, Any]:
        """The stable JSON form of `adaptkit plan --json`."""
        return {
            "adapter": self.adapter,
            "kind": self.kind,
            "site": self.site.full_name,
            "layer": self.site.layer,
            "path": self.site.path,
            "width": self.site.width,
            "parameters": self.parameters,
        }
