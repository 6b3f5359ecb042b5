from __future__ import annotations

import json
from pathlib import Path

from adaptkit.training.log import MetricsLog, forget_after


def test_lines_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    """The validation of an epoch comes at its last step, where a checkpoint may have been written before it."""
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for seed in (0, 1):
        for epoch, step in ((1, 2), (1, 4), (2, 6), (2, 8)):
            log.write("train", seed=seed, epoch=epoch, step=step, values={"loss": 0.5})
            if step in (4, 8):
                log.write("validation", seed=seed, epoch=epoch, step=step, values={"loss": 0.5})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"kind": "tr')
    forget_after(path, seed=1, step=4, epochs=0)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len([line for line in lines if line["seed"] == 0]) == 6
    assert [(line["kind"], line["step"]) for line in lines if line["seed"] == 1] == [("train", 2), ("train", 4)]
    forget_after(path, seed=0, step=4, epochs=1)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["kind"] for line in lines if line["seed"] == 0] == ["train", "train", "validation"]
