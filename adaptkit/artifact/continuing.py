"""What two recipes must agree in for the trained values of one to mean the same in the other: `init_from`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from adaptkit.adapters.base import ADAPTERS
from adaptkit.artifact.load import artifact_recipe
from adaptkit.artifact.reading import Artifact
from adaptkit.errors import ArtifactError
from adaptkit.fusions.base import FUSIONS
from adaptkit.model import AdaptedModel
from adaptkit.model.towers import path_of
from adaptkit.plan import Plan
from adaptkit.plan.readout import pool_of
from adaptkit.recipe import ModalityTable, Recipe
from adaptkit.recipe.table import Table
from adaptkit.tasks.heads import HEADS

PLACED = frozenset({"at", "layers", "train", "init_from", "expect"})  # the tensors show where an adapter is
TRAINED = frozenset({"train"})
OF_A_HEAD = frozenset({"dropout", "hidden"})


def source_recipe(artifact: Artifact) -> Recipe:
    """The recipe of what is started from. Nothing is built of it, so code that it names does not run."""
    return artifact_recipe(artifact, run_code=True)


def refuse_other_options(plan: Plan, artifact: Artifact, taken: Collection[str], where: str) -> None:
    """Raise ArtifactError where what the values belong to computes something else with them here.

    Args:
        plan: of the model that gets them.
        artifact: that they come from.
        taken: names of the tensors.
        where: the key of the recipe that asks for it.
    """
    here, there = plan.recipe, source_recipe(artifact)
    adapters = {adapter_of(plan, key) for key in taken} & here.adapter.keys() & there.adapter.keys()
    read = {side for name in adapters for side in here.adapter[name].sides}
    modalities = concerned(plan, taken) & there.modality.keys()
    told = [
        f"adapter.{name}.{text}"
        for name in sorted(adapters)
        for text in changed(
            there.adapter[name], here.adapter[name], ADAPTERS[here.adapter[name].kind].free_keys | PLACED
        )
    ]
    told += [
        f"modality.{name}.{text}"
        for name in sorted(modalities)
        for text in changed(there.modality[name], here.modality[name], _free(here.modality[name], name in read))
    ]
    if any(key.startswith("join.") for key in taken):
        free = FUSIONS[here.fusion.kind].free_keys | TRAINED
        told += [f"fusion.{text}" for text in changed(there.fusion, here.fusion, free)]
    if told:
        raise ArtifactError(
            f"the values in {artifact.folder} are those of another function: {'; '.join(told[:3])}"
            f"{f'; and {len(told) - 3} more' if len(told) > 3 else ''}.",
            where=where,
            hint="Write them as they were, or give what is to start anew another name.",
        )


def concerned(plan: Plan, taken: Collection[str]) -> set[str]:
    """The modalities whose values mean something to these tensors: read by their adapters or their fusion, encoded, the
    backbone's."""
    recipe = plan.recipe
    adapters = {adapter_of(plan, key) for key in taken} & recipe.adapter.keys()
    read = {side for name in adapters for side in recipe.adapter[name].sides}
    encoded = {name for name in recipe.modality if any(key.startswith(f"encoders.{name}.") for key in taken)}
    native = {name for name, table in recipe.modality.items() if table.route == "backbone"}
    joined = {name for name, table in recipe.modality.items() if table.route == "fusion"}
    joined = joined if any(key.startswith("join.") for key in taken) else set()
    return (read | encoded | native | joined) & recipe.modality.keys()


def changed_readout(model: AdaptedModel, there: Recipe) -> list[str]:
    """How the vector that heads read comes about in another way than it did there. Who puts an adapter in the place of
    a fusion, in front of the head that was trained with it, means that: it is told, and no error."""
    here = model.plan.recipe
    pool = pool_of(there, model.backbone, model.plan.spec)
    told = [] if pool == model.plan.pool else [f"backbone.pool was {pool!r} and is {model.plan.pool!r}"]
    for name in (name for name, table in here.modality.items() if table.route == "fusion" and name in there.modality):
        found = changed(there.modality[name], here.modality[name], here.modality[name].free_keys)
        told += [f"modality.{name}.{text}" for text in found]
    free = FUSIONS[here.fusion.kind].free_keys | TRAINED
    return told + [f"fusion.{text}" for text in changed(there.fusion, here.fusion, free)]


def changed_head(model: AdaptedModel, there: Recipe, task: str) -> list[str]:
    """How the head of a task is another one than it was there."""
    if task not in there.task:
        return []
    one, other = there.task[task].head, model.plan.recipe.task[task].head
    free = getattr(HEADS[other.kind], "free_keys", OF_A_HEAD) | TRAINED
    return [f"head.{text}" for text in changed(one, other, free)]


def changed(then: Table, now: Table, free: Collection[str]) -> Iterator[str]:
    """`alpha was 4.0 and is 40.0`, of every key but those that may change; of another kind that alone."""
    before, after = then.model_dump(), now.model_dump()
    if before.get("kind") != after.get("kind"):
        yield f"kind was {before.get('kind')!r} and is {after.get('kind')!r}"
        return
    for key in after:
        if key not in free and key in before and before[key] != after[key]:
            yield f"{key} was {before[key]!r} and is {after[key]!r}"


def _free(table: ModalityTable, is_read: bool) -> frozenset[str]:
    """Pooling comes after the encoder: it concerns the adapters that read the modality, and not its own tensors."""
    return table.free_keys if is_read else table.free_keys | {"pool"}


def adapter_of(plan: Plan, key: str) -> str:
    """The adapter that a tensor belongs to, by its name in the recipe; "" for those of no adapter."""
    child = key.partition(".adapters.")[2].partition(".")[0]
    return next((graft.adapter for graft in plan.grafts if graft.child == child), child)


def parts(plan: Plan, keys: Iterable[str]) -> str:
    """`adapter fuse (4 tensors), head of answer (2 tensors)`: what a user calls the places of these tensors."""
    counts: dict[str, int] = {}
    for key in keys:
        part = _part(plan, key)
        counts[part] = counts.get(part, 0) + 1
    return ", ".join(f"{part} ({count} tensor{'s' * (count > 1)})" for part, count in counts.items())


def _part(plan: Plan, key: str) -> str:
    top, _, rest = key.partition(".")
    name = rest.partition(".")[0]
    if adapter := adapter_of(plan, key):
        return f"adapter {adapter}"
    if top == "encoders":
        return f"{'tower' if key.startswith(path_of(name)) else 'encoder'} of {name}"
    words = {
        "projections": f"projection of {name}",
        "segments": "segments",
        "join": "fusion",
        "heads": f"head of {name}",
    }
    return words.get(top, top)
