"""One seed from the start to its artifact: build, train, measure with the best state, write."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptkit.artifact.initial import Sources, initialise
from adaptkit.artifact.save import fingerprints, save_artifact
from adaptkit.atomic import write_json
from adaptkit.evaluation.material import Material, droppable
from adaptkit.evaluation.measure import Measured, measure
from adaptkit.evaluation.monitor import Monitor, build_monitor
from adaptkit.evaluation.predicting import write_predictions
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import Plan
from adaptkit.training.batches import Epochs, load_batches
from adaptkit.training.chance import chance_untouched, seed_everything
from adaptkit.training.checkpoint import Best, Progress, load_best
from adaptkit.training.engine import Engine, build_accelerator, memory_errors
from adaptkit.training.interrupt import Stop
from adaptkit.training.log import Log, forget_after
from adaptkit.training.loop import SeedTraining, Validation, total_steps
from adaptkit.training.report import Evaluated, Reporter
from adaptkit.training.result import SeedResult, Splits


@dataclass(frozen=True, slots=True)
class SeedRun:
    """What the training of every seed of a run shares.

    Attributes:
        plan: what is built.
        material: data and tasks.
        log: numbers go here.
        report: events go here.
        stop: asked between two steps.
        metrics_file: metrics.jsonl of the run.
        initial: what the model starts from.
    """

    plan: Plan
    material: Material
    log: Log
    report: Reporter
    stop: Stop
    metrics_file: Path
    initial: Sources = field(default_factory=Sources)

    @property
    def monitor(self) -> Monitor:
        return build_monitor(self.material.tasks)

    def epochs(self, seed: int, model: AdaptedModel | None = None) -> Epochs:
        """The batches of a seed; without a model, only their number is of use."""
        train = self.plan.recipe.train
        return Epochs(
            self.material.data.splits["train"],
            self.material.collate(model) if model is not None else list,  # type: ignore[arg-type]
            seed,
            train.batch_size,
            train.accumulation,
            train.workers,
        )

    def run(self, seed: int, folder: Path) -> SeedResult:
        """Train (or go on training) one seed; its result is read back if it was finished before.

        Args:
            seed: the seed.
            folder: gets checkpoints/, predictions/ and artifact/.

        Raises:
            StopRequested, Diverged, OutOfMemory: see `SeedTraining.run`.
        """
        done = read_result(folder)
        if done is not None:
            return done
        model = build_model(self.plan, seed=seed)
        originals = fingerprints(model)
        epochs = self.epochs(seed, model)
        fit_encoders(model, epochs)
        notes = initialise(model, self.initial)
        for text in notes:
            self.report.note(text)
        started = fingerprints(model) if model.initialised else originals
        if self.plan.recipe.train.gradient_checkpointing:
            model.enable_gradient_checkpointing()
        seed_everything(seed)
        with memory_errors():
            progress = self._train(model, epochs, folder)
            best = load_best(folder / "checkpoints")
            model.load_trainable_state(best.trainable)
            result = self._measure(model, best, seed, folder, progress, notes)
        # Frozen means frozen: what was not to move has not moved by a bit.
        moving = {"": self.plan.unfrozen} | {name: tower.unfrozen for name, tower in self.plan.towers.items()}
        changed = {name for name, found in fingerprints(model).items() if found != started[name] and not moving[name]}
        assert not changed, f"the frozen backbone, or the frozen tower of a modality, has changed: {changed}"
        save_artifact(
            model,
            folder / "artifact",
            base_fingerprint=originals.pop(""),
            tower_fingerprints=originals,
            metrics=result.metrics,
            seed=seed,
            note=self._note(seed),
            force=True,
        )
        write_json(folder / "checkpoints" / RESULT, result.as_dict())
        return result

    def _train(self, model: AdaptedModel, epochs: Epochs, folder: Path) -> Progress:
        spec = self.plan.recipe.train
        engine = Engine(model, self.material.tasks, spec, total_steps(spec, epochs), build_accelerator(spec.precision))
        training = SeedTraining(
            model=model,
            engine=engine,
            epochs=epochs,
            validate=lambda check: self._validate(model, check),
            spec=spec,
            checkpoints=folder / "checkpoints",
            log=self.log,
            report=self.report,
            stop=self.stop,
        )
        training.begin()
        forget_after(self.metrics_file, seed=epochs.seed, step=training.progress.step)
        return training.run()

    def _validate(self, model: AdaptedModel, check: Callable[[], None]) -> Validation:
        with chance_untouched():
            found = self._split(model, "validation", between=check)
        return Validation(found.metrics, self.monitor.name, self.monitor.score(found.metrics), found.warnings)

    def _split(
        self,
        model: AdaptedModel,
        split: str,
        drop: Collection[str] = (),
        between: Callable[[], None] | None = None,
    ) -> Measured:
        train = self.plan.recipe.train
        return measure(
            model,
            self.material.tasks,
            self.material.data.splits[split],
            self.material.collate(model),
            batch_size=train.eval_batch_size or train.batch_size,
            precision=train.precision,
            drop=drop,
            between=between,
        )

    def _measure(
        self, model: AdaptedModel, best: Best, seed: int, folder: Path, progress: Progress, notes: tuple[str, ...]
    ) -> SeedResult:
        """The test splits and the ablations; the validation split was measured in this state already."""
        warnings = [f"validation: {text}" for text in best.warnings]
        metrics: Splits = {"validation": best.metrics}
        ablations: dict[str, Splits] = {}

        def look(split: str, drop: tuple[str, ...] = ()) -> Measured:
            found = self._split(model, split, drop, self.stop.check)
            self.report.evaluated(Evaluated(seed, split, drop, found.metrics, self.monitor.name))
            without = f" without {', '.join(drop)}" if drop else ""
            warnings.extend(f"{split}{without}: {text}" for text in found.warnings)
            return found

        for split in self.material.tests:
            found = look(split)
            metrics[split] = found.metrics
            self._write_predictions(folder, split, found)
        if "test" in self.material.data.splits:
            ablations = {name: {"test": look("test", (name,)).metrics} for name in droppable(self.plan)}
        for text in dict.fromkeys(warnings):
            self.report.note(text)
        score = self.monitor.score(metrics["validation"])
        told = tuple(dict.fromkeys([*notes, *warnings]))
        return SeedResult(seed, metrics, ablations, score, progress.best_epoch, progress.epoch, progress.step, told)

    def _write_predictions(self, folder: Path, split: str, found: Measured) -> None:
        columns = {name: self.material.data.targets(split, name) for name in self.material.tasks}
        targets = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        path = folder / "predictions" / f"{split}.jsonl"
        write_predictions(path, self.material.tasks, found.ids, found.logits, targets)

    def _note(self, seed: int) -> str:
        seeds = self.plan.recipe.train.seeds
        if len(seeds) == 1:
            return ""
        return f"Trained with seed {seed}, one of {len(seeds)} ({', '.join(map(str, seeds))})."


RESULT = "result.json"


def read_result(folder: Path) -> SeedResult | None:
    """The result of a seed that was finished before; None if it has to be (re)made."""
    try:
        content: dict[str, Any] = json.loads((folder / "checkpoints" / RESULT).read_text(encoding="utf-8"))
        return SeedResult(**{**content, "warnings": tuple(content["warnings"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def fit_encoders(model: AdaptedModel, epochs: Epochs) -> None:
    """Give encoders with `missing = "mean"` the mean of the training split."""
    indices = range(len(epochs.samples))
    chunks = [indices[at : at + epochs.batch_size] for at in range(0, len(indices), epochs.batch_size)]
    for name, encoder in model.encoders.items():
        if encoder.needs_fit and name not in model.plan.recipe.data.drop:
            batches = load_batches(epochs.samples, chunks, epochs.collate, epochs.workers)
            encoder.fit(batch["inputs"][name] for batch in batches)  # type: ignore[operator]
