from __future__ import annotations

import io
from pathlib import Path

import pytest

from adaptkit.training import Callback, PlainReporter, RichReporter, console_reporter
from adaptkit.training.callbacks import Evaluated, RunStarted, SeedStarted, StepDone, Validated
from adaptkit.training.console import duration


def play(reporter: Callback) -> None:
    metrics = {"loss": 0.5, "accuracy": 0.75, "f1_macro": None}
    reporter.run_started(RunStarted(Path("runs/x"), "tiny", (0,), 1, 20, 50, 1000, "cpu", "16 samples"))
    reporter.seed_started(SeedStarted(0, 5))
    for step in range(6, 21):
        reporter.step_done(StepDone(0, 1, step, 20, 0.25, 0.001))
    reporter.validated(Validated(0, 1, 1, metrics, "accuracy", True))
    reporter.evaluated(Evaluated(0, "test", ("image",), metrics, "f1_macro"))
    reporter.note("something to know")
    reporter.run_finished(Path("runs/x"), 75.2)
    reporter.close()


def test_plain_lines() -> None:
    stream = io.StringIO()
    play(PlainReporter(stream))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "tiny: 50 of 1,000 parameters train (5.00 %) on cpu"
    assert "seed 0, continued at step 5" in lines
    assert [line for line in lines if "step " in line][1:] == [
        f"  step {step}/20  loss 0.2500  lr 0.001" for step in range(6, 21, 2)
    ]
    assert "  epoch 1/1  validation  loss 0.5000  accuracy 0.7500  (best)" in lines
    assert "  test without image  loss 0.5000  f1_macro -" in lines
    assert "  something to know" in lines
    assert lines[-1] == "finished in 1 min 15 s: runs/x"
    assert all(len(line) <= 80 for line in lines)


def test_a_terminal_gets_the_same_facts() -> None:
    stream = io.StringIO()
    play(RichReporter(stream))
    text = stream.getvalue()
    for fact in ("50 of 1,000", "accuracy 0.7500", "test without image", "something to know", "1 min 15 s"):
        assert fact in text


def test_which_reporter(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    assert isinstance(console_reporter(stream), PlainReporter)
    monkeypatch.setattr(stream, "isatty", lambda: True)
    assert isinstance(console_reporter(stream), RichReporter)


def test_the_library_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    play(Callback())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (3840, "1 h 04 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
