"""The adapted model: backbone, encoders, the fusion place, heads; one forward from a batch to logits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit import sides
from adaptkit.adapters import ADAPTERS
from adaptkit.anatomy import load, skeleton
from adaptkit.encoders import Encoder
from adaptkit.errors import ArtifactError, SiteError
from adaptkit.heads import build_head
from adaptkit.model.calling import Call, prepare, run
from adaptkit.model.pooling import mean, pool
from adaptkit.plan import Plan
from adaptkit.plan.streams import build_encoders, build_projections, spans_of
from adaptkit.sides import Side
from adaptkit.surgery import carried, insert

# B batch, T tokens, D width of the backbone, E width of a modality

Inputs = Mapping[str, Mapping[str, Tensor]]  # modality -> collated tensors


class AdaptedModel(nn.Module):
    """What a plan describes, ready to train or to predict. Made by `build_model`.

    Attributes:
        plan: what it was built from.
        backbone: the pretrained model with its adapters.
        encoders: modality -> encoder.
        projections: modality of route "tokens" -> its way into the input sequence.
        fusion: where the modalities meet after the backbone; carries the adapters of the site "fusion".
        heads: task -> head.
        receipt: of the surgery on the backbone; `adaptkit.remove(model.backbone, model.receipt)` undoes it.
    """

    def __init__(self, plan: Plan, backbone: nn.Module, encoders: Mapping[str, Encoder], seed: int) -> None:
        super().__init__()
        self.plan = plan
        self.backbone = backbone
        self.encoders = nn.ModuleDict(encoders)
        self.projections = nn.ModuleDict(build_projections(plan.recipe, encoders, plan.width))
        self.fusion = nn.Identity()
        self.heads = nn.ModuleDict(
            {
                name: build_head(task.head, plan.head_width, outputs_of(plan, name))
                for name, task in plan.recipe.task.items()
            }
        )
        self.spans = spans_of(plan.recipe, encoders)
        # A copy of a backbone that is trained as a whole would cost as much as the backbone.
        kept = "all" not in plan.recipe.backbone.train
        self.receipt = insert(backbone, plan.inside, unfrozen=plan.unfrozen, seed=seed, restorable=kept)
        # The fusion place under the path that its grafts are planned for.
        self.fusion_receipt = insert(nn.ModuleDict({"fusion": self.fusion}), plan.at_fusion, seed=seed)

    def named_encoders(self) -> Iterator[tuple[str, Encoder]]:
        """(modality, encoder), in recipe order."""
        for name, encoder in self.encoders.items():
            assert isinstance(encoder, Encoder)
            yield name, encoder

    def forward(self, inputs: Inputs, *, drop: Collection[str] = ()) -> dict[str, Tensor]:
        """Logits of every task.

        Args:
            inputs: modality -> tensors, as collated by its encoder.
            drop: modalities that count as absent in every sample (ablation).

        Returns:
            task -> (B, outputs).
        """
        streams = self.encode(inputs, drop)
        call = prepare(self.backbone, self.plan.spec, native_inputs(self.plan, inputs), prefix(self, streams))
        if not any(graft.per_task != "single" or ADAPTERS[graft.kind].reads_task for graft in self.plan.grafts):
            vector = self.represent(streams, call)
            return {name: head(vector.to(head_dtype(head))) for name, head in self.heads.items()}
        logits = {}
        for name, head in self.heads.items():  # each task has adapters of its own, so a pass of its own
            logits[name] = head(self.represent(streams, call, task=name).to(head_dtype(head)))
        return logits

    def represent(self, streams: Mapping[str, Side], call: Call, *, task: str | None = None) -> Tensor:
        """The vector that heads read: the pooled stream, then the modalities that join it. (B, D + sum E)"""
        with sides.use_sides(streams, call.masks, task=task, spans=self.spans):
            sequence, mask = run(self.backbone, self.plan.spec, call, self.plan.width)  # (B, T, D), (B, T)
        with sides.use_sides(streams, {"fusion": mask}, task=task, spans=self.spans):
            fused = self.fusion(sequence)
        if not all(adapter.keeps_length for adapter in carried(self.fusion).values()):
            mask = torch.ones(fused.shape[:2], dtype=torch.bool, device=fused.device)
        pooled = pool(self.plan.pool, self.backbone, fused, mask)  # (B, D)
        joined = [mean(streams[name].tensor, streams[name].mask) for name in self.plan.joined]
        return torch.cat([pooled, *(x.to(pooled.dtype) for x in joined)], dim=1)

    def encode(self, inputs: Inputs, drop: Collection[str]) -> dict[str, Side]:
        """The vectors of every modality that the backbone does not read itself."""
        streams = {}
        for name, encoder in self.encoders.items():
            if self.plan.recipe.modality[name].route == "backbone":
                continue
            given = dict(inputs[name])
            if name in drop:
                given["present"] = torch.zeros_like(given["present"])
            streams[name] = encoder(given)
        return streams

    def train(self, mode: bool = True) -> Self:
        """Training mode, in which the frozen part stays as it is: without dropout, with fixed batch statistics."""
        super().train(mode)
        frozen_dropout = self.plan.recipe.backbone.dropout == "off"
        for name, module in self.backbone.named_modules():
            if ".adapters." in f".{name}.":
                continue
            fixed = frozen_dropout or isinstance(module, nn.modules.batchnorm._BatchNorm)
            # Blocks that checkpoint do so only in training mode; their dropout was set to 0 when they were loaded.
            module.training = mode and (not fixed or getattr(module, "gradient_checkpointing", False))
        return self

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the blocks' activations in backward. The recomputation sees the sides of its own forward.

        Raises:
            SiteError: the backbone cannot, or adapters read sides and the library offers no way to hand them over.
        """
        if self.plan.ref.library == "timm":
            if any(graft.sides for graft in self.plan.inside):
                raise SiteError(
                    "timm's gradient checkpointing cannot hand side inputs to the recomputation.",
                    where=self.plan.recipe.where("train.gradient_checkpointing"),
                    hint="Write gradient_checkpointing = false, or a smaller batch_size with accumulation.",
                )
            self.backbone.set_grad_checkpointing(True)  # pyright: ignore[reportCallIssue]
            return
        backbone: Any = self.backbone
        how = {"use_reentrant": False, "context_fn": sides.checkpoint_contexts}
        if hasattr(backbone, "activation_checkpointing_enable"):  # the name since transformers 5.20
            backbone.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
        else:
            backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
        # transformers also makes the embeddings require gradients, which only reentrant checkpoints need: it would
        # send a gradient through every frozen layer, and its hook would outlive the removal of our adapters.
        backbone.disable_input_require_grads()

    def trainable_state(self) -> dict[str, Tensor]:
        """Everything that is not the frozen backbone: what an artifact or a checkpoint holds."""
        kept = {f"backbone.{name}" for name in self.plan.unfrozen}
        own: dict[int, tuple[str, Tensor]] = {}  # what adapters share is kept once, under its first name
        for name, tensor in self.state_dict(keep_vars=True).items():
            if is_own(name) or name in kept:
                own.setdefault(id(tensor), (name, tensor.detach()))
        return dict(own.values())

    def load_trainable_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `trainable_state` gave.

        Raises:
            ArtifactError: names or shapes differ. Nothing is changed then.
        """
        own = self.trainable_state()
        if own.keys() != state.keys():
            missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
            raise ArtifactError(
                f"the tensors do not fit the recipe: {len(missing)} missing"
                f"{f' (first {missing[0]})' if missing else ''}, {len(extra)} unexpected"
                f"{f' (first {extra[0]})' if extra else ''}."
            )
        for name, tensor in state.items():
            if tensor.shape != own[name].shape:
                raise ArtifactError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(own[name].shape)}.")
        with torch.no_grad():
            for name, tensor in state.items():
                own[name].copy_(tensor)


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
        encoders = build_encoders(recipe, plan.ref, plan.spec, plan.width)
        model = AdaptedModel(plan, backbone, encoders, seed)
    return model.eval()


def native_inputs(plan: Plan, inputs: Inputs) -> dict[str, Mapping[str, Tensor]]:
    """Kind of modality -> what the backbone reads itself."""
    return {
        modality.kind: {key: value for key, value in inputs[name].items() if key != "present"}
        for name, modality in plan.recipe.modality.items()
        if modality.route == "backbone"
    }


def prefix(model: AdaptedModel, streams: Mapping[str, Side]) -> Side | None:
    """The modalities of route "tokens", projected to the backbone's width, in recipe order; None for none.

    Each takes its full length, so that the text's positions do not depend on the other samples of the batch.
    """
    parts = []
    encoders = dict(model.named_encoders())
    for name, projection in model.projections.items():
        side, full = streams[name], encoders[name].tokens
        assert full is not None, "the plan checks that its length is known"
        missing = full - side.mask.shape[1]
        vectors = functional.pad(projection(side.tensor), (0, 0, 0, missing))  # (B, N, D)
        parts.append(Side(vectors, functional.pad(side.mask, (0, missing)), side.present))
    if not parts:
        return None
    return Side(
        torch.cat([part.tensor for part in parts], dim=1),
        torch.cat([part.mask for part in parts], dim=1),
        torch.stack([part.present for part in parts]).any(dim=0),
    )


def outputs_of(plan: Plan, task: str) -> int:
    spec: Any = plan.recipe.task[task]
    return spec.outputs if spec.kind == "regression" else len(plan.labels[task])


def head_dtype(head: nn.Module) -> torch.dtype:
    return next(head.parameters()).dtype


def is_own(name: str) -> bool:
    """A tensor of adapters, encoders, projections or heads; not one of the backbone."""
    return not name.startswith("backbone.") or ".adapters." in name
