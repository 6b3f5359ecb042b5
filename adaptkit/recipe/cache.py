"""`[cache]`: what is kept on disk of the frozen models' work."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adaptkit.kinds import Positive
from adaptkit.recipe.table import IsPath, Table


class Cache(Table):
    """What frozen models give for a sample is the same in every epoch: it is computed once and kept on disk."""

    enabled: bool = Field(default=True, description="Whether it is.")
    max_gb: Positive = Field(
        default=20.0,
        description="Most that the folder may hold, in GB (10^9 bytes), of all recipes together. What was used least "
        "recently goes first.",
    )
    spill: Literal["compute", "halve", "error"] = Field(
        default="compute",
        description='What happens to what does not fit: "compute" it in every epoch, as without a cache; "halve" it '
        'by keeping it in bfloat16, where that is enough; or "error".',
    )
    dtype: Literal["computed", "bfloat16"] = Field(
        default="computed", description="Number format on disk: as the model computes it, or rounded to bfloat16."
    )
    folder: Annotated[str | None, IsPath()] = Field(
        default=None,
        examples=["../cache"],
        description="Where it lies. Default: activations/ in ADAPTKIT_CACHE or in the system's folder for caches.",
    )
