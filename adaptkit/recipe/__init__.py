"""The recipe language: schema, reading with errors at file and line, writing back. It never imports torch."""

from adaptkit.recipe.adapter import AdapterSpec
from adaptkit.recipe.backbone import Backbone
from adaptkit.recipe.bundled import bundled_description, bundled_folder, bundled_names, bundled_path
from adaptkit.recipe.data import DataTable
from adaptkit.recipe.fusion import FusionSpec
from adaptkit.recipe.json_schema import json_schema
from adaptkit.recipe.located import located
from adaptkit.recipe.modality import ModalityTable
from adaptkit.recipe.read import load_recipe, parse_recipe
from adaptkit.recipe.reference import reference_markdown
from adaptkit.recipe.schema import Recipe
from adaptkit.recipe.task import Head, LossSpec, TaskTable
from adaptkit.recipe.tower import TowerSpec
from adaptkit.recipe.training import EarlyStopping, OptimizerSpec, ScheduleSpec, Train
from adaptkit.recipe.write import digest, resolved_tables, resolved_toml

__all__ = [
    "AdapterSpec",
    "Backbone",
    "DataTable",
    "EarlyStopping",
    "FusionSpec",
    "Head",
    "LossSpec",
    "ModalityTable",
    "OptimizerSpec",
    "Recipe",
    "ScheduleSpec",
    "TaskTable",
    "TowerSpec",
    "Train",
    "bundled_description",
    "bundled_folder",
    "bundled_names",
    "bundled_path",
    "digest",
    "json_schema",
    "load_recipe",
    "located",
    "parse_recipe",
    "reference_markdown",
    "resolved_tables",
    "resolved_toml",
]
