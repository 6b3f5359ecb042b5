"""Help texts: plain, aligned, wrapped to the window, with the worked example last."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from typer.core import TyperCommand, TyperGroup

from adaptkit.cli.answer import console

WIDEST = 100  # longer lines are hard to read
GUTTER = 2


class HelpfulCommand(TyperCommand):
    """A command whose help is ours."""

    def get_help(self, ctx: Any) -> str:
        arguments: list[Any] = [param for param in self.get_params(ctx) if param.param_type_name == "argument"]
        words = [_metavar(param) if param.required else f"[{_metavar(param)}]" for param in arguments]
        parts = [
            f"Usage: {' '.join([ctx.command_path, *words, '[OPTIONS]'])}",
            _prose(self.help),
            _rows("Arguments", {_metavar(param): param.help or "" for param in arguments}),
            _rows("Options", _options(self.get_params(ctx))),
            self.epilog or "",
        ]
        return "\n\n".join(part for part in parts if part)


class HelpfulGroup(TyperGroup):
    """All commands, in panels that follow the order of work."""

    def get_help(self, ctx: Any) -> str:
        panels: dict[str, dict[str, str]] = {}
        for name, command in self.commands.items():
            first = inspect.cleandoc(command.help or "").partition("\n\n")[0]
            panels.setdefault(getattr(command, "rich_help_panel", None) or "Commands", {})[name] = first
        parts = [
            f"Usage: {ctx.command_path} COMMAND [OPTIONS]",
            _prose(self.help),
            *(_rows(panel, rows, least=max(map(len, self.commands))) for panel, rows in panels.items()),
            _rows("Options", _options(self.get_params(ctx))),
            self.epilog or "",
        ]
        return "\n\n".join(part for part in parts if part)


def _metavar(param: Any) -> str:
    return (param.metavar or param.name or "").strip("[]")


def _options(params: Iterable[Any]) -> dict[str, str]:
    rows = {}
    for param in params:
        if param.param_type_name == "option" and not getattr(param, "hidden", False):
            value = "" if param.is_flag else f" {_metavar(param)}"
            default = "" if param.is_flag or param.default in (None, "") else f" Default: {param.default}."
            rows[", ".join(sorted(param.opts, key=len)) + value] = (param.help or "") + default
    return rows


def _prose(text: str | None) -> str:
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(textwrap.fill(" ".join(p.split()), _width(), break_on_hyphens=False) for p in paragraphs)


def _rows(title: str, rows: Mapping[str, str], *, least: int = 0) -> str:
    """A titled list of two columns, the left one at least this wide."""
    if not rows:
        return ""
    left = max(least, *map(len, rows)) + 2 * GUTTER
    lines = [f"{title}:"]
    for name, text in rows.items():
        wrapped = textwrap.wrap(text, max(20, _width() - left), break_on_hyphens=False) or [""]
        lines.append(f"{' ' * GUTTER}{name}".ljust(left) + wrapped[0])
        lines += [" " * left + line for line in wrapped[1:]]
    return "\n".join(line.rstrip() for line in lines)


def _width() -> int:
    return min(console().width, WIDEST)
