"""What a recipe can name: adapters, modalities, tasks, formats, ... Built-in kinds by an index, users' by plugins.

A kind is a class or function under `@ADAPTERS.register("gmu")`. `kind.py` is what is known of one without importing it,
`describing.py` reads that off a class, `index.py` keeps it for the built-in ones, `plugins.py` brings those of users.
Nothing here names a kind, or imports torch.
"""

from __future__ import annotations

from adaptkit.kinds.key import REQUIRED, Count, Depth, Key, Natural, NotNegative, Positive, Seed, Share, Steps
from adaptkit.kinds.kind import BUILT_IN, Kind, kinds_in, table_of
from adaptkit.kinds.plugins import Plugin, forget_plugin, load_plugin, loaded_plugins, plugin_of
from adaptkit.kinds.points import (
    ADAPTERS,
    BENCHMARKS,
    ENCODERS,
    FORMATS,
    FUSIONS,
    HEADS,
    LOSSES,
    METRICS,
    MODALITIES,
    OPTIMIZERS,
    POINTS,
    PROJECTIONS,
    SAMPLERS,
    SCHEDULES,
    TASKS,
)
from adaptkit.kinds.registry import Kinds

__all__ = [
    "ADAPTERS",
    "BENCHMARKS",
    "BUILT_IN",
    "ENCODERS",
    "FORMATS",
    "FUSIONS",
    "HEADS",
    "LOSSES",
    "METRICS",
    "MODALITIES",
    "OPTIMIZERS",
    "POINTS",
    "PROJECTIONS",
    "REQUIRED",
    "SAMPLERS",
    "SCHEDULES",
    "TASKS",
    "Count",
    "Depth",
    "Key",
    "Kind",
    "Kinds",
    "Natural",
    "NotNegative",
    "Plugin",
    "Positive",
    "Seed",
    "Share",
    "Steps",
    "forget_plugin",
    "kinds_in",
    "load_plugin",
    "loaded_plugins",
    "plugin_of",
    "table_of",
]
