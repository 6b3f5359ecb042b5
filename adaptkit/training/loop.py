"""The training of one seed, in the order in which it happens.

model -> optimizer -> epochs of steps, each with a validation and a checkpoint -> artifact of the best state -> test
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import nn

from adaptkit.artifact.initial import Sources, initialise
from adaptkit.artifact.save import fingerprints, refuse_moved, save_artifact
from adaptkit.data.loading import Batch, Loader
from adaptkit.errors import Diverged
from adaptkit.evaluation.material import Material, droppable
from adaptkit.evaluation.measure import Measured
from adaptkit.evaluation.predicting import write_predictions
from adaptkit.model import AdaptedModel, build_model
from adaptkit.plan import Plan
from adaptkit.surgery import observe_changes
from adaptkit.tasks.task import Task
from adaptkit.training.batches import batch_groups, fit_encoders, loss_shares, odd_vectors, total_steps
from adaptkit.training.callbacks import Callbacks, Evaluated, SeedStarted, StepDone, Validated
from adaptkit.training.checkpoint import LOWER_RATE, Best, Progress, Training, load_best, save_best
from adaptkit.training.interrupt import Stop
from adaptkit.training.keeping import keep_frozen
from adaptkit.training.log import Log, open_log
from adaptkit.training.machine import build_accelerator, memory_errors
from adaptkit.training.mixing import build_batching
from adaptkit.training.notes import idle_note, still_notes, typical
from adaptkit.training.optimizers import build_optimizer, idle_adapters
from adaptkit.training.result import SeedResult, Splits, read_result, write_result
from adaptkit.training.rng import preserved_rng_state, restore_rng_state, rng_state, seed_everything
from adaptkit.training.schedules import LRSchedule


@dataclass(frozen=True, slots=True)
class Run:
    """What the seeds of a run share.

    Attributes:
        path: the run folder.
        plan: what is built.
        material: data and tasks.
        initial: what the model starts from.
        callbacks: events go here.
        stop: asked between two batches.
    """

    path: Path
    plan: Plan
    material: Material
    initial: Sources
    callbacks: Callbacks
    stop: Stop


def train_seed(run: Run, seed: int, folder: Path) -> SeedResult:
    """Train (or go on training) one seed; its result is read back if it was finished before.

    Args:
        run: what all seeds share.
        seed: this one.
        folder: gets checkpoints/, predictions/ and artifact/.

    Raises:
        StopRequested: a stop was asked for; the state is saved.
        Diverged: loss, gradient or parameters are not finite; the last finite state is saved.
        OutOfMemory: a batch does not fit.
        RunError: something moved what is frozen; there is no artifact then.
    """
    plan, spec, checkpoints = run.plan, run.plan.recipe.train, folder / "checkpoints"
    done = read_result(folder)
    if done is not None:
        return done

    model = build_model(plan, seed=seed)
    published = fingerprints(model)
    keep = partial(keep_frozen, model, run.material, run.callbacks.note, run.stop.check)
    fresh = run.initial == Sources()
    if fresh:
        keep(whole=True)
    fit_encoders(model, run.material.data.splits["train"], spec)
    notes = [*initialise(model, run.initial), *odd_vectors(model, run.material.data.splits["train"])]
    for text in notes:
        run.callbacks.note(text)
    if not fresh:  # what it starts from may lie in the frozen part
        keep(whole=True)
    keep(whole=False)
    before = fingerprints(model) if model.initialised else published
    if spec.gradient_checkpointing:
        model.enable_gradient_checkpointing()

    seed_everything(seed)
    with memory_errors():
        progress = fit(run, model, seed, checkpoints)
        best = load_best(checkpoints)
        model.load_trainable_state(best.trainable)
        refuse_moved(model, before, where=str(run.path))
        save = saver(model, folder / "artifact", published, seed, spec.seeds)
        save({"validation": best.metrics})  # what was learnt is safe, whatever the test meets
        metrics, ablations, warnings = test(run, model, best, seed, folder / "predictions")
        save(metrics)

    score, told = run.material.monitor.score(best.metrics), tuple(dict.fromkeys([*notes, *warnings]))
    result = SeedResult(seed, metrics, ablations, score, progress.best_epoch, progress.epoch, progress.step, told)
    write_result(folder, result)
    return result


def saver(
    model: AdaptedModel, folder: Path, published: Mapping[str, str], seed: int, seeds: Sequence[int]
) -> Callable[[Splits], Path]:
    """What writes the artifact with the metrics known so far, in place of an earlier one."""
    several = f"Trained with seed {seed}, one of {len(seeds)} ({', '.join(map(str, seeds))})."
    return lambda metrics: save_artifact(
        model,
        folder,
        base_fingerprint=published[""],
        tower_fingerprints={name: found for name, found in published.items() if name},
        metrics=metrics,
        seed=seed,
        note=several if len(seeds) > 1 else "",
        force=True,
    )


def fit(run: Run, model: AdaptedModel, seed: int, checkpoints: Path) -> Progress:
    """Train to the last epoch, from the last checkpoint if there is one."""
    spec, tasks, samples = run.plan.recipe.train, run.material.tasks, run.material.data.splits["train"]
    batching = build_batching(run.plan.recipe, samples, dict(model.named_encoders()), seed)
    loader = Loader(samples, run.material.collate(model, training=True), spec.workers)
    total = total_steps(spec, batching.count)

    accelerator = build_accelerator(spec.precision)
    model.to(accelerator.device)
    optimizer = build_optimizer(
        model,
        name=spec.optimizer.name,
        lr=spec.optimizer.lr,
        weight_decay=spec.optimizer.weight_decay,
        **spec.optimizer.options,
    )
    schedule = LRSchedule(
        optimizer, name=spec.schedule.name, warmup=spec.schedule.warmup, total=total, **spec.schedule.options
    )
    prepared: Any = accelerator.prepare_optimizer(optimizer)
    training = Training(model, prepared, schedule, accelerator, checkpoints, spec.checkpoint_interval)
    if told := training.resume():
        run.callbacks.note(told)
    now = training.progress
    run.callbacks.seed_started(SeedStarted(seed, now.step))
    if now.finished:
        return now

    with training.saving(), open_log(run.path, run.plan.recipe, seed, step=now.step) as log:
        log.forget_after(step=now.step, epochs=now.epoch)
        while not now.finished:
            every, steps = batching(now.epoch), 0 if now.stopped else total - now.step
            key = (seed, now.epoch)
            for group in batch_groups(loader, every, spec, start=now.batch, steps=steps, key=key):
                first, lr = training.idle is None, schedule.lr
                loss = train_step(training, tasks, group, clip=spec.clip)
                if first and training.idle:
                    run.callbacks.note(idle_note(training.idle))
                now.count(len(group), loss)
                if now.step % spec.log_every == 0 or now.step == total:
                    log.write("train", epoch=now.epoch + 1, step=now.step, values={"loss": now.mean_loss(), "lr": lr})
                seen = sum(len(batch["ids"]) for batch in group)
                told = StepDone(seed, now.epoch + 1, now.step, total, loss, lr, seen)
                now.stopped = bool(run.callbacks.step_done(told))
                run.stop.check()
                if now.stopped:
                    break
                training.save_if_due()
            end_epoch(run, training, log, last=now.step >= total)
            training.save()
    return now


def train_step(training: Training, tasks: Mapping[str, Task], group: Sequence[Batch], *, clip: float | None) -> float:
    """One optimizer step over the group; returns the mean loss of its samples.

    Every batch weighs by what the task counts in it (samples, or tokens), so a short last batch or a short last group
    counts right and accumulation equals one large batch (up to class weights, which normalise within a batch).

    Raises:
        Diverged: loss or gradient is not finite; the parameters are as before the step.
    """
    model, optimizer, accelerator = training.model, training.optimizer, training.accelerator
    before = rng_state()
    losses = []
    model.train()
    for batch, shares in zip(group, loss_shares(tasks, group), strict=True):
        batch = send_to_device(batch, accelerator.device)
        with accelerator.autocast():
            logits = model(batch["inputs"], targets=batch["targets"], tasks=batch["targets"])
        # Losses in float32: in half precision a sum over a batch loses digits.
        terms = [part * tasks[name].loss(logits[name].float(), batch["targets"][name]) for name, part in shares.items()]
        loss = torch.stack(terms).sum()
        accelerator.backward(loss)
        losses.append(loss.detach())
    mean = float(torch.stack(losses).sum())

    trained = [parameter for kind in optimizer.param_groups for parameter in kind["params"]]
    if clip is not None:
        norm = accelerator.clip_grad_norm_(trained, clip)
        assert norm is not None, "a single process always has a norm"
    else:
        norm = nn.utils.get_total_norm([parameter.grad for parameter in trained if parameter.grad is not None])
    scaled = accelerator.scaler is not None  # a scaler skips steps with infinite gradients by itself
    if not math.isfinite(mean) or not (scaled or math.isfinite(norm)):
        optimizer.zero_grad()
        restore_rng_state(before)  # the step was not made, so nothing was drawn for it
        what = "gradient" if math.isfinite(mean) else "loss"
        raise Diverged(f"the {what} is not finite any more (loss {mean}).", hint=LOWER_RATE)
    if training.idle is None:
        training.idle = tuple(idle_adapters(model))

    optimizer.step()
    if not optimizer.step_was_skipped:
        training.schedule.after_step()
    optimizer.zero_grad()
    return mean


def end_epoch(run: Run, training: Training, log: Log, *, last: bool) -> None:
    """Validate, keep the state if it is the best so far, and see whether to go on after what may be the last epoch."""
    spec, monitor, now = run.plan.recipe.train, run.material.monitor, training.progress
    with preserved_rng_state(), observe_changes() as seen:
        found = run.material.measure(training.model, "validation", between=run.stop.check)
    score, changes = monitor.score(found.metrics), seen.ratios(training.model)
    training.schedule.after_validation(score)

    stopping = spec.early_stopping
    best = now.judge(score, stopping.min_delta if stopping else 0.0)
    if best:
        state = training.model.trainable_state()
        save_best(training.checkpoints, Best(state, found.metrics, found.warnings, changes))
    early = stopping is not None and now.stale >= stopping.patience
    now.epoch, now.batch = now.epoch + 1, 0
    last = last or now.epoch >= spec.epochs
    now.finished = last or early or now.stopped

    of_adapters = {"change": typical(changes)}
    if changes:
        log.write("adapters", epoch=now.epoch, step=now.step, values=of_adapters, details={"places": changes})
    log.write("validation", epoch=now.epoch, step=now.step, values={**found.metrics, "best": best})
    told = Validated(log.seed, now.epoch, spec.epochs, found.metrics, monitor.name, best, of_adapters["change"])
    if run.callbacks.validated(told):
        now.stopped = now.finished = True
    if now.finished and not last:
        why = "a callback asked for it" if now.stopped else f"no better {monitor.name} for {now.stale} epochs"
        run.callbacks.note(f"stopped early: {why}")


def test(
    run: Run, model: AdaptedModel, best: Best, seed: int, predictions: Path
) -> tuple[Splits, dict[str, Splits], list[str]]:
    """Metrics of every split, those of `test` without each modality, and why a metric is undefined.

    The validation split was measured in the best state already.
    """
    data, tasks, monitor = run.material.data, run.material.tasks, run.material.monitor.name
    metrics: Splits = {"validation": best.metrics}
    warnings = [f"validation: {text}" for text in best.warnings] + [*still_notes(best.changes)]

    def look(split: str, drop: tuple[str, ...] = ()) -> Measured:
        found = run.material.measure(model, split, drop=drop, between=run.stop.check)
        run.callbacks.evaluated(Evaluated(seed, split, drop, found.metrics, monitor))
        without = f" without {', '.join(drop)}" if drop else ""
        warnings.extend(f"{split}{without}: {text}" for text in found.warnings)
        return found

    for split in run.material.tests:
        found = look(split)
        metrics[split] = found.metrics
        write_predictions(predictions / f"{split}.jsonl", tasks, found.parts, data.splits[split])
    dropped = droppable(run.plan) if "test" in data.splits else ()
    ablations: dict[str, Splits] = {name: {"test": look("test", (name,)).metrics} for name in dropped}
    for text in dict.fromkeys(warnings):
        run.callbacks.note(text)
    return metrics, ablations, warnings
