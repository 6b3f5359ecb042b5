"""The recipe language: schema, reading with errors at file and line, writing back. It never imports torch."""

from adaptkit.recipe.adapter import AdapterSpec
from adaptkit.recipe.backbone import Backbone
from adaptkit.recipe.bundled import bundled_description, bundled_folder, bundled_names, bundled_path
from adaptkit.recipe.data import Csv, Data, DigitQuestions, HuggingFace, Jsonl, Parquet
from adaptkit.recipe.fusion import FusionSpec
from adaptkit.recipe.json_schema import json_schema
from adaptkit.recipe.located import located
from adaptkit.recipe.modality import FeaturesModality, ImageModality, Modality, TextModality
from adaptkit.recipe.read import load_recipe, parse_recipe
from adaptkit.recipe.reference import reference_markdown
from adaptkit.recipe.schema import Recipe
from adaptkit.recipe.signatures import (
    AdapterSignature,
    FusionSignature,
    Parameter,
    adapter_signatures,
    fusion_signatures,
)
from adaptkit.recipe.task import Classification, Head, Multilabel, Regression, Retrieval, Task
from adaptkit.recipe.tower import TowerSpec
from adaptkit.recipe.training import EarlyStopping, OptimizerSpec, ScheduleSpec, Train
from adaptkit.recipe.write import digest, resolved_tables, resolved_toml

__all__ = [
    "AdapterSignature",
    "AdapterSpec",
    "Backbone",
    "Classification",
    "Csv",
    "Data",
    "DigitQuestions",
    "EarlyStopping",
    "FeaturesModality",
    "FusionSignature",
    "FusionSpec",
    "Head",
    "HuggingFace",
    "ImageModality",
    "Jsonl",
    "Modality",
    "Multilabel",
    "OptimizerSpec",
    "Parameter",
    "Parquet",
    "Recipe",
    "Regression",
    "Retrieval",
    "ScheduleSpec",
    "Task",
    "TextModality",
    "TowerSpec",
    "Train",
    "adapter_signatures",
    "bundled_description",
    "bundled_folder",
    "bundled_names",
    "bundled_path",
    "digest",
    "fusion_signatures",
    "json_schema",
    "load_recipe",
    "located",
    "parse_recipe",
    "reference_markdown",
    "resolved_tables",
    "resolved_toml",
]
