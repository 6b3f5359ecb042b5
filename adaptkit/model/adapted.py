"""The adapted model: backbone, encoders, the fusion place, heads; one forward from a batch to logits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor, nn

from adaptkit import pooling, sides
from adaptkit.anatomy import load, skeleton
from adaptkit.anatomy.calling.forward import prepare, run
from adaptkit.fusions.base import BACKBONE
from adaptkit.modalities.encoder import KEPT, KEPT_MASK, Encoder, drawn_present
from adaptkit.model.encoded import Encoded, Inputs, Represented, kept_key, native_inputs, of_modality
from adaptkit.model.exchange import Blocks, Exchange, Show, refuse_compiling
from adaptkit.model.generating import Generates
from adaptkit.model.inference import Predicts
from adaptkit.model.kept import Kept
from adaptkit.model.prefix import InputSequence, projected
from adaptkit.model.replaying import replayed
from adaptkit.model.state import TrainableState
from adaptkit.model.towers import depends_on_task, hold_still, of_samples, recompute
from adaptkit.plan import Plan
from adaptkit.plan.mmbt import build_segments
from adaptkit.plan.readout import build_fusion, build_heads
from adaptkit.plan.streams import build_encoders, build_projections
from adaptkit.sides import Side
from adaptkit.surgery import Graft, Receipt, adapters_of, insert

# B batch, T tokens, D width of the backbone, E width of a modality


class AdaptedModel(Predicts, Generates, TrainableState):
    """What a plan describes, ready to train or to predict. Made by `build_model`.

    Attributes:
        plan: what it was built from.
        backbone: the pretrained model with its adapters.
        encoders: modality -> encoder.
        projections: modality of route "tokens" -> its way into the input sequence.
        segments: modality -> its segment embedding, for `prefix = "mmbt"`.
        sequence: how the modalities of route "tokens" are arranged around the text.
        fusion: the place after the backbone; carries the adapters of the site "fusion".
        join: how the backbone's vector meets the modalities that no adapter reads: `[fusion]`.
        heads: task -> head.
        receipt: of the surgery on the backbone; `adaptkit.remove(model.backbone, model.receipt)` undoes it, with
            `towers=model.models` where its adapters read other models.
        tower_receipts: modality -> that on its tower, `model.towers[modality]`.
        kept: model -> what is kept of its frozen part; batches bring it along where they have it.
    """

    def __init__(self, plan: Plan, backbone: nn.Module, encoders: Mapping[str, Encoder], seed: int) -> None:
        super().__init__()
        self.plan = plan
        self.kept: dict[str, Kept] = {}
        self.backbone = backbone
        self.encoders = nn.ModuleDict(encoders)
        self.projections = nn.ModuleDict(build_projections(plan.recipe, encoders, backbone))
        self.segments = build_segments(plan.recipe, plan.ref, backbone)
        self.fusion = nn.Identity()
        self.join = build_fusion(plan.recipe, encoders, plan.spec, plan.width, plan.pool)
        self.heads = nn.ModuleDict(build_heads(plan.recipe, encoders, plan.head_width, plan.outputs))
        self.sequence = InputSequence.of(plan, backbone, encoders)
        models = self.models

        def graft(model: nn.Module, grafts: tuple[Graft, ...], unfrozen: tuple[str, ...]) -> Receipt:
            # A copy of a model that is trained as a whole would cost as much as the model.
            kept = len(unfrozen) < len([*model.parameters()])
            return insert(model, grafts, unfrozen=unfrozen, seed=seed, restorable=kept, towers=models)

        self.receipt = graft(backbone, plan.inside, plan.unfrozen)
        self.tower_receipts = {
            name: graft(models[name], plan.inside_tower(name), tower.unfrozen) for name, tower in plan.towers.items()
        }
        # The fusion place under the path that its grafts are planned for.
        place = nn.ModuleDict({"fusion": self.fusion})
        self.fusion_receipt = insert(place, plan.at_fusion, seed=seed, towers=models)

    def named_encoders(self) -> Iterator[tuple[str, Encoder]]:
        """(modality, encoder), in recipe order."""
        for name, encoder in self.encoders.items():
            assert isinstance(encoder, Encoder)
            yield name, encoder

    @property
    def towers(self) -> dict[str, nn.Module]:
        """Modality -> the model that its encoder runs."""
        found = {name: encoder.tower for name, encoder in self.named_encoders()}
        return {name: tower.model for name, tower in found.items() if tower is not None}

    @property
    def models(self) -> dict[str, nn.Module]:
        """The towers by the names of their modalities, and "backbone"."""
        return {**self.towers, BACKBONE: self.backbone}

    def forward(
        self,
        inputs: Inputs,
        *,
        drop: Collection[str] = (),
        targets: Mapping[str, Any] = MappingProxyType({}),
        tasks: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Logits of every task, or of those that are asked for; of one that generates only where its targets are given.

        Args:
            inputs: modality -> tensors, as collated by its encoder.
            drop: modalities that count as absent in every sample (ablation).
            targets: task -> what it encodes; those of tasks that generate are read, as words before the next word.
            tasks: whose logits; by default those of all.

        Returns:
            task -> (B, outputs); of one that generates (B, A, V), where its labels are (B, A).
        """
        if not self.plan.recipe.task:  # an adapter without a head, run for its cost
            self.represent(self.encode(inputs, drop))
        tasked = self.tasked
        logits: dict[str, Tensor] = {}
        encoded = found = None
        for name in self.plan.recipe.task:
            if (name not in self.heads and name not in targets) or (tasks is not None and name not in tasks):
                continue
            task = name if tasked else None  # where adapters tell tasks apart, each takes a pass of its own
            if encoded is None or tasked - {""}:
                encoded = self.encode(inputs, drop, task=task)
            if name not in self.heads:
                logits[name] = self.speak(encoded, targets[name], task=task)
                continue
            if found is None or tasked:
                found = self.represent(encoded, task=task)
            logits[name] = self.answer(name, found)
        return logits

    @property
    def tasked(self) -> set[str]:
        """The models whose adapters tell tasks apart: modalities, "" for the backbone."""
        return {graft.model for graft in self.plan.grafts if depends_on_task(graft)}

    def _encoded_for(self, inputs: Inputs, drop: Collection[str], task: str) -> Encoded:
        return self.encode(inputs, drop, task=task if self.tasked else None)

    def answer(self, task: str, found: Represented) -> Tensor:
        """What the head of a task makes of the vector, and of the queries that it reads. (B, outputs)"""
        head, given = self.heads[task], [found.vector]
        for query in self.plan.recipe.task[task].queries:
            side = found.streams[query]
            given.append(pooling.mean(side.tensor, side.mask))  # (B, E)
        return head(*(part.to(head_dtype(head)) for part in given))

    def represent(self, encoded: Encoded, *, task: str | None = None) -> Represented:
        """The vector that heads read, (B, W): the stream, and the modalities that join it."""

        def backbone(blocks: dict[str, Side]) -> tuple[Tensor, Tensor]:
            if KEPT in encoded.kept:
                return encoded.kept[KEPT], encoded.kept[KEPT_MASK]
            call = encoded.call
            assert call is not None, "heads ask for it"
            with self._laid_out(encoded, call, task, blocks):
                return run(self.backbone, self.plan.spec, call, self.plan.width)  # (B, T, D), (B, T)

        streams, blocks = dict(encoded.streams), dict(encoded.blocks)
        if encoded.later:
            sequence, mask = self._in_step(encoded.later, streams, blocks, task, backbone)
        else:
            sequence, mask = backbone(blocks)
        with sides.use_sides(streams, {"fusion": mask}, task=task, spans=encoded.spans, blocks=blocks):
            fused = self.fusion(sequence)
        if not all(adapter.keeps_length for adapter in adapters_of(self.fusion).values()):
            mask = torch.ones(fused.shape[:2], dtype=torch.bool, device=fused.device)
        whole = Side(fused, mask, mask.any(1))
        ready = KEPT in encoded.kept and self.plan.frontiers[""].pooled
        own = whole if ready or self.join.sequences else Side.of(pooled(self.plan.pool, self.backbone, whole))
        return Represented(self.join({BACKBONE: own, **{name: streams[name] for name in self.plan.joined}}), streams)

    def encode(self, inputs: Inputs, drop: Collection[str], *, task: str | None = None) -> Encoded:
        """The vectors of every modality that needs nothing of the backbone, and what the backbone reads."""
        streams: dict[str, Side] = {}
        blocks: dict[str, Side] = {}
        *groups, last = self.plan.order
        for group in groups:  # adapters in a tower may read what was encoded before it
            given = {name: of_modality(inputs, name, name in drop) for name in group}
            if len(group) > 1:
                self._in_step(given, streams, blocks, task)
                continue
            name = "".join(group)
            streams[name] = self._encoded(name, given[name], streams, task, blocks)
            blocks |= of_samples(name, blocks, streams[name].present)
        parts = projected(dict(self.projections.items()), self.backbone, streams)
        tokens = self.sequence.prefix(parts, self.backbone, dict(self.segments.items()))
        native, kept = native_inputs(self.plan, inputs), inputs.get(kept_key(""), {})
        reads = (len(self.heads) or not self.plan.recipe.task) and KEPT not in kept
        call = prepare(self.backbone, self.plan.spec, native, tokens) if reads else None
        later = {name: of_modality(inputs, name, name in drop) for name in last if name}
        return Encoded(streams, native, tokens, call, self.sequence.spans(parts), blocks, later, kept)

    def _encoded(
        self, name: str, given: Mapping[str, Tensor], streams: Mapping[str, Side], task: str | None, blocks: Blocks
    ) -> Side:
        """The vectors of one modality, whose adapters may read these streams and blocks."""
        with sides.use_sides(streams, task=task, blocks=blocks), self._replayed(name, given):
            return self.encoders[name](given)

    def _replayed(self, model: str, given: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Let the frozen blocks of a model hand on what is kept of them, where a batch brings it."""
        kept = self.kept.get(model)
        if kept is None or not kept.replays(given):
            return nullcontext()
        return replayed(self.models[model or BACKBONE], kept.frontier, kept.entry.form, given)

    def _in_step(
        self, given: Inputs, streams: dict[str, Side], blocks: Blocks, task: str | None, backbone: Any = None
    ) -> Any:
        """Encode modalities whose towers run in step into `streams` and `blocks`; return what the backbone gave."""
        refuse_compiling()
        parts: dict[str, Any] = {}
        show: dict[str, Show] = {}
        before = dict(streams)
        for name, encoder in self.named_encoders():
            if name in given:
                drawn = drawn_present(encoder, given[name]["present"])  # others see its blocks before it has ended
                parts[name] = partial(self._encoded, name, {**given[name], "drawn": drawn}, before, task)
                show[name] = partial(of_samples, name, present=drawn)
        if backbone is not None:
            parts[""], show[""] = backbone, dict
        exchange = Exchange(parts, blocks, show)
        results = exchange.run()
        blocks |= exchange.shown
        found = results.pop("", None)
        streams |= results
        return found

    def train(self, mode: bool = True) -> Self:
        """Training mode, in which the frozen part stays as it is: without dropout, with fixed batch statistics."""
        super().train(mode)
        hold_still(self.backbone, self.plan.recipe.backbone.dropout, mode)
        for name, tower in self.towers.items():
            modality: Any = self.plan.recipe.modality[name]
            hold_still(tower, modality.tower.dropout, mode)
        for part in (self.join, *self.heads.values()):
            part.train(mode and any(parameter.requires_grad for parameter in part.parameters()))
        return self

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the blocks' activations in backward, in the backbone and in towers with something to train.

        Raises:
            SiteError: adapters read sides, and the library offers no way to hand them over.
        """
        where = self.plan.recipe.where("train.gradient_checkpointing")
        recompute(self.backbone, self.plan.ref.library, self.plan.inside, where=where)
        for name, tower in self.plan.towers.items():
            grafts = self.plan.inside_tower(name)
            if grafts or tower.unfrozen:
                recompute(self.towers[name], tower.ref.library, grafts, where=where)


def build_model(plan: Plan, *, weights: bool = True, seed: int = 0) -> AdaptedModel:
    """Load the backbone, perform the surgery, build encoders and heads.

    Args:
        plan: from `make_plan`.
        weights: False builds everything on the meta device, without a weight (for cost estimates and exports).
        seed: of every new parameter.

    Raises:
        UnavailableError: the backbone's weights cannot be had.
    """
    recipe = plan.recipe
    with torch.random.fork_rng(devices=[]), torch.device("cpu" if weights else "meta"):
        torch.manual_seed(seed)
        if weights:
            backbone = load(plan.ref, dropout=recipe.backbone.dropout, precision=recipe.backbone.precision)
        else:
            backbone = skeleton(plan.ref)
        encoders = build_encoders(recipe, plan.ref, backbone, plan.spec, plan.width)
        model = AdaptedModel(plan, backbone, encoders, seed)
    return model.eval()


def pooled(pool: str, backbone: nn.Module, states: Side) -> Tensor:
    """(B, T, D) -> (B, D), as the plan says; "pooler" is the backbone's own."""
    if pool == "pooler":
        return backbone.get_submodule("pooler")(states.tensor)
    return pooling.POOLS[pool](states.tensor, states.mask)


def head_dtype(head: nn.Module) -> torch.dtype:
    return next(head.parameters()).dtype
