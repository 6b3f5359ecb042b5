"""What a backbone looks like to the rest of adaptkit: its stacks of blocks and its named sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Where the channels are: (B, T, D) tokens, (T, B, D) tokens (XLNet), (B, C, H, W) maps, (B, H, W, C) maps.
Layout = Literal["btd", "tbd", "bchw", "bhwd"]

# Why a model does not have one of these sites, for whoever asks for it.
MISSING = {
    "embed.in": "A prompt needs a stack that takes inputs_embeds, or a vision transformer whose blocks see all tokens.",
    "attn.kv": "A prefix needs attentions that call the attention interface of transformers.",
    "mlp.experts.gate_up": "It exists where fused experts call the experts interface of transformers.",
}


@dataclass(frozen=True, slots=True)
class Site:
    """One named insertion point of one layer.

    Attributes:
        name: the meaning, the same word for every architecture: "mlp.out", "attn.q", "block.out", ...
        stack: "encoder", "decoder", "text", "vision"; "" where the model has one stack of blocks.
        layer: index of the block within its stack; None for sites of the whole stack (embed.out, final.out).
        path: module that hosts the hook.
        when: "before" works on the host's input, "after" on its output, "sequence" on the tokens of a whole stack,
            "attention" on the keys and values of an attention, "experts" on one of the weights of fused experts.
        width: D, channels of what the hook sees (of the slice, for a fused projection).
        layout: where those channels are.
        norm: the host is the post-norm after the residual add: adapters read host(h), not h (Pfeiffer).
        columns: (start, stop) of the output columns of a fused projection that belong to this site.
        in_width: for projections (q, k, v, o, up, gate, down), the width of what they read; else None.
        heads: for keys and values, how many heads share the width; else None.
        parameter: of fused experts, the host's parameter that is meant; else "".
        model: the modality whose tower it is in; "" for the backbone, or where there is one model.
        causal: its stream must not see what comes later in it (`Stack.causal`).
    """

    name: str
    stack: str
    layer: int | None
    path: str
    when: Literal["before", "after", "sequence", "attention", "experts"]
    width: int
    layout: Layout = "btd"
    norm: bool = False
    columns: tuple[int, int] | None = None
    in_width: int | None = None
    heads: int | None = None
    parameter: str = ""
    model: str = ""
    causal: bool = False

    @property
    def full_name(self) -> str:
        """`encoder.mlp.out`, or `mlp.out` where there is one stack; in the tower of a modality `poster.mlp.out`."""
        return ".".join(word for word in (self.model, self.stack, self.name) if word)

    @property
    def local_name(self) -> str:
        """`full_name` within its model."""
        return f"{self.stack}.{self.name}" if self.stack else self.name

    @property
    def address(self) -> str:
        """Its module among all models."""
        return f"{self.model}:{self.path}" if self.model else self.path

    @property
    def is_projection(self) -> bool:
        return self.in_width is not None


@dataclass(frozen=True, slots=True)
class Module:
    """One module of the tree, for the escape hatch `path:<glob>`.

    Attributes:
        path: of the module.
        width: D, channels of what it returns; 0 where it returns no tensor with channels.
        layout: where those channels are.
        in_width: of a projection, the width of what it reads; else None.
    """

    path: str
    width: int
    layout: Layout = "btd"
    in_width: int | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """A sequence of like blocks.

    Attributes:
        name: "encoder", "decoder", ...; "" where the model has one stack.
        blocks: paths of the blocks.
        width: D, channels of what the last one returns.
        causal: a token depends on no later one, as in the decoder of a language model.
    """

    name: str
    blocks: tuple[str, ...]
    width: int
    causal: bool = False

    @property
    def depth(self) -> int:
        return len(self.blocks)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Everything surgery needs to know about a backbone.

    Attributes:
        model: the name the user typed or the id it stands for.
        family: model type of transformers, or the timm family ("vision_transformer", "resnet").
        found_by: "table" where a row of the family table spoke, "detected" where the module tree alone did.
        stacks: the stacks of blocks, in order of execution.
        sites: every named site, in order of layer.
        parameters: number of parameters of the backbone, shared ones counted once.
        notes: what a user should know (shared layers, sites that do not exist here and why).
        modules: every module of the tree, for `path:<glob>`.
    """

    model: str
    family: str
    found_by: Literal["table", "detected"]
    stacks: tuple[Stack, ...]
    sites: tuple[Site, ...]
    parameters: int
    notes: tuple[str, ...] = ()
    modules: tuple[Module, ...] = ()
