"""What every adapter is: a small trainable module that changes what passes its host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit import kinds
from adaptkit.adapters.factored import Factored, Seen
from adaptkit.errors import SiteError, nearest
from adaptkit.kinds import Kinds
from adaptkit.sides import Sides

if TYPE_CHECKING:
    from adaptkit.adapters.adapterhub import HubForm
    from adaptkit.adapters.peft import PeftForm
    from adaptkit.adapters.translated import Translated

# The activations of the three systems by the names they use. "gelu" is exact (Wander); Multimodal-Adapters and
# VL-Adapter compute its tanh form.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "leaky_relu": functional.leaky_relu,
}


@dataclass(frozen=True, slots=True)
class Convolution:
    """Geometry of a convolution over maps (B, C, H, W) or series (B, C, T), as torch's `Conv2d` and `Conv1d` have it.

    `padding` None pads as much as the size of the map needs (TensorFlow's "same", at any stride).
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str | None
    dilation: tuple[int, ...]
    groups: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What an adapter is built for: a stream of vectors.

    Attributes:
        width: D, channels of one vector.
        tokens: T, the longest sequence; None where nothing bounds it.
        in_width: for a projection, the width of what it reads; for an embedding, its number of rows.
        convolution: for a projection that is a convolution, its geometry.
        embedding: the host looks rows up: it reads token ids (B, T).
        heads: for the keys and values of an attention, how many heads share D.
        experts: for the weights of fused experts, (E, D, in_width), how many there are.
        read_width: width of what the adapter reads, where that is another place.
        causal: a token of the stream must not see what comes later in it.
    """

    width: int
    tokens: int | None = None
    in_width: int | None = None
    convolution: Convolution | None = None
    embedding: bool = False
    heads: int | None = None
    experts: int | None = None
    read_width: int | None = None
    causal: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an adapter sits, for those whose parameters depend on it (Hyperformer) or are shared (Compacter).

    Attributes:
        stack: "encoder", "decoder", ...; "" where the model has one.
        site: the site's name within its stack, "mlp.out".
        layer: index of its block; None for sites of a whole stack.
        depth: number of blocks of that stack.
        tasks: the recipe's tasks, in order; empty where nobody said.
    """

    stack: str = ""
    site: str = ""
    layer: int | None = None
    depth: int = 0
    tasks: tuple[str, ...] = ()


class Adapter(nn.Module):
    """Base of all adapters: `forward(h, z, sides) -> h'`.

    A subclass is built from its host's shape, the shapes of its sides, and the recipe's keys as keyword arguments.
    Its class attributes are literals, because `adaptkit list adapters` reads them without importing torch.

    Surgery then gives it its `placement`, lets all adapters of one name `tie` what they share, and shows those that
    start from the host's own weights the host (`adopt`).

    Attributes:
        paper: where the method comes from.
        formula: number of parameters as a formula.
        needs_sides: least and largest number of side inputs (None: no limit).
        mergeable: the adapter can be folded into its host's weight (`merged`).
        reads_input: it reads the input of a projection (weight space) instead of the stream.
        reads_weight: `sides.weight` and `sides.bias` are to be the host's.
        reads_blocks: `sides.blocks` are to be what every block of its stack (in its `layers`) returned.
        changes_experts: it has a form for the weights of fused experts, which no input passes alone (`expert_weight`).
        reads_task: it computes something else for every task (`sides.task`).
        reads_any_width: it can read a place of another width than its host's (`Shape.read_width`).
        mixes_tokens: whether what it makes of a token depends on other tokens of the stream. "never": on that token and
            its sides alone. "causally": where `Shape.causal` says so, on no later one. "freely": on all of them; it is
            refused where the stream is causal.
        works_on: the kind of site it works at: a stream, the input sequence of a stack, or an attention.
        fuses: its sides are the changes of other adapters of its site ("adapter:NAME").
        identity: a fresh one changes nothing (unless an option says so).
        free_keys: keys that may be other ones than those of the adapter it starts from (`init_from`): they say how it
            starts and learns, or a size that its tensors show. What is not named is part of its function.
        halves: names of the submodules or parameters that tasks share in half-shared adapters: (down, up).
        of_all_tasks: paths of the submodules that the copies of all tasks have in common in any case.
        keeps_length: it returns as many tokens as it gets.
        changes_input: it works on what its host reads, not on what it returns.
        moves_positions: by how many positions it moves the tokens of its stack up.
        reads_earlier: it has to know which tokens came before those of the stream (`sides.before`).
        adopts: it starts from its host's weight (only asked of those that define `adopt`).
        placement: where it sits; set by surgery.
        captured: what it reads from other places in the running forward, by path; empty between forwards.
    """

    paper: ClassVar[str]
    formula: ClassVar[str]
    needs_sides: ClassVar[tuple[int, int | None]] = (0, 0)
    mergeable: ClassVar[bool] = False
    reads_input: ClassVar[bool] = False
    reads_weight: ClassVar[bool] = False
    reads_blocks: ClassVar[bool] = False
    changes_experts: ClassVar[bool] = False
    reads_task: ClassVar[bool] = False
    reads_any_width: ClassVar[bool] = False
    mixes_tokens: ClassVar[Literal["never", "causally", "freely"]] = "freely"  # as nobody knows of a new kind
    works_on: ClassVar[Literal["stream", "sequence", "attention"]] = "stream"
    fuses: ClassVar[bool] = False
    identity: ClassVar[bool] = True
    free_keys: ClassVar[frozenset[str]] = frozenset({"dropout", "init", "bottleneck", "reduction_factor"})
    halves: ClassVar[tuple[tuple[str, ...], tuple[str, ...]] | None] = None

    of_all_tasks: tuple[str, ...] = ()
    keeps_length: bool = True
    changes_input: bool = False
    moves_positions: int = 0
    reads_earlier: bool = False
    adopts: bool = True
    placement: Placement = Placement()

    def __init__(self) -> None:
        super().__init__()
        self.captured: dict[str, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles take nothing along of a forward that was interrupted."""
        return {**self.__dict__, "captured": {}}

    def forward(self, h: Tensor, z: Tensor, sides: Sides) -> Tensor:
        """Add the adapter's change to the stream.

        Args:
            h: (B, T, D) the stream.
            z: (B, T, D') what the adapter reads; h itself unless the site or the recipe says otherwise.
            sides: name -> side input, and the mask of the stream.
        """
        return h + self.delta(z, sides)

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        """The change: (B, T, D') -> (B, T, D)."""
        raise NotImplementedError(f"{type(self).__name__} defines neither forward nor delta")

    @classmethod
    def tie(cls, adapters: Sequence[Any]) -> None:
        """Let all adapters of one recipe table share what the method shares. Called once, after `placement` is set.

        All are of this class, which a subclass says: `Sequence[Self]`.
        """

    def expert_weight(self, weight: Tensor | Factored, sides: Sides, seen: Seen | None = None) -> Factored:
        """For those that change the weights of fused experts: what they multiply by in the place of theirs.

        Args:
            weight: (E, D, C), or what another adapter put in its place.
            sides: with the task of the batch.
            seen: is shown what every product adds, and what it adds it to.
        """
        raise NotImplementedError(f"{type(self).__name__} has no form for fused experts")

    def adopt(self, weight: Tensor, bias: Tensor | None) -> None:
        """Take initial values from the host's weight (D, C, ...) and bias (D,). Called once, before training."""

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """For mergeable adapters: weight (D, C, ...) and bias (D,) of a host that needs the adapter no longer."""
        return weight + self.delta_weight().to(weight), bias

    def delta_weight(self) -> Tensor:
        """For mergeable adapters that add: (D, C, ...) what is added to the host's weight."""
        raise NotImplementedError(f"{type(self).__name__} is not mergeable")

    def peft(self) -> PeftForm | None:
        """How PEFT writes it; None where PEFT has no such method."""
        return None

    @classmethod
    def from_peft(cls, form: PeftForm) -> Translated | None:
        """What `peft` of such an adapter gave, read back; None where it is of another kind.

        Args:
            form: method, tensors and configuration of one module, in which the patterns are applied.
        """
        return None

    def adapterhub(self) -> HubForm | None:
        """How AdapterHub writes it; None where AdapterHub has no such adapter."""
        return None

    @classmethod
    def from_adapterhub(cls, form: HubForm) -> Translated | None:
        """What `adapterhub` of such an adapter gave, read back; None where it is of another kind."""
        return None


@runtime_checkable
class Fits(Protocol):
    """A mergeable adapter that adds, and can become the one of its form that is nearest to another change."""

    def delta_weight(self) -> Tensor:
        """See `Adapter`."""
        ...

    def fit(self, change: Tensor) -> float | None:
        """Become the one whose `delta_weight` is nearest.

        Args:
            change: (D, C, ...), as `delta_weight` gives it.

        Returns:
            The norm of what is left of the change, as a share of its own; None where there is no nearest one.
        """
        ...


ADAPTERS: Kinds[type[Adapter]] = kinds.ADAPTERS


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation of this name.

    Raises:
        SiteError: unknown name. (In the published code it fails only in the first forward.)
    """
    if name not in ACTIVATIONS:
        raise SiteError(f"unknown activation {name!r}.", hint=nearest(name, ACTIVATIONS))
    return ACTIVATIONS[name]


def check_positive(**sizes: int) -> None:
    """Raise SiteError unless every width or rank is at least 1."""
    for name, size in sizes.items():
        if size < 1:
            raise SiteError(f"{name} = {size} cannot work.", hint="It must be at least 1.")
