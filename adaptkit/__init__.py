"""Model surgery: graft multimodal and parameter-efficient adapters onto frozen backbones, from a recipe.

recipe -> plan -> surgery -> model -> train / evaluate -> artifact; each stage is one function here:

    import adaptkit as ak

    recipe = ak.load_recipe("quickstart")
    plan = ak.make_plan(recipe)
    model = ak.build_model(plan)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptkit.lazy import lazily
from adaptkit.version import __version__

if TYPE_CHECKING:
    from adaptkit.artifact import (
        convert,
        convert_adapterhub,
        convert_peft,
        export_adapter,
        export_adapterhub,
        export_peft,
        load_artifact,
        merge,
        merge_run,
        save_artifact,
        unmerge,
    )
    from adaptkit.errors import AdaptkitError
    from adaptkit.evaluation import evaluate, predict
    from adaptkit.model import AdaptedModel, build_model
    from adaptkit.plan import Plan, make_plan
    from adaptkit.recipe import Recipe, load_recipe, parse_recipe
    from adaptkit.sides import Side, use_sides
    from adaptkit.surgery import Graft, Receipt, insert, remove
    from adaptkit.training import train

# Public name -> the module that defines it. Imported when first used: `import adaptkit` does not import torch.
_HOMES = {
    "AdaptedModel": "model",
    "AdaptkitError": "errors",
    "Graft": "surgery",
    "Plan": "plan",
    "Receipt": "surgery",
    "Recipe": "recipe",
    "Side": "sides",
    "build_model": "model",
    "combine": "artifact",
    "convert": "artifact",
    "convert_adapterhub": "artifact",
    "convert_peft": "artifact",
    "evaluate": "evaluation",
    "export_adapter": "artifact",
    "export_adapterhub": "artifact",
    "export_peft": "artifact",
    "insert": "surgery",
    "load_artifact": "artifact",
    "load_recipe": "recipe",
    "make_plan": "plan",
    "merge": "artifact",
    "merge_run": "artifact",
    "parse_recipe": "recipe",
    "predict": "evaluation",
    "remove": "surgery",
    "save_artifact": "artifact",
    "train": "training",
    "unmerge": "artifact",
    "use_sides": "sides",
}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, __dir__ = lazily(__name__, _HOMES)
