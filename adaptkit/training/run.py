"""`adaptkit train`: a run folder, every seed trained in it, and the summary."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from adaptkit.artifact.initial import sources
from adaptkit.atomic import json_text, new_folder, sweep, write_json, write_text
from adaptkit.data import DataSet
from adaptkit.data.files import record_files
from adaptkit.data.glance import glance
from adaptkit.data.target_faults import check_targets
from adaptkit.errors import AdaptkitError, Diverged, Interrupted, Problem
from adaptkit.evaluation.material import gather
from adaptkit.evaluation.monitor import check_monitor_runs
from adaptkit.model.memory import check_memory
from adaptkit.plan import Plan, make_plan
from adaptkit.recipe import Recipe, bundled_folder, digest, resolved_toml
from adaptkit.training.batches import total_steps
from adaptkit.training.callbacks import Callback, Callbacks, RunStarted
from adaptkit.training.folder import FILES, RunInfo, create_run, held, set_status
from adaptkit.training.interrupt import Stop, StopRequested
from adaptkit.training.log import tracker_classes
from adaptkit.training.loop import Run, train_seed
from adaptkit.training.machine import build_accelerator, changes, environment
from adaptkit.training.mixing import epoch_length
from adaptkit.training.pace import Pace
from adaptkit.training.result import RunResult, SeedResult, best_of, mean, std
from adaptkit.training.resume import resumed, run_to_resume

ENVIRONMENT = "env.json"


def train(
    recipe: Recipe | Plan,
    *,
    data: Any = None,
    callbacks: Iterable[Callback] = (),
    runs: Path = Path("runs"),
    resume: bool | Path = False,
    force: bool = False,
) -> RunResult:
    """Train a recipe and write its run folder.

    Ctrl-C (or SIGTERM) finishes the step, saves and raises Interrupted; with `resume` it goes on, and on the CPU ends
    as an uninterrupted run, bit for bit. A second Ctrl-C stops at once.

    Args:
        recipe: a recipe, or the plan made of it.
        data: taken instead of `[data]` (but for its `drop`): a dict of `train`, `validation` and test splits, or one
            dataset, of which a tenth each becomes `validation` and `test`. A dataset is map-style (torch's), a list of
            dicts, or one of Hugging Face; it gives a dict column -> value, and the same values every time.
        callbacks: what is told of the progress, and may end the training; see `Callback`.
        runs: folder that the run goes into, as `<runs>/<recipe>/<timestamp>-<hash>/`.
        resume: continue the newest unfinished run of this very recipe, or the run folder given here.
        force: replace a run folder of the same name.

    Raises:
        ArtifactError: an adapter's `init_from` cannot be read.
        DataError: the data is missing or does not hold what the recipe says.
        UnavailableError: a tracker of the recipe is not installed, or the machine cannot do its precision or compute
            what it monitors.
        RunError: the run folder exists or cannot be written, there is nothing to resume, or what is frozen moved.
        Diverged: loss, gradient or parameters are not finite; the last good state is kept.
        OutOfMemory: a batch does not fit.
        Interrupted: the user stopped it; the state is saved.
    """
    began = time.monotonic()
    told = Callbacks([*callbacks, pace := Pace()])
    plan = make_plan(recipe, data=data) if isinstance(recipe, Recipe) else recipe
    seeds = plan.recipe.train.seeds
    tracker_classes(plan.recipe)
    device = str(build_accelerator(plan.recipe.train.precision).device)
    check_memory(plan, device)
    initial, material = sources(plan), gather(plan, data)
    check_targets(material.data, material.tasks)
    check_monitor_runs(material.tasks)
    begin = partial(_begin, plan=plan, data=material.data, device=device, told=told)
    if resume:
        info = run_to_resume(runs, plan.recipe, material.data.hash, named=None if resume is True else Path(resume))
    else:
        keys = {"name": plan.recipe.name, "digest": digest(plan.recipe), "data": material.data.hash}
        info = create_run(runs, **keys, fill=begin, force=force)
    holding = resumed(info, plan.recipe, material.data) if resume else held(info)
    with holding, _closing(info, plan, told), Stop() as stop:
        if resume:
            _continue(set_status(info, "running").path, begin, device, told)
        run = _announced(Run(info.path, plan, material, initial, told, stop), device, anew=not resume)
        results = [train_seed(run, seed, seed_folder(info.path, seeds, seed)) for seed in seeds]
        result = _finish(run, results, time.monotonic() - began, pace)
        set_status(info, "finished")
        told.run_finished(info.path, result.seconds)
    return result


def seed_folder(run: Path, seeds: list[int], seed: int) -> Path:
    """The run folder itself for a single seed, else `seeds/<seed>` in it."""
    return run if len(seeds) == 1 else run / "seeds" / str(seed)


@contextmanager
def _closing(run: RunInfo, plan: Plan, callbacks: Callback) -> Iterator[None]:
    """Record how the run ended, whatever ended it."""
    try:
        yield
    except (StopRequested, KeyboardInterrupt) as stopped:
        set_status(run, "interrupted")
        saved = "saved" if isinstance(stopped, StopRequested) else "that of the last checkpoint"
        source = plan.recipe.source
        name = source.stem if source is not None and source.parent == bundled_folder() else source or "RECIPE"
        raise Interrupted(
            f"interrupted; the state is {saved}.",
            where=str(run.path),
            hint=f"Continue with the same command and --resume: adaptkit train {name} --resume",
        ) from None
    except Diverged as error:
        set_status(run, "diverged", str(error))
        raise _placed(error, run.path) from error
    except BaseException as error:
        set_status(run, "failed", str(error) or type(error).__name__)
        raise
    finally:
        callbacks.close()


def _placed(error: Diverged, run: Path) -> AdaptkitError:
    """The same error with the run in it, where the last good state lies."""
    problem = error.problems[0]
    message = f"{problem.message} The last good state is kept in the run's checkpoints."
    return Diverged.all([Problem(message, problem.where or str(run), problem.hint)])


def _begin(folder: Path, plan: Plan, data: DataSet, device: str, told: Callback) -> int:
    """Write the first files of a run, as far as they are not there; how many files of the data were recorded."""
    recipe = plan.recipe
    resolved = resolved_toml(recipe)
    texts = {
        "recipe.toml": recipe.text or resolved,
        "resolved.toml": resolved,
        "plan.json": json_text(plan.as_dict()),
        ENVIRONMENT: json_text({**environment(device), "recipe_folder": str(recipe.base.resolve())}),
    }
    for name, text in texts.items():
        if not (folder / name).exists():
            write_text(folder / name, text)
    if not (folder / FILES).exists():
        return record_files(data.files(), folder / FILES, recipe.base.resolve(), told.note)
    return 0


def _continue(folder: Path, begin: Callable[[Path], int], device: str, told: Callback) -> None:
    """Sweep what a crash left half written, write first files that are missing, note what is another machine."""
    for each in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sweep(each)
    if begin(folder):
        told.note(f"{folder / FILES} was not there, so whether files of the data changed before now is not known")
    for text in changes(folder / ENVIRONMENT, environment(device)):
        told.note(text)


def _announced(run: Run, device: str, *, anew: bool) -> Run:
    """The run itself, of which the callbacks know now; and what is odd with its data, where it begins `anew`."""
    run.callbacks.run_started(_started(run, device))
    for text in (*run.plan.notes, *(glance(run.material.data, run.plan.recipe.task) if anew else ())):
        run.callbacks.note(text)
    return run


def _started(run: Run, device: str) -> RunStarted:
    spec, counts, data = run.plan.recipe.train, run.plan.parameters, run.material.data
    return RunStarted(
        run=run.path,
        name=run.plan.recipe.name,
        seeds=tuple(spec.seeds),
        epochs=spec.epochs,
        steps=total_steps(spec, epoch_length(run.plan.recipe, data.splits["train"])),
        trainable=counts.trainable,
        total=counts.total,
        device=device,
        data=data.description,
    )


def _finish(run: Run, results: list[SeedResult], seconds: float, pace: Pace) -> RunResult:
    """Bring the best seed's artifact and predictions to the top, and write summary.json."""
    best = best_of(results)
    source = seed_folder(run.path, run.plan.recipe.train.seeds, best.seed)
    if source != run.path:
        for name in ("artifact", "predictions"):
            with new_folder(run.path / name, replace=True) as temporary:
                shutil.copytree(source / name, temporary, dirs_exist_ok=True)
    result = RunResult(
        run=run.path,
        artifact=run.path / "artifact",
        metrics=mean([r.metrics for r in results]) if len(results) > 1 else best.metrics,
        ablations=mean([r.ablations for r in results]) if len(results) > 1 else best.ablations,
        parameters=run.plan.parameters.as_dict(),
        seconds=round(seconds, 3),
        seconds_per_sample=pace.seconds_per_sample,
        monitor=run.material.monitor.name,
        best_seed=best.seed,
        std=std([r.metrics for r in results]),
        ablations_std=std([r.ablations for r in results]),
        per_seed={str(r.seed): r.as_dict() for r in results},
        warnings=tuple(dict.fromkeys(text for r in results for text in r.warnings)),
    )
    write_json(run.path / "summary.json", {"status": "finished", **result.as_dict()})
    return result
