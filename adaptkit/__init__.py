"""Model surgery: graft multimodal and parameter-efficient adapters onto frozen backbones, from a recipe.

recipe -> plan -> surgery -> model -> train / evaluate -> artifact; each stage is one function here:

    import adaptkit as ak

    recipe = ak.load_recipe("quickstart")
    plan = ak.make_plan(recipe)
    model = ak.build_model(plan)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptkit.artifact import export_adapter, load_artifact, merge, save_artifact
    from adaptkit.errors import AdaptkitError
    from adaptkit.evaluation import evaluate, predict
    from adaptkit.graft import Graft
    from adaptkit.model import AdaptedModel, build_model
    from adaptkit.plan import Plan, make_plan
    from adaptkit.recipe import Recipe, load_recipe, parse_recipe
    from adaptkit.sides import Side
    from adaptkit.sides import use as use_sides
    from adaptkit.surgery import Receipt, insert, remove
    from adaptkit.training import train

__version__ = "0.1.0"

# Public name -> where it lives. Imported when first used, so that `import adaptkit` does not import torch.
_HOME = {
    "AdaptedModel": ("model", "AdaptedModel"),
    "AdaptkitError": ("errors", "AdaptkitError"),
    "Graft": ("graft", "Graft"),
    "Plan": ("plan", "Plan"),
    "Receipt": ("surgery", "Receipt"),
    "Recipe": ("recipe", "Recipe"),
    "Side": ("sides", "Side"),
    "build_model": ("model", "build_model"),
    "evaluate": ("evaluation", "evaluate"),
    "export_adapter": ("artifact", "export_adapter"),
    "insert": ("surgery", "insert"),
    "load_artifact": ("artifact", "load_artifact"),
    "load_recipe": ("recipe", "load_recipe"),
    "make_plan": ("plan", "make_plan"),
    "merge": ("artifact", "merge"),
    "parse_recipe": ("recipe", "parse_recipe"),
    "predict": ("evaluation", "predict"),
    "remove": ("surgery", "remove"),
    "save_artifact": ("artifact", "save_artifact"),
    "train": ("training", "train"),
    "use_sides": ("sides", "use"),
}

__all__ = ["__version__", *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'adaptkit' has no attribute {name!r}")
    home, attribute = _HOME[name]
    return getattr(import_module(f"adaptkit.{home}"), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
