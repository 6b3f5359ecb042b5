"""One adapter instance at one site of one layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from adaptkit.adapters.base import ADAPTERS, Adapter, Placement, Shape
from adaptkit.adapters.per_task import PerTask
from adaptkit.anatomy.site import Site

Sharing = Literal["single", "multiple", "half_shared_up", "half_shared_down"]

FUSION = "fusion"  # the site after the backbone
BACKBONE = "backbone"  # what the backbone is called among the other models that an adapter reads
MEMBER, SPAN = "adapter:", "span:"  # sides that are another adapter's change, or part of the adapter's own stream


@dataclass(frozen=True, slots=True)
class Graft:
    """What surgery needs in order to insert one adapter.

    Attributes:
        adapter: its name in the recipe, `[adapter.NAME]`; one name may cover many grafts.
        kind: entry of the adapter registry.
        site: where it goes.
        host: shape of the stream at that site (`host_shape`).
        sides: side -> shape, in the adapter's order: "poster" is laid out by `use_sides`, "span:image" a part of the
            adapter's own stream, "adapter:plot" the change that the adapter `plot` of the same host makes, and any
            other word with a place in `towers` what that block returned earlier in the same forward.
        options: keyword arguments of the adapter's class.
        reads: other places that the adapter reads: one for parallel adapters, every block for a ladder.
        towers: side -> block of another stack, or of another model.
        depth: number of blocks of the site's stack.
        tasks: the recipe's tasks.
        share: one adapter for all layers of this adapter's name, site and stack.
        per_task: how the tasks share this adapter.
        train: its parameters move.
        in_step: what it reads of blocks of other models is what those returned before the adapters at their block.out,
            because the models wait for each other.
        parameters: how many parameters it has that no earlier graft has.
        trainable: how many of those move.
    """

    adapter: str
    kind: str
    site: Site
    host: Shape
    sides: Mapping[str, Shape] = field(default_factory=dict[str, Shape])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reads: tuple[Site, ...] = ()
    towers: Mapping[str, Site] = field(default_factory=dict[str, Site])
    depth: int = 0
    tasks: tuple[str, ...] = ()
    share: bool = False
    per_task: Sharing = "single"
    train: bool = True
    in_step: bool = False
    parameters: int = 0
    trainable: int = 0

    @property
    def model(self) -> str:
        """The modality whose tower it goes into; "" for the backbone."""
        return self.site.model

    @property
    def child(self) -> str:
        """Its name among the host's adapters: parts of a fused projection share a host, as experts do."""
        alone = self.site.columns is None and not self.site.parameter
        return self.adapter if alone else f"{self.adapter}_{self.site.name.rpartition('.')[2]}"

    @property
    def members(self) -> tuple[str, ...]:
        """The adapters at the same host whose changes this one combines."""
        return tuple(side.removeprefix(MEMBER) for side in self.sides if side.startswith(MEMBER))

    def source_of(self, block: Site) -> str:
        """What the model of a block that it reads is called: "" for the one that the adapter is in."""
        return "" if block.model == self.model else block.model or BACKBONE

    def returned(self, block: Site) -> bool:
        """It reads the block before the adapters at its block.out."""
        return self.in_step and block.model != self.model

    @property
    def instance(self) -> tuple[str, ...]:
        """Grafts with one key are one adapter."""
        return (self.adapter, self.site.full_name, "" if self.share else self.site.path)

    def build(self) -> Adapter:
        """The adapter, freshly initialised, on the current default device.

        Raises:
            SiteError: widths or lengths that cannot work.
        """
        kind: Any = ADAPTERS.named(self.kind)
        shapes = {side_key(side): shape for side, shape in self.sides.items()}
        if kind.reads_blocks:
            shapes |= {f"block_{i}": Shape(site.width) for i, site in enumerate(self.reads)}
        host = replace(self.host, causal=self.site.causal)
        if self.per_task == "single":
            adapter = kind(host, shapes, **self.options)
        else:
            copies = {task: kind(host, shapes, **self.options) for task in self.tasks}
            adapter = PerTask(copies, self.per_task)
        adapter.placement = Placement(self.site.stack, self.site.name, self.site.layer, self.depth, self.tasks)
        return adapter

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
        } | ({"model": self.model} if self.model else {})


def side_key(side: str) -> str:
    """A side's word as an identifier: "span:image" -> "span_image", "vision@block.out" -> "vision_block_out"."""
    return re.sub(r"\W", "_", side)
