"""Recipe -> plan -> training -> evaluation, as functions. The command line does the same.

A shortened quickstart:      python examples/train_from_python.py
Any key can be changed:      python examples/train_from_python.py adapter.fuse.bottleneck=16
"""

from __future__ import annotations

import sys
from pathlib import Path

import adaptkit as ak
from adaptkit.training import console_reporter

SHORT = ["data.questions_per_image=4"]


def main(sets: list[str], runs: Path = Path("runs")) -> None:
    try:
        recipe = ak.load_recipe("quickstart", sets=[*SHORT, *sets])
        plan = ak.make_plan(recipe)  # proves sites, widths and counts; reads no weights
    except ak.AdaptkitError as error:
        sys.exit(str(error))
    for graft in plan.grafts:
        print(f"+ {graft.kind} at {graft.site.name} of layer {graft.site.layer}: {graft.parameters:,}")
    counts = plan.parameters
    print(f"{counts.trainable:,} of {counts.total:,} parameters train ({counts.percent:.2f} %)")

    result = ak.train(plan, runs=runs, callbacks=[console_reporter()])
    print(f"trained in {result.seconds:.0f} s; the artifact is {result.artifact}")
    found = ak.evaluate(result.artifact, splits=["test"])  # from disk, as a reader of the artifact would
    accuracy = {"with the image": found.metrics["test"]["accuracy"]}
    accuracy["without it"] = found.ablations["image"]["test"]["accuracy"]
    print(", ".join(f"{name} {value:.3f}" for name, value in accuracy.items()))

    model = ak.load_artifact(result.artifact)
    print(f"loaded: {sum(t.numel() for t in model.trainable_state().values()):,} trained numbers")


if __name__ == "__main__":
    main(sys.argv[1:])
