"""One copy of an adapter per task, of which the tasks may share one half."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from torch import Tensor, nn

from adaptkit.adapters.base import Adapter, Placement
from adaptkit.adapters.factored import Factored, Seen
from adaptkit.errors import SiteError, nearest
from adaptkit.routing import Routing
from adaptkit.sides import Sides

# What the class of the copies declares, and whoever inserts adapters asks the wrapper about.
DECLARED = (
    "reads_input",
    "reads_weight",
    "reads_blocks",
    "reads_any_width",
    "works_on",
    "mixes_tokens",
    "identity",
    "keeps_length",
    "changes_input",
    "moves_positions",
    "reads_earlier",
)


class PerTask(Adapter):
    """One copy per task; the task of the batch (`sides.task`) chooses (Sung et al. 2022, VL-Adapter, section 3.2).

    In a batch of several tasks every copy sees its own samples. The copies of other tasks get no gradient. Not
    mergeable: a weight cannot depend on the task.

    Args:
        copies: task -> its adapter, all of one class.
        sharing: "multiple" (nothing is shared), or which of the class's `halves` all tasks take from the first one:
            "half_shared_up" (own down, common up) or "half_shared_down" (common down, own up).

    Raises:
        SiteError: no task, a task that cannot name a module, or halves to share in an adapter that has none.
    """

    paper = "Sung et al. 2022"
    formula = "tasks · parameters of one copy, less what they share"

    def __init__(
        self,
        copies: Mapping[str, Adapter],
        sharing: Literal["multiple", "half_shared_up", "half_shared_down"] = "multiple",
    ) -> None:
        super().__init__()
        check_tasks(copies)
        self.copies = nn.ModuleDict(copies)
        first = next(iter(copies.values()))
        for name in DECLARED:
            setattr(self, name, getattr(first, name))
        for path in first.of_all_tasks:
            share(path, list(copies.values()))
        if sharing != "multiple":
            share_half(list(copies.values()), sharing)

    def __setattr__(self, name: str, value: Any) -> None:
        """A wrapper and its copies sit at the same place."""
        super().__setattr__(name, value)
        if name == "placement":
            for copy in self.named_copies().values():
                copy.placement = cast(Placement, value)

    def named_copies(self) -> dict[str, Adapter]:
        """Task -> its copy."""
        return cast(dict[str, Adapter], dict(self.copies.items()))

    def chosen(self, task: str | None) -> Adapter:
        """The copy of a task.

        Raises:
            SiteError: nobody said which task it is, or there is no such task.
        """
        copies = self.named_copies()
        if task is None:
            raise SiteError(
                "the adapter has one copy per task, and the task of this batch was not given.",
                hint=f"Run the model inside `with ak.use_sides({{...}}, task=...):`, one of {', '.join(copies)}.",
            )
        if task not in copies:
            raise SiteError(f"the adapter has no copy for the task {task!r}.", hint=nearest(task, copies))
        return copies[task]

    def forward(self, h: Tensor, z: Tensor, sides: Sides) -> Tensor:
        if not isinstance(sides.task, Routing):
            return self.chosen(sides.task)(h, z, sides)

        def of(task: str, rows: Tensor) -> Tensor:
            return self.chosen(task)(h[rows], z[rows], sides.of_task(task, rows))

        return sides.task.joined(len(h), h.device, of)

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        if not isinstance(sides.task, Routing):
            return self.chosen(sides.task).delta(z, sides)

        def of(task: str, rows: Tensor) -> Tensor:
            return self.chosen(task).delta(z[rows], sides.of_task(task, rows))

        return sides.task.joined(len(z), z.device, of)

    def expert_weight(self, weight: Tensor | Factored, sides: Sides, seen: Seen | None = None) -> Factored:
        if isinstance(sides.task, Routing):
            raise SiteError(
                "the batch has samples of several tasks, and fused experts do not know whose tokens they get.",
                hint="Give the tasks one after another, or choose a site of the stream such as mlp.out.",
            )
        return self.chosen(sides.task).expert_weight(weight, sides, seen)

    def adopt(self, weight: Tensor, bias: Tensor | None) -> None:
        for copy in self.named_copies().values():
            copy.adopt(weight, bias)


def check_tasks(tasks: Mapping[str, Adapter]) -> None:
    """Raise SiteError unless every task can be the name of a child module."""
    if not tasks:
        raise SiteError("one adapter per task needs tasks.", hint='Add a [task.NAME], or write per_task = "single".')
    empty = nn.ModuleDict()
    for task in tasks:
        if not task or "." in task or hasattr(empty, task):
            raise SiteError(
                f"a task with adapters of its own cannot be called {task!r}.",
                hint="Choose a name without dots that is no attribute of torch's modules (such as `type` or `train`).",
            )


def share(path: str, copies: list[Adapter]) -> None:
    """Replace a submodule or parameter of every copy by that of the first: the same one, not an equal one."""
    first, *others = copies
    home, _, name = path.rpartition(".")
    for copy in others:
        setattr(copy.get_submodule(home), name, getattr(first.get_submodule(home), name))


def share_half(copies: list[Adapter], sharing: Literal["half_shared_up", "half_shared_down"]) -> None:
    """Replace one half of every copy by that of the first."""
    first = copies[0]
    if first.halves is None:
        raise SiteError(
            f"{type(first).__name__} has no halves that tasks could share.",
            hint='Write per_task = "multiple" or per_task = "single".',
        )
    down, up = first.halves
    for name in up if sharing == "half_shared_up" else down:
        share(name, copies)
