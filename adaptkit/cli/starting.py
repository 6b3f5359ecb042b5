"""`adaptkit init` and `adaptkit schema`: a commented starter recipe, and what an editor checks it with."""

from __future__ import annotations

import json as json_text
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from adaptkit.atomic import write_text
from adaptkit.cli.answer import Answer
from adaptkit.cli.options import Force, Json, Plugins
from adaptkit.errors import RunError, UsageError, nearest

NAME_LINE = re.compile(r'^name\s*=\s*(["\']).*?\1', re.MULTILINE)


def init(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name of the recipe; the file is NAME.toml.", show_default=False),
    ] = "",
    template: Annotated[
        str,
        typer.Option("--from", metavar="TEMPLATE", help='Bundled recipe to start from ("adaptkit list recipes").'),
    ] = "quickstart",
    force: Force = False,
    json: Json = False,
) -> Answer:
    """Write a commented starter recipe into this folder."""
    from adaptkit.recipe.bundled import bundled_names, bundled_path

    templates = bundled_names()
    if template not in templates:
        raise UsageError(
            f"no bundled recipe is called {template!r}.", where="--from", hint=nearest(template, templates)
        )
    path = _target(name or f"my_{template}")
    text, named = NAME_LINE.subn(f'name = "{path.stem}"', bundled_path(template).read_text(encoding="utf-8"), count=1)
    assert named, f"the bundled recipe {template} has no name"
    text = text.replace('"../', '"')  # bundled recipes lie in recipes/, and this one in the folder around it
    _write(path, text, force)

    def show(out: Console) -> None:
        out.print(f"wrote {path} (from the bundled recipe {template})", soft_wrap=True)
        out.print("next:")
        for verb, purpose in (
            ("validate", "check it"),
            ("plan", "see the surgery before a weight is loaded"),
            ("train", "train it"),
        ):
            line = f"  adaptkit {verb} {path}"
            out.print(f"{line:<40}  # {purpose}", soft_wrap=True)

    return Answer({"path": path, "template": template, "name": path.stem}, show)


def schema(plugins: Plugins = None, json: Json = False) -> Answer:
    """Print the JSON schema of recipes, for editors.

    A TOML editor checks and completes with it.
    Save it and put this line on top of a recipe:  #:schema ./recipe.schema.json
    """
    from adaptkit.recipe import json_schema

    document = json_schema()
    text = json_text.dumps(document, indent=2, ensure_ascii=False)
    return Answer({"schema": document}, lambda out: out.print(text, soft_wrap=True))


def _target(name: str) -> Path:
    path = Path(name)
    path = path if path.suffix == ".toml" else path.with_name(path.name + ".toml")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", path.stem):
        raise UsageError(
            f"{path.stem!r} cannot name a recipe.",
            where="NAME",
            hint="Use letters, digits, '_', '-' and '.'.",
        )
    return path


def _write(path: Path, text: str, force: bool) -> None:
    if not path.parent.is_dir():
        raise RunError("the folder does not exist.", where=str(path.parent), hint=f"mkdir -p {path.parent}")
    if path.exists() and not force:
        raise UsageError("exists already.", where=str(path), hint="Give another NAME, or --force.")
    write_text(path, text)
