"""The tasks of a plan, ready to be measured with and to predict."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from adaptkit.anatomy import skeleton, tokenizer_for
from adaptkit.data import DataSet
from adaptkit.errors import UsageError
from adaptkit.formats.load import conversation_of
from adaptkit.modalities.encoder import MODALITIES
from adaptkit.plan import Plan
from adaptkit.tasks.task import Task


def build_tasks(
    plan: Plan, data: DataSet | None, decoding: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Task]:
    """The tasks of a plan with its labels; without data, losses have no weights by frequency.

    Args:
        plan: with its recipe.
        data: all splits.
        decoding: keys of the tables `decoding` that are to be other than in the recipe.

    Raises:
        UsageError: no task, a key of decoding that there is not, or a value that it cannot have.
    """
    if not plan.recipe.task:
        raise UsageError(
            f"{plan.recipe.name} has no task: it is an adapter without a head.",
            hint='Name it in a recipe, init_from = "FOLDER", and train that; or merge or export it.',
        )
    tasks = {}
    for name, spec in plan.recipe.task.items():
        spec = spec.with_decoding(decoding) if spec.generates and decoding else spec
        labels = plan.labels.get(name)
        known = spec.model_copy(update={"labels": list(labels)}) if labels else spec
        targets = None if data is None else data.targets("train", name)
        tasks[name] = Task.build(known, name, targets)
        speaker = tasks[name].speaker
        if speaker is not None:
            tokenizer = partial(_tokenizer_of, plan)
            framed = plan.spec.form == "encoder_decoder"
            speaker.connect(tokenizer, framed=framed, script=_script_of(plan, tokenizer))
    return tasks


def _script_of(plan: Plan, tokenizer: Any) -> Any:
    """What finds the targets in what the backbone reads, where they stand in it."""
    name = conversation_of(plan.recipe)
    if name is None:
        return None
    modality = plan.recipe.modality[name]
    return MODALITIES[modality.kind].script_of(modality, name, tokenizer, plan.limits[name])


def _tokenizer_of(plan: Plan) -> Any:
    recipe = plan.recipe
    named = recipe.backbone.tokenizer
    return tokenizer_for(plan.ref, skeleton(plan.ref), named, base=recipe.base, key="backbone")()
