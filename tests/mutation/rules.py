"""Which parts of a module mistakes are made in: not in those where no test could notice one.

A rule leaves out what no test could notice, or what only a reader sees; whatever else survives is a hole in the tests:

- docstrings, annotations, decorators, `__all__` and `__slots__`;
- what is told: the arguments of an exception, of a warning or of a log, values named in TOLD, sentences;
- assertions, which state what cannot happen;
- names of attributes that are put on modules of others, which begin with `adapter_` and stand in one place;
- `strict=` of a zip, which is one of them too, and `encoding=`, which is that of this machine;
- `device=`, `keep_vars=`, `.to(...)` and `.contiguous()`, `detach`, `no_grad`: tests have one device, and layout and
  memory are no result;
- imports under TYPE_CHECKING, aliases of types, the arguments of `cast` and of `TypeVar`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

TOLD = frozenset({"paper", "formula", "__all__", "__slots__", "message", "hint"})
SENTENCE = 25  # characters of a text with values in it that is told, and no key
UNSEEN_KEYWORDS = frozenset({"strict", "encoding", "device", "hint", "non_blocking", "keep_vars"})
UNSEEN_CALLS = frozenset({"cast", "TypeVar", "warn", "note", "info", "debug", "contiguous", "to", "detach", "no_grad"})


def empty(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def parts(statement: ast.stmt) -> tuple[list[ast.AST], list[list[ast.stmt]]]:
    """The expressions of a statement (of a function its defaults), and the bodies inside it."""
    bodies = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
    bodies += [handler.body for handler in getattr(statement, "handlers", [])]
    bodies += [case.body for case in getattr(statement, "cases", [])]
    match statement:
        case ast.FunctionDef(args=arguments):
            heads: list[ast.AST] = [*arguments.defaults, *(value for value in arguments.kw_defaults if value)]
        case ast.ClassDef():
            heads = []
        case ast.AnnAssign(value=value):
            heads = [value] if value else []
        case ast.Assign() | ast.AugAssign() | ast.Return() | ast.Expr():
            heads = [statement.value] if statement.value else []
        case ast.If(test=test) | ast.While(test=test):
            heads = [test]
        case ast.For(iter=source):
            heads = [source]
        case ast.With(items=items):
            heads = [item.context_expr for item in items]
        case ast.Match(subject=subject):
            heads = [subject]
        case _:
            heads = []
    return heads, bodies


def unseen(statement: ast.stmt) -> bool:
    """By rule: nothing in it is a result."""
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Pass():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Expr(value=ast.Call(func=function)):
            return called(function) in UNSEEN_CALLS
        case ast.Assign(targets=[ast.Name()], value=ast.Constant(value=str(attribute))):
            return attribute.startswith("adapter_")
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name in TOLD
    return False


def called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def seen_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it, without what is only told."""
    if isinstance(node, ast.Call):
        name = called(node.func)
        if name in UNSEEN_CALLS or name.endswith(("Error", "Warning", "Problem")):
            yield from seen_nodes(node.func)
            return
    if isinstance(node, ast.keyword) and node.arg in UNSEEN_KEYWORDS:
        return
    if isinstance(node, ast.Subscript) and called(node.value) in ("Literal", "Annotated", "Callable"):
        return
    if isinstance(node, ast.JoinedStr):
        if sum(len(part.value) for part in node.values if isinstance(part, ast.Constant)) < SENTENCE:
            yield node  # as one text: its parts have no right places before Python 3.12
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from seen_nodes(child)
