"""Hyperformer: one network writes the weights of all adapters, from the task, the layer and the site."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.adapters import base
from adaptkit.adapters.base import ADAPTERS, Adapter, Shape, check_positive
from adaptkit.adapters.bottleneck import units_of
from adaptkit.errors import SiteError, nearest
from adaptkit.kinds import Count
from adaptkit.routing import Routing
from adaptkit.sides import Sides

# B batch, T tokens, D width, P bottleneck, E width of an embedding, H hidden width, J width of the joint embedding

# The order in which the published code numbers the sites of a block; others follow, sorted.
FIRST_SITES = ("mlp.out", "attn.out", "cross_attn.out")


class Generated(NamedTuple):
    """The weights of one adapter: two projections with their biases, and the gain and bias of each norm it has."""

    down: Tensor  # (P, D)
    down_bias: Tensor  # (P,)
    up: Tensor  # (D, P)
    up_bias: Tensor  # (D,)
    before: tuple[Tensor, Tensor] | None  # (D,), (D,)
    after: tuple[Tensor, Tensor] | None


class NormGenerator(nn.Module):
    """Linear maps from the joint embedding, (1, J), to the gain and bias of a LayerNorm.

    The gain is generated as it is, as in the published code, not as 1 + what is generated.
    """

    def __init__(self, joint: int, width: int) -> None:
        super().__init__()
        self.gain, self.bias = nn.Linear(joint, width), nn.Linear(joint, width)

    def forward(self, joint: Tensor) -> tuple[Tensor, Tensor]:
        return self.gain(joint).squeeze(0), self.bias(joint).squeeze(0)


class Generators(nn.Module):
    """Linear maps from the joint embedding, (1, J), to the weights of an adapter."""

    def __init__(self, joint: int, width: int, units: int, *, before: bool, after: bool, identity: bool) -> None:
        super().__init__()
        self.width, self.units = width, units
        self.down, self.down_bias = nn.Linear(joint, units * width), nn.Linear(joint, units)
        self.up, self.up_bias = nn.Linear(joint, width * units), nn.Linear(joint, width)
        self.before = NormGenerator(joint, width) if before else None
        self.after = NormGenerator(joint, width) if after else None
        for module in self.modules():
            if isinstance(module, nn.Linear):
                draw(module, 0.0 if identity else 0.02)
        if identity:
            # Projections of the usual scale, given that the joint embedding has length sqrt J; but what acts last (the
            # norm after, else the up-projection) is generated as zero.
            nn.init.normal_(self.down.weight, std=(joint * width) ** -0.5)
            if self.after is not None:
                nn.init.normal_(self.up.weight, std=(joint * units) ** -0.5)
            if self.before is not None:
                nn.init.ones_(self.before.gain.bias)

    def forward(self, joint: Tensor) -> Generated:
        return Generated(
            self.down(joint).view(self.units, self.width),
            self.down_bias(joint).squeeze(0),
            self.up(joint).view(self.width, self.units),
            self.up_bias(joint).squeeze(0),
            None if self.before is None else self.before(joint),
            None if self.after is None else self.after(joint),
        )


class HyperNetwork(nn.Module):
    """What the adapters of one stack share: embeddings, their joint projection, and the generators.

        unique       I = LN(project(relu(hidden([task; layer]))))          and generators for each site
        efficient    I = LN(project(relu(hidden([task; layer; site]))))    and generators for all sites together

    Where layers differ in width, every width has generators of its own.

    Args:
        adapters: of one stack; the first one says how large everything is.
        tasks: the tasks' embeddings, (E,) each; the same for all stacks.
    """

    def __init__(self, adapters: Sequence[Hyperformer], tasks: nn.ParameterList) -> None:
        super().__init__()
        one, embedding = adapters[0], tasks[0].numel()
        spread = 1.0 if one.init == "identity" else 0.02
        depth = max(max(adapter.placement.depth, layer_of(adapter) + 1) for adapter in adapters)
        self.sites = {site: index for index, site in enumerate(in_order(adapters))}
        self.tasks = tasks
        self.layers = nn.Parameter(spread * torch.randn(depth, embedding))
        efficient = one.form == "efficient"
        self.blocks = nn.Parameter(spread * torch.randn(len(self.sites), embedding)) if efficient else None
        self.hidden = nn.Linear((3 if efficient else 2) * embedding, one.hidden_dim)
        self.project = nn.Linear(one.hidden_dim, one.joint_dim)
        self.norm = nn.LayerNorm(one.joint_dim, eps=1e-6)
        if one.init == "published":
            draw(self.hidden, 0.02)
            draw(self.project, 0.02)
        kinds = {
            self.generated_by(adapter): None
            for site in self.sites
            for adapter in adapters
            if adapter.placement.site == site
        }
        self.kinds = {kind: index for index, kind in enumerate(kinds)}
        before, after = one.norms
        self.generators = nn.ModuleList(
            Generators(one.joint_dim, *size, before=before, after=after, identity=one.init == "identity")
            for _, *size in kinds
        )

    def generated_by(self, adapter: Hyperformer) -> tuple[str, int, int]:
        """What tells generators apart: the site unless they are for all, and the sizes (D, P)."""
        return ("" if self.blocks is not None else adapter.placement.site, *adapter.size)

    def joint(self, task: int, layer: int, site: str) -> Tensor:
        """I, (1, J)."""
        rows = [self.tasks[task], self.layers[layer]]
        if self.blocks is not None:
            rows.append(self.blocks[self.sites[site]])
        v = torch.cat(rows).unsqueeze(0)  # (1, 2E) or (1, 3E)
        return self.norm(self.project(functional.relu(self.hidden(v))))

    def forward(self, task: int, adapter: Hyperformer) -> Generated:
        """The weights of one of its adapters."""
        generators = self.generators[self.kinds[self.generated_by(adapter)]]
        return generators(self.joint(task, layer_of(adapter), adapter.placement.site))


@ADAPTERS.register("hyperformer")
class Hyperformer(Adapter):
    """A bottleneck whose weights a network generates (Karimi Mahabadi et al. 2021, Hyperformer).

    The network reads an embedding of the batch's task, one of the layer and, in the efficient form, one of the site. It
    is shared by all layers of a stack, the tasks' embeddings by all stacks. So tasks share what helps them all, and
    more layers cost one embedding each.

    Identity at init: the generated up-projection is zero or, with `norm_after`, the generated norm.

    Args:
        host: the stream, (B, T, D).
        sides: none.
        form: "unique" generators for each site, or "efficient": one set for all sites.
        reduction_factor: P = D // reduction_factor, unless `bottleneck` is given.
        bottleneck: P, width of the bottleneck.
        activation: "gelu", "gelu_tanh", "relu", "silu", "tanh" or "leaky_relu".
        task_embedding_dim: E, width of the embeddings of tasks, layers and sites.
        task_hidden_dim: H, hidden width of what joins them.
        projected_task_embedding_dim: J, width of the joint embedding.
        train_task_embeddings: the tasks' embeddings move.
        norm_before: LayerNorm, with generated gain and bias, on what the adapter reads.
        norm_after: the same on what it adds.
        init: "identity", or "published" (linear maps and layers N(0, 0.02), so not the identity).

    Raises:
        SiteError: the bottleneck would have no units, or (when tied) the site is in no layer.
    """

    paper = "Karimi Mahabadi et al. 2021"
    free_keys = Adapter.free_keys | {"train_task_embeddings"}
    formula = (
        "per stack: layers·E + H·(2·E + 1) + J·(H + 3) + sites·(J + 1)·(2·D·P + D + P); tasks·E once; "
        "efficient: sites·E + H·E more, and the generators count as those of one site"
    )
    needs_sides = (0, 0)
    mixes_tokens = "never"
    reads_task = True

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        form: Literal["unique", "efficient"] = "unique",
        reduction_factor: Count = 16,
        bottleneck: Count | None = None,
        activation: str = "gelu",
        task_embedding_dim: Count = 512,
        task_hidden_dim: Count = 128,
        projected_task_embedding_dim: Count = 64,
        train_task_embeddings: bool = True,
        norm_before: bool = False,
        norm_after: bool = False,
        init: Literal["identity", "published"] = "identity",
    ) -> None:
        super().__init__()
        check_positive(task_embedding_dim=task_embedding_dim, task_hidden_dim=task_hidden_dim)
        if projected_task_embedding_dim < 2:
            raise SiteError(
                f"projected_task_embedding_dim = {projected_task_embedding_dim} says nothing once it is normalised.",
                hint="It must be at least 2.",
            )
        self.size = host.width, units_of(host, reduction_factor, bottleneck)
        self.act = base.activation(activation)
        self.form, self.init, self.norms = form, init, (norm_before, norm_after)
        self.embedding_dim, self.hidden_dim = task_embedding_dim, task_hidden_dim
        self.joint_dim, self.train_task_embeddings = projected_task_embedding_dim, train_task_embeddings
        self.hypernet: HyperNetwork | None = None  # given by `tie`, which knows the places

    @classmethod
    def tie(cls, adapters: Sequence[Self]) -> None:
        one = adapters[0]
        tasks = nn.ParameterList(
            nn.Parameter(torch.randn(one.embedding_dim), requires_grad=one.train_task_embeddings)
            for _ in one.placement.tasks or ("",)
        )
        stacks: dict[str, list[Self]] = defaultdict(list)
        for adapter in adapters:
            stacks[adapter.placement.stack].append(adapter)
        for members in stacks.values():
            hypernet = HyperNetwork(members, tasks)
            for adapter in members:
                adapter.hypernet = hypernet

    def delta(self, z: Tensor, sides: Sides) -> Tensor:
        if not isinstance(sides.task, Routing):
            return self.generated(z, sides.task)
        task: Routing = sides.task
        return task.joined(len(z), z.device, lambda name, rows: self.generated(z[rows], name))

    def generated(self, z: Tensor, task: str | None) -> Tensor:
        """`delta` with the weights of one task."""
        assert self.hypernet is not None, "surgery ties the adapters of one name"
        weights = self.hypernet(self.task_index(task), self)
        if weights.before is not None:
            z = functional.layer_norm(z, z.shape[-1:], *weights.before)
        a = self.act(functional.linear(z, weights.down, weights.down_bias))  # (B, T, P)
        change = functional.linear(a, weights.up, weights.up_bias)  # (B, T, D)
        if weights.after is not None:
            change = functional.layer_norm(change, change.shape[-1:], *weights.after)
        return change

    def task_index(self, task: str | None) -> int:
        """Which task's embedding to use. A single task need not be named.

        Raises:
            SiteError: several tasks and none is named, or there is no such task.
        """
        tasks = self.placement.tasks
        if len(tasks) <= 1 and (task is None or not tasks):
            return 0
        if task is None:
            raise SiteError(
                "the adapter's weights depend on the task, and the task of this batch was not given.",
                hint=f"Run the model inside `with ak.use_sides({{...}}, task=...):`, one of {', '.join(tasks)}.",
            )
        if task not in tasks:
            raise SiteError(f"the adapter has no embedding for the task {task!r}.", hint=nearest(task, tasks))
        return tasks.index(task)


def layer_of(adapter: Hyperformer) -> int:
    """Raises SiteError where the adapter sits in no layer."""
    if adapter.placement.layer is None:
        raise SiteError(
            f"{adapter.placement.site or 'this place'} is in no layer, and the weights are generated for each layer.",
            hint='Choose a site within the blocks, such as "mlp.out".',
        )
    return adapter.placement.layer


def in_order(adapters: Sequence[Hyperformer]) -> list[str]:
    """Their sites, in the order of the sites' embeddings."""
    sites = {adapter.placement.site for adapter in adapters}
    first = [site for site in FIRST_SITES if site in sites]
    return first + sorted(sites.difference(first))


def draw(linear: nn.Module, std: float) -> None:
    """Weights N(0, std²), biases zero."""
    assert isinstance(linear, nn.Linear)
    nn.init.normal_(linear.weight, std=std)
    nn.init.zeros_(linear.bias)
