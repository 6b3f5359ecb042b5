"""Writes the pages of the documentation that come from the code: `make docs`."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

COMMANDS_INTRODUCTION = """\
# Command line

<!-- Generated from the help texts by docs/generate.py; edit them there. -->

Results go to stdout, progress and notes to stderr. Every command has `--json`: see [JSON](json.md).
In a pipe or a file, tables are one line per row with tabs between the cells, the header first, nothing broken or cut:
`adaptkit list recipes | cut -f1`. `COLUMNS=100` gives the drawn ones there, too. At a terminal a line on stderr
says that a command is under way. `adaptkit --install-completion` teaches the shell commands, options and recipes;
`--show-completion` prints the script.

What `plan` and `inspect` said is kept in the system's folder for caches (`~/.cache/adaptkit` on Linux), and said
again at once while the recipe, its data, the models and everything that is installed are the same.
`ADAPTKIT_CACHE=FOLDER` names another folder, `ADAPTKIT_CACHE=off` keeps nothing. It may be deleted at any time.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a bug in adaptkit; `ADAPTKIT_DEBUG=1` shows the traceback |
| 2 | the command line is wrong, or would overwrite something |
| 3 | the recipe is wrong |
| 4 | data, a run or an artifact is missing, damaged or cannot be written |
| 5 | an insertion point does not exist, or a shape cannot work |
| 6 | out of memory |
| 7 | a model, package or device is not available here |
| 8 | the training diverged; the last good state is kept |
| 130 | interrupted; the state is saved |
"""


def main() -> None:
    from adaptkit.recipe import reference_markdown

    (FOLDER / "recipe.md").write_text(reference_markdown(), encoding="utf-8")
    (FOLDER / "commands.md").write_text(commands_markdown(), encoding="utf-8")


def commands_markdown() -> str:
    """The help of every command, as it reads at 100 columns."""
    from adaptkit.cli.app import COMMANDS, context_of

    os.environ["COLUMNS"] = "100"
    parts = [COMMANDS_INTRODUCTION]
    for entry in COMMANDS:
        with context_of(entry.name) as context:
            parts.append(f"## adaptkit {entry.name}\n\n```text\n{context.get_help()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    main()
