"""Compacter: bottleneck adapters whose projections are sums of Kronecker products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, Self

import torch
from torch import Tensor, nn

from adaptkit.adapters.adapterhub import HubForm
from adaptkit.adapters.base import ADAPTERS, Shape, check_positive
from adaptkit.adapters.bottleneck import Funnel, units_of, width_read
from adaptkit.adapters.low_rank import GLOROT_GAIN
from adaptkit.adapters.translated import Translated
from adaptkit.errors import SiteError
from adaptkit.kinds import Count, Positive, Share

# B batch, T tokens, D width of the stream, C width of what is read, P bottleneck, N phm_dim, R rank
# Of one projection: I width it reads, O width it writes. Letters of einsum: n which product; a, c rows and columns of
# its rule; p, l rows and columns of its weight; r rank.


# Name of a tensor of one projection -> AdapterHub's.
PHM = {
    "left": "W_left",
    "right": "W_right",
    "weight": "W",
    "bias": "b",
    "rule.weight": "phm_rule",
    "rule.left": "phm_rule_left",
    "rule.right": "phm_rule_right",
}


class Rule(nn.Module):
    """The small factors of the Kronecker products: N matrices (N, N).

    Args:
        phm_dim: N.
        factorized: every matrix is an outer product, so that 2·N² parameters do in place of N³.
        std: of the initial entries; of those of the two vectors where factorized.
    """

    def __init__(self, phm_dim: int, *, factorized: bool, std: float) -> None:
        super().__init__()
        self.phm_dim, self.factorized = phm_dim, factorized
        if factorized:
            self.left = nn.Parameter(std * torch.randn(phm_dim, phm_dim, 1))
            self.right = nn.Parameter(std * torch.randn(phm_dim, 1, phm_dim))
        else:
            self.weight = nn.Parameter(std * torch.randn(phm_dim, phm_dim, phm_dim))

    def forward(self) -> Tensor:
        """(N, N, N), the first dimension saying which product."""
        return self.left @ self.right if self.factorized else self.weight


class PHMLinear(nn.Module):
    """`y = x H + b`, H = sum_n kron(rule_n, W_n): (..., I) -> (..., O) (Zhang et al. 2021, eq. 3).

    W_n, (I/N, O/N), is a matrix of its own (rank None) or left_n (I/N, R) times right_n (R, O/N).
    """

    def __init__(self, reads: int, writes: int, rule: Rule, rank: int | None) -> None:
        super().__init__()
        n = rule.phm_dim
        self.reads, self.writes, self.rank = reads, writes, rank
        self.rule = rule
        if rank is None:
            self.weight = glorot(n, reads // n, writes // n)
        else:
            self.left, self.right = glorot(n, reads // n, rank), glorot(n, rank, writes // n)
        self.bias = nn.Parameter(torch.zeros(writes))

    def last_factor(self) -> nn.Parameter:
        """The parameter that makes the projection 0 when it is."""
        return self.weight if self.rank is None else self.right

    def forward(self, x: Tensor) -> Tensor:
        n = self.rule.phm_dim
        if self.rank is not None and self.rank * n * (self.reads + self.writes + n * n) < self.reads * self.writes:
            return self.factor_by_factor(x) + self.bias
        return x @ self.matrix() + self.bias

    def matrix(self) -> Tensor:
        """H, (I, O)."""
        weight = self.weight if self.rank is None else self.left @ self.right  # (N, I/N, O/N)
        return torch.einsum("nac,npl->apcl", self.rule(), weight).reshape(self.reads, self.writes)

    def factor_by_factor(self, x: Tensor) -> Tensor:
        """x H without forming H: per vector, N·R·(I + O + N²) multiplications in place of I·O."""
        n = self.rule.phm_dim
        left = self.left.transpose(0, 1).flatten(1)  # (I/N, N·R)
        a = torch.unflatten(torch.unflatten(x, -1, (n, -1)) @ left, -1, (n, -1))  # (..., a, N, R)
        c = torch.einsum("...anr,nac->...cnr", a, self.rule()).flatten(-2)  # (..., c, N·R)
        return (c @ self.right.flatten(0, 1)).flatten(-2)  # (..., c, O/N) -> (..., O)


@ADAPTERS.register("compacter")
class Compacter(Funnel):
    """A bottleneck of parametrised hypercomplex projections (Karimi Mahabadi et al. 2021, Compacter).

    Each projection is a sum of N Kronecker products of a small matrix (the rule) and a larger one:

        H = sum_n kron(A_n, W_n)        A_n (N, N), W_n = u_n v_n of rank R, or W_n a full matrix

    `at = ["attn.out", "mlp.out"]` is Compacter, `at = ["mlp.sum"]` Compacter++, both with the rule shared by all
    layers and both projections. VL-Adapter runs it with phm_dim = 2, rank = "full", rule = "own".

    Identity at init: the last factor of the up-projection is zero. The rules start with variance 1/N², which gives
    the down-projection the scale of a Glorot-initialised matrix; the published 0.01 all but mutes it.

    Args:
        host: the stream, (B, T, D).
        sides: none.
        phm_dim: N, number of Kronecker products; it must divide D and P.
        rank: R, of the larger factors, or "full".
        rule: "shared" by all adapters of this table, "tasks" (of one place) or an "own" one for each projection.
        factorized_rule: the rules, too, have rank 1.
        train_rule: the rules move.
        rule_std: standard deviation of the initial rules (or of their vectors): by default 1/N, or 0.01 where
            init = "published".
        reduction_factor: P = width that is read // reduction_factor, unless `bottleneck` is given.
        bottleneck: P, width of the bottleneck.
        activation: "gelu", "gelu_tanh", "relu", "silu", "tanh" or "leaky_relu".
        scale: factor of the adapter's output, or "learned" (one scalar per adapter, starting at 1).
        norm_before: LayerNorm on what the adapter reads.
        norm_after: LayerNorm on what it adds.
        norms: where tasks have copies, each norm is the copy's "own", or one of a place for all "tasks", as published.
        dropout: probability of dropping a bottleneck unit in training.
        init: "identity", or "published" (all weights Glorot-uniform with gain sqrt 2, so not the identity).

    Raises:
        SiteError: phm_dim does not divide the widths, the rank exceeds the sides of the larger factors, or the
            bottleneck would have no units.
    """

    paper = "Karimi Mahabadi et al. 2021; Zhang et al. 2021"
    free_keys = Funnel.free_keys | {"rule_std", "train_rule"}
    formula = "2·R·(D + P) + P + D, and N³ for the rule they share; with rank = full 2·D·P/N + P + D"
    needs_sides = (0, 0)
    mixes_tokens = "never"

    def __init__(
        self,
        host: Shape,
        sides: Mapping[str, Shape],
        *,
        phm_dim: Count = 4,
        rank: Count | Literal["full"] = 1,
        rule: Literal["shared", "tasks", "own"] = "shared",
        factorized_rule: bool = False,
        train_rule: bool = True,
        rule_std: Positive | None = None,
        reduction_factor: Count = 16,
        bottleneck: Count | None = None,
        activation: str = "gelu",
        scale: Positive | Literal["learned"] = 1.0,
        norm_before: bool = False,
        norm_after: bool = False,
        norms: Literal["own", "tasks"] = "own",
        dropout: Share = 0.0,
        init: Literal["identity", "published"] = "identity",
    ) -> None:
        check_positive(phm_dim=phm_dim)
        weight_rank = None if rank == "full" else rank
        if weight_rank is not None:
            check_positive(rank=weight_rank)
        reads, units = width_read(host), units_of(host, reduction_factor, bottleneck)
        check_divides(phm_dim, reads, units, host.width)
        check_low(weight_rank or 1, min(reads, units, host.width) // phm_dim)
        spread = phm_dim ** (-0.5 if factorized_rule else -1.0) if init == "identity" else 0.01
        std = spread if rule_std is None else rule_std
        rules = [Rule(phm_dim, factorized=factorized_rule, std=std) for _ in range(1 if rule == "shared" else 2)]
        for each in rules:
            each.requires_grad_(train_rule)
        up = PHMLinear(units, host.width, rules[-1], weight_rank)
        if init == "identity":
            nn.init.zeros_(up.last_factor())
        super().__init__(
            host,
            PHMLinear(reads, units, rules[0], weight_rank),
            up,
            activation=activation,
            scale=scale,
            norm_before=norm_before,
            norm_after=norm_after,
            norms=norms,
            dropout=dropout,
        )
        self.sharing = rule
        if rule == "tasks":
            self.of_all_tasks += ("down.rule", "up.rule")

    @classmethod
    def tie(cls, adapters: Sequence[Self]) -> None:
        """One rule for all adapters of a table, of all layers and tasks."""
        for adapter in adapters:
            if adapter.sharing == "shared":
                adapter.down.rule, adapter.up.rule = adapters[0].down.rule, adapters[0].up.rule

    def adapterhub(self) -> HubForm | None:
        """AdapterHub's, with a rule that all adapters share or that every projection has."""
        down, up = self.down, self.up
        assert isinstance(down, PHMLinear)
        assert isinstance(up, PHMLinear)
        if down.reads != up.writes or self.sharing == "tasks":
            return None
        shared = self.sharing == "shared"
        config = {
            "phm_layer": True,
            "phm_dim": down.rule.phm_dim,
            "phm_rank": down.rank or 1,
            "factorized_phm_W": down.rank is not None,
            "factorized_phm_rule": down.rule.factorized,
            "shared_phm_rule": shared,
            "learn_phm": next(down.rule.parameters()).requires_grad,
        }
        halves = {
            f"adapter_{half}.{theirs}": value
            for half, layer in (("down", down), ("up", up))
            for ours, value in layer.named_parameters()
            if (theirs := PHM[ours]) and not (shared and ours.startswith("rule."))
        }
        form = self.hub_form(halves, down.writes, config)
        rule = {PHM[f"rule.{name}"]: value for name, value in down.rule.named_parameters()} if shared else {}
        return None if form is None else replace(form, shared=rule)

    @classmethod
    def from_adapterhub(cls, form: HubForm) -> Translated | None:
        if form.architecture is not None or not form.option("phm_layer", False):
            return None
        shared = form.option("shared_phm_rule", True)
        halves = {f"adapter_{half}.{name}": value for half in ("down", "up") for name, value in form.shared.items()}
        names = {
            f"adapter_{half}.{theirs}": f"{half}.{ours}" for half in ("down", "up") for ours, theirs in PHM.items()
        }
        first = "adapter_down.1." if form.option("ln_before", False) else "adapter_down.0."
        together = {name.replace("adapter_down.", first): value for name, value in halves.items()} if shared else {}
        found = cls.read_hub(replace(form, tensors={**form.tensors, **together}), names)
        if found is None or "down.bias" not in found.state:
            return None
        low = form.option("factorized_phm_W", True)
        options = {
            **found.options,
            "bottleneck": len(found.state["down.bias"]),
            "phm_dim": form.option("phm_dim", 4),
            "rank": form.option("phm_rank", 1) if low else "full",
            "rule": "shared" if shared else "own",
            "factorized_rule": form.option("factorized_phm_rule", False),
            "train_rule": form.option("learn_phm", True),
        }
        known = ("phm_layer", "phm_dim", "phm_rank", "factorized_phm_W", "factorized_phm_rule", "shared_phm_rule")
        return Translated(options, found.state, (*found.understood, *known, "learn_phm", "phm_bias"))


def glorot(*shape: int) -> nn.Parameter:
    """N matrices, each Glorot-uniform with gain sqrt 2."""
    limit = GLOROT_GAIN * (6 / (shape[-2] + shape[-1])) ** 0.5
    return nn.Parameter(torch.empty(shape).uniform_(-limit, limit))


def check_divides(phm_dim: int, *widths: int) -> None:
    """Raise SiteError unless the widths can be cut into phm_dim equal parts."""
    for width in widths:
        if width % phm_dim:
            raise SiteError(
                f"phm_dim = {phm_dim} does not divide {width}; the widths are {', '.join(map(str, widths))}.",
                hint="Choose a phm_dim that divides all of them, or another bottleneck.",
            )


def check_low(rank: int, side: int) -> None:
    """Raise SiteError where a factor of this rank could not be of lower rank than a full one."""
    if rank > side:
        raise SiteError(
            f"rank = {rank} exceeds the smaller side of the factors W_n ({side}).",
            hint=f'Write rank <= {side}, or rank = "full".',
        )
