"""What the frozen part of the models gives for every sample, computed before the first epoch and kept on disk.

Each model that need not run, or not from its first block on, is tried on a few samples first: with what is kept it must
give what it gives without. Then the samples that are not there yet are computed, in their order in the data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adaptkit.amounts import in_bytes
from adaptkit.cache.entry import Entry, Rows
from adaptkit.cache.folder import make_room
from adaptkit.cache.identity import UnknowableError, identity
from adaptkit.errors import RunError
from adaptkit.evaluation.material import Material
from adaptkit.model import AdaptedModel
from adaptkit.model.frozen import described, folder_of
from adaptkit.model.kept import Kept
from adaptkit.model.replaying import NotKeptError
from adaptkit.plan.frontier import Frontier
from adaptkit.training.batches import total_steps
from adaptkit.training.machine import build_accelerator, memory_errors
from adaptkit.training.mixing import epoch_length
from adaptkit.training.trial import TRIED, Place, agree, computed

# S samples of a batch

SILENCE = 30.0  # seconds after which it is said how far it is


def keep_frozen(
    model: AdaptedModel, material: Material, tell: Callable[[str], None], between: Callable[[], None], *, whole: bool
) -> None:
    """What is the same in every epoch is computed before the first, where there is more than one; or just used.

    Args:
        model: as training starts from it, on the CPU.
        material: data and tasks.
        tell: gets what a user should know.
        between: called between two batches; what it raises ends it, and what was computed is kept.
        whole: of the models that do not run at all, which statistics of their vectors need; else of the others.

    Raises:
        RunError: there is no room, and the recipe wants that to be an error.
    """
    plan, spec = model.plan, model.plan.recipe.train
    frontiers = [each for each in plan.frontiers.values() if each.saves and each.whole == whole]
    folder = folder_of(plan.recipe)
    if folder is None or not frontiers:
        return
    batches = epoch_length(plan.recipe, material.data.splits["train"])
    passes = total_steps(spec, batches) * spec.accumulation / max(batches, 1) * len(spec.seeds)
    with memory_errors():
        model.to(build_accelerator(spec.precision).device)
        Keeping(model, material, folder, tell, between, fill=passes >= 2).run(frontiers)
        model.to("cpu")


@dataclass(frozen=True, slots=True)
class Keeping:
    """What of a run's data is kept, and who is told.

    Attributes:
        model: freshly built.
        material: data and tasks.
        folder: of what is kept.
        tell: gets what a user should know.
        between: called between two batches; what it raises ends it.
        fill: what is not there is computed; else only what is there is used.
    """

    model: AdaptedModel
    material: Material
    folder: Path
    tell: Callable[[str], None]
    between: Callable[[], None]
    fill: bool

    def run(self, frontiers: Sequence[Frontier]) -> None:
        """Let the model have what is kept of these frozen parts; compute what is not there."""
        recipe = self.model.plan.recipe
        for frontier in frontiers:
            try:
                found = self.kept(frontier)
            except NotKeptError as error:
                self.model.kept.pop(frontier.model, None)
                if recipe.cache.spill == "error" and isinstance(error, TooLargeError):
                    hint = 'Raise cache.max_gb, or write spill = "halve" or "compute".'
                    raise RunError(f"{named(frontier)}: {error}.", where="cache.spill", hint=hint) from None
                self.tell(f"cache: {named(frontier)} is computed in every epoch: {error}")
                continue
            if len(found.entry):
                self.model.kept[frontier.model] = found

    def kept(self, frontier: Frontier) -> Kept:
        """What is kept of a frozen part, complete.

        Raises:
            NotKeptError: it cannot be kept, or there is no room.
        """
        missing = self.missing(frontier)
        for dtype in dict.fromkeys((self.spec.dtype, "bfloat16" if self.spec.spill == "halve" else self.spec.dtype)):
            entry = Entry.of(self.folder, *described(self.model, frontier, dtype=dtype))
            for path in entry.damaged:
                self.tell(f"cache: {path} was damaged; it is computed anew")
            left = [place for key, place in missing.items() if key not in entry]
            there = [key for key in missing if key in entry][:TRIED]
            if there and (rows := entry.take(there)) is not None:
                agree(self.model, self.material, Kept(frontier, entry), rows, [missing[key] for key in there])
            if not left or not self.fill:
                return Kept(frontier, entry)
            try:
                self.filled(frontier, entry, missing, dtype)
            except TooLargeError:
                if dtype == "bfloat16" or self.spec.spill != "halve":
                    raise
                continue
            return Kept(frontier, entry)
        raise AssertionError("the last number format raises or returns")

    @property
    def spec(self) -> Any:
        return self.model.plan.recipe.cache

    def missing(self, frontier: Frontier) -> dict[bytes, Place]:
        """Who is to be kept, by identity: every sample of every split, equal ones once.

        Raises:
            NotKeptError: values of which nothing is known.
        """
        found: dict[bytes, Place] = {}
        absent = self.model.plan.recipe.data.drop
        for split in self.material.data.splits.values():
            for part in split.parts.values():
                for index, sample in enumerate(part.samples):
                    values = [None if n in absent else sample.inputs.get(n) for n in frontier.modalities]
                    try:
                        found.setdefault(identity(values), (part.samples, index))
                    except UnknowableError as error:
                        raise NotKeptError(f"its values are no plain data ({error})") from None
        return found

    def filled(self, frontier: Frontier, entry: Entry, every: Mapping[bytes, Place], dtype: str) -> None:
        """Compute what is not in the entry, batch by batch.

        Raises:
            TooLargeError: there is no room for it.
        """
        began = told = time.monotonic()
        with entry.filling():
            left = {key: place for key, place in every.items() if key not in entry}
            done = 0
            for keys, places in self.batches(left):
                self.between()
                rows, form = computed(self.model, self.material, frontier, places)
                if dtype != "computed":
                    rows = {name: each._replace(values=each.values.to(torch.bfloat16)) for name, each in rows.items()}
                if not done:
                    self.announce(frontier, entry, rows, len(keys), (len(left), len(every)))
                    entry.form = form
                    agree(self.model, self.material, Kept(frontier, entry), rows, places)
                entry.add(keys, rows, form)
                done += len(keys)
                if time.monotonic() - told > SILENCE:
                    told = time.monotonic()
                    self.tell(f"cache: {done:,} of {len(left):,} samples")
        if left:
            self.tell(f"cache: {named(frontier)} is kept, after {time.monotonic() - began:.0f} s")

    def announce(
        self, frontier: Frontier, entry: Entry, rows: Mapping[str, Rows], several: int, of: tuple[int, int]
    ) -> None:
        """Say how much it will be, and make room for it.

        Raises:
            TooLargeError: it does not fit.
        """
        size = sum(each.values.nbytes for each in rows.values())
        needed, most = round(size / several * of[0]), round(self.spec.max_gb * 1e9)
        if not make_room(entry.folder.parent, needed, most, entry.folder):
            raise TooLargeError(
                f"about {in_bytes(needed)} for {of[0]:,} of {of[1]:,} samples do not fit "
                f"(cache.max_gb = {self.spec.max_gb:g}, or the disk)"
            )
        amount = f"about {in_bytes(needed)} for {of[0]:,} of {of[1]:,} samples"
        self.tell(f"cache: {frontier}; {amount} are computed now, into {entry.folder}")

    def batches(self, left: Mapping[bytes, Place]) -> Iterator[tuple[list[bytes], list[Place]]]:
        """Samples of one source after another, in batches of the recipe's size."""
        train = self.model.plan.recipe.train
        size = train.eval_batch_size or train.batch_size
        keys: list[bytes] = []
        for key, place in left.items():
            if keys and (len(keys) == size or place[0] is not left[keys[-1]][0]):
                yield keys, [left[each] for each in keys]
                keys = []
            keys.append(key)
        if keys:
            yield keys, [left[each] for each in keys]


class TooLargeError(NotKeptError):
    """There is no room for it."""


def named(frontier: Frontier) -> str:
    return f"the tower of {frontier.model}" if frontier.model else "the backbone"
