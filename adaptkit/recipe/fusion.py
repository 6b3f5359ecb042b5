"""`[fusion]`: how modalities meet the backbone's vector. Its further keys are its class's keyword arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from adaptkit.recipe.keyword_table import KeywordTable
from adaptkit.recipe.signatures import FusionSignature, fusion_signatures

BACKBONE = "backbone"  # the backbone's own stream among those that are fused


class FusionSpec(KeywordTable):
    """How modalities of route "fusion" that no adapter reads become one vector with the backbone's."""

    noun: ClassVar[str] = "fusion"

    kind: str = Field(default="concat", examples=["gmu"], description="Which fusion.")
    train: bool = Field(default=True, description="Whether its parameters learn (see init_from).")

    @classmethod
    def signatures(cls) -> Mapping[str, FusionSignature]:
        """kind -> what its class says about itself."""
        return fusion_signatures()

    @property
    def signature(self) -> FusionSignature:
        """What the fusion's class says about itself."""
        return fusion_signatures()[self.kind]
