"""What of the COCO caption evaluation runs in Java: its tokenizer (PTB), METEOR and SPICE.

The jars are those of the package pycocoevalcap (the extra `captions`), of which no Python runs. Nothing is downloaded.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from adaptkit.errors import UnavailableError
from adaptkit.tasks.text_metrics.tokens import PUNCTUATION

PTB, METEOR = Path("tokenizer/stanford-corenlp-3.4.1.jar"), Path("meteor/meteor-1.5.jar")
SPICE = Path("spice/spice-1.0.jar")
MODELS = (Path("spice/lib/stanford-corenlp-3.6.0.jar"), Path("spice/lib/stanford-corenlp-3.6.0-models.jar"))
ENDS_A_LINE = str.maketrans(dict.fromkeys("\n\r\v\f\u2028\u2029", " "))  # for Java; a caption is one line
BAR = "|||"  # what parts the fields of METEOR's input

Captions = Sequence[str]


def lacking(*files: Path) -> str:
    """Why these files cannot be run with Java; "" where they can."""
    if shutil.which("java") is None:
        return "Java is not installed"
    home = _home()
    if home is None:
        return 'pycocoevalcap is not installed: pip install "adaptkit[captions]"'
    absent = [file.name for file in files if not (home / file).is_file()]
    return f"{', '.join(absent)} is not in {home / files[0].parts[0]}" if absent else ""


def ptb(texts: Captions) -> list[list[str]]:
    """The tokens of Stanford's PTB tokenizer, lower case, without punctuation, as the COCO evaluation has them.

    Raises:
        UnavailableError: Java or the jar is not there, or failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "captions.txt"
        file.write_text("".join(f"{text.translate(ENDS_A_LINE)}\n" for text in texts), encoding="utf-8")
        main = "edu.stanford.nlp.process.PTBTokenizer"
        options = [main, "-preserveLines", "-lowerCase", "-encoding", "UTF-8", str(file)]
        *lines, _ = _java(PTB, options, classpath=True).split("\n")
    if len(lines) != len(texts):
        raise UnavailableError(f"the PTB tokenizer gave {len(lines):,} lines for {len(texts):,} captions.")
    return [[token for token in line.split(" ") if token and token not in PUNCTUATION] for line in lines]


def meteor(predictions: Captions, references: Sequence[Captions], *, modules: str = "") -> tuple[float, list[float]]:
    """METEOR 1.5 of the corpus and of every caption, 0..1 (Denkowski & Lavie 2014), English, normalised.

    Args:
        predictions: (N,) captions, usually the tokens of `ptb` joined by blanks.
        references: (N,) their references.
        modules: what words are matched by: "exact stem", ...; all of them by default.

    Raises:
        UnavailableError: Java or the jar is not there, or failed.
    """
    options = ["-", "-", "-stdio", "-l", "en", "-norm", *(("-m", modules) if modules else ())]
    command = _command(METEOR, options)
    # one process for both questions, as starting it takes seconds; its messages are of no use
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing, encoding="utf-8") as process:
        counts = [_answer(process, "SCORE", *refs, one) for one, refs in zip(predictions, references, strict=True)]
        each = [float(_answer(process, "EVAL", *counts))]
        each += [float(_answer(process)) for _ in predictions]
    return each.pop(), each


def spice(predictions: Captions, references: Sequence[Captions]) -> float:
    """SPICE, mean over the captions (Anderson et al. 2016): F1 of the scene graphs.

    Its jar needs the models of CoreNLP 3.6.0 beside it, which pycocoevalcap does not bring along.

    Raises:
        UnavailableError: Java, the jar or the models are not there, or failed.
    """
    asked = [
        {"image_id": at, "test": one, "refs": list(refs)}
        for at, (one, refs) in enumerate(zip(predictions, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as scratch:
        given, told = Path(scratch) / "captions.json", Path(scratch) / "scores.json"
        given.write_text(json.dumps(asked), encoding="utf-8")
        options = [str(given), "-cache", scratch, "-out", str(told), "-subset", "-silent"]
        _java(SPICE, options, needs=MODELS)
        found = [item["scores"]["All"]["f"] for item in json.loads(told.read_text(encoding="utf-8"))]
    return sum(found) / len(found)


def _java(jar: Path, options: Sequence[str], *, needs: Sequence[Path] = (), classpath: bool = False) -> str:
    """What a jar prints."""
    command = _command(jar, options, needs=needs, classpath=classpath)
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnavailableError(f"{jar.name} ended with {done.returncode}: {last}")
    return done.stdout


def _command(jar: Path, options: Sequence[str], *, needs: Sequence[Path] = (), classpath: bool = False) -> list[str]:
    """The words that run a jar, once it is sure that it can."""
    if why := lacking(jar, *needs):
        raise UnavailableError(f"{jar.name} cannot run: {why}.")
    path = str(Path(str(_home())) / jar)
    return ["java", "-Xmx2G", "-Dfile.encoding=UTF-8", *(("-cp", path) if classpath else ("-jar", path)), *options]


def _answer(process: subprocess.Popen[str], *fields: str) -> str:
    """The next line of METEOR, after these fields as a line of its own where there are some."""
    assert process.stdin is not None, "a pipe"
    assert process.stdout is not None, "a pipe"
    with suppress(BrokenPipeError):  # it has ended, so that there is no answer
        process.stdin.write("".join(f" {BAR} ".join(map(_field, line)) + "\n" for line in [fields] if line))
        process.stdin.flush()
    if not (found := process.stdout.readline().strip()):
        raise UnavailableError(f"{METEOR.name} ended before it gave a score.")
    return found


def _home() -> Path | None:
    """The folder of pycocoevalcap, which is not imported."""
    spec = find_spec("pycocoevalcap")
    places = spec and spec.submodule_search_locations
    return Path(next(iter(places))) if places else None


def _field(text: str) -> str:
    return " ".join(text.translate(ENDS_A_LINE).replace(BAR, "").split())
