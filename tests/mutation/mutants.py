"""Small mistakes in a module, each as one replaced piece of its text."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.mutation.rules import UNSEEN_KEYWORDS, empty, parts, seen_nodes, unseen

ROOT = Path(__file__).parents[2]
PACKAGES = ("surgery", "adapters", "artifact")

COMPARISONS = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}
ARITHMETIC = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.MatMult: ("@", "*"),
    ast.BitOr: ("|", "&"),
    ast.BitAnd: ("&", "|"),
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake.

    Attributes:
        path: of the module, from the root of the project.
        start, end: bytes of its text that are replaced.
        new: what takes their place.
        line: where they begin, from 1.
        lines: first and last line of the statement, or of the head of a compound one.
        function: it lies in one; else it acts when the module is imported.
        sort: the kind of mistake.
        tests: the only files that may find it; empty: every test that covers it.
    """

    path: str
    start: int
    end: int
    new: str
    line: int
    lines: tuple[int, int]
    function: bool
    sort: str
    tests: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.path}:{self.start}-{self.end} {self.sort}" + "".join(f" in {test}" for test in self.tests)

    def text(self) -> str:
        """The whole module with the mistake."""
        source = (ROOT / self.path).read_bytes()
        return (source[: self.start] + self.new.encode() + source[self.end :]).decode()

    def is_another(self) -> bool:
        """Python reads another program, not the same one or none."""
        with suppress(SyntaxError):
            return ast.dump(ast.parse(self.text())) != ast.dump(ast.parse((ROOT / self.path).read_bytes()))
        return False

    def diff(self) -> str:
        before, after = (ROOT / self.path).read_text(encoding="utf-8"), self.text()
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), self.path, self.path, n=2, lineterm="")
        return "\n".join(lines)


def named_mutants() -> list[Mutant]:
    """Two that survived once, always among those tried: the second was to be found by the law on silent failures."""
    return [
        replaced("adaptkit/artifact/initial.py", '{graft.child}."', '{graft.child}"', "without the trailing dot"),
        replaced(
            "adaptkit/adapters/lora.py",
            'alpha / (math.sqrt(rank) if scaling == "rank_stabilized" else rank)',
            "1.0",
            "alpha ignored",
            ("tests/laws/test_silent_failures.py",),
        ),
    ]


def replaced(path: str, old: str, new: str, sort: str, tests: tuple[str, ...] = ()) -> Mutant:
    """A mutant by its text, which the module has once."""
    text = (ROOT / path).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
    before = text[: text.index(old)]
    start, line = len(before.encode()), before.count("\n") + 1
    return Mutant(path, start, start + len(old.encode()), new, line, (line, line), True, sort, tests)


def chosen_mutants(count: int, seed: int) -> list[Mutant]:
    """So many of all modules, at most one of a line, and the named ones before them. The same seed chooses the same."""
    chance, found, lines = Random(seed), named_mutants(), set[tuple[str, int]]()
    every = [each for path in modules() for each in Module(path).mutants()]
    for each in chance.sample(every, len(every)):
        if len(found) == count:
            break
        if (each.path, each.line) not in lines and each.is_another():
            lines.add((each.path, each.line))
            found.append(each)
    return found


def modules() -> list[str]:
    folders = (ROOT / "adaptkit" / package for package in PACKAGES)
    return [path.relative_to(ROOT).as_posix() for folder in folders for path in sorted(folder.glob("*.py"))]


class Module:
    """The text of a module, its tree, and where every node lies.

    Args:
        path: from the root of the project.
    """

    def __init__(self, path: str) -> None:
        self.path, self.bytes = path, (ROOT / path).read_bytes()
        self.tree = ast.parse(self.bytes)
        self.starts = [0]
        for line in self.bytes.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def mutants(self) -> Iterator[Mutant]:
        yield from self.of_body(self.tree.body, function=False, above=1)

    def of_body(self, body: list[ast.stmt], function: bool, above: int) -> Iterator[Mutant]:
        for statement in body:
            if not unseen(statement):
                yield from self.of_statement(statement, function, above)

    def of_statement(self, statement: ast.stmt, function: bool, above: int) -> Iterator[Mutant]:
        inside = function or isinstance(statement, ast.FunctionDef)
        heads, bodies = parts(statement)
        first = statement.lineno
        last = max((head.end_lineno or first for head in heads), default=first)
        for head in heads:
            for node in seen_nodes(head):
                for start, end, new, sort in self.changes(node):
                    line = self.bytes.count(b"\n", 0, start) + 1
                    yield Mutant(self.path, start, end, new, line, (first, last), function, sort)
        if isinstance(statement, ast.Break | ast.Continue):
            first = above  # Python itself leaves such a line out where it can jump
        if function:
            for start, end, new, sort in self.statement_changes(statement):
                yield Mutant(self.path, start, end, new, statement.lineno, (first, last), function, sort)
        for body in bodies:
            yield from self.of_body(body, inside, statement.lineno)

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def between(self, left: ast.expr, right: ast.expr, old: str) -> tuple[int, int]:
        """Where the operator stands between its two sides; brackets and line ends are there too."""
        begin, stop = self.span(left)[1], self.span(right)[0]
        pattern = rf"\b{old}\b".replace(" ", r"\s+") if old[0].isalpha() else re.escape(old)
        found = re.search(pattern.encode(), self.bytes[begin:stop])
        assert found, f"{self.path}:{left.lineno}: no {old}"
        return begin + found.start(), begin + found.end()

    def changes(self, node: ast.AST) -> Iterator[tuple[int, int, str, str]]:
        """Start, end, replacement and sort of every mistake at one expression."""
        match node:
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                yield self.exchanged(left, right, *COMPARISONS[type(operator)])
            case ast.BoolOp(op=operator, values=[left, right, *_]):
                yield self.exchanged(left, right, *(("and", "or") if isinstance(operator, ast.And) else ("or", "and")))
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in ARITHMETIC:
                yield self.exchanged(left, right, *ARITHMETIC[type(operator)])
            case ast.UnaryOp(op=ast.Not() | ast.USub() as operator):
                word, start = "not" if isinstance(operator, ast.Not) else "-", self.span(node)[0]
                yield start, start + len(word), "", f"without {word}"
            case ast.IfExp(test=test):
                yield *self.span(test), f"not ({self.of(test)})", "condition turned round"
            case ast.comprehension(ifs=[test, *_]):
                yield *self.span(test), "True", "condition left out"
            case ast.Call(args=arguments, keywords=[*keywords]):
                yield from self.fewer_arguments(arguments, keywords)
            case ast.Constant() | ast.JoinedStr():
                yield from self.other_constants(node)

    def other_constants(self, node: ast.Constant | ast.JoinedStr) -> Iterator[tuple[int, int, str, str]]:
        value = node.value if isinstance(node, ast.Constant) else ""
        if isinstance(value, str) and " " not in value.strip():  # else it is a sentence
            text = self.of(node)
            start = self.span(node)[0] + text.index('"' if '"' in text else "'") + 1
            yield start, start, "XX", "another text"
        elif isinstance(value, bool | int | float):
            new = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value * 2 or 1.0
            yield *self.span(node), repr(new), f"{value} -> {new}"

    def exchanged(self, left: ast.expr, right: ast.expr, old: str, new: str) -> tuple[int, int, str, str]:
        return *self.between(left, right, old), new, f"{old} -> {new}"

    def fewer_arguments(
        self, arguments: list[ast.expr], keywords: list[ast.keyword]
    ) -> Iterator[tuple[int, int, str, str]]:
        before: ast.expr | ast.keyword | None = arguments[-1] if arguments else None
        for keyword in keywords:
            if keyword.arg and keyword.arg not in UNSEEN_KEYWORDS and before is not None:
                end = self.span(before)[1]
                gap = self.bytes[end : self.span(keyword)[0]].decode()
                start = end + gap.index(",")
                yield start, self.span(keyword)[1], "", f"without {keyword.arg}="
            before = keyword

    def statement_changes(self, statement: ast.stmt) -> Iterator[tuple[int, int, str, str]]:
        match statement:
            case ast.If(test=test) | ast.While(test=test) if not isinstance(test, ast.Compare | ast.UnaryOp):
                yield *self.span(test), f"not ({self.of(test)})", "condition turned round"
            case ast.Expr(value=ast.Call()):
                yield *self.span(statement), "pass", "call left out"
            case ast.Return(value=ast.expr() as value) if not empty(value):
                yield *self.span(value), "None", "returns None"
            case ast.AugAssign(target=target, value=value):
                begin, stop = self.span(target)[1], self.span(value)[0]
                yield begin, stop, " = ", "assigned instead of added"
            case ast.Raise():
                yield *self.span(statement), "pass", "raises nothing"
            case ast.Break() | ast.Continue():
                new = "continue" if isinstance(statement, ast.Break) else "break"
                yield *self.span(statement), new, f"{new} instead"
            case ast.Delete():
                yield *self.span(statement), "pass", "deletes nothing"

    def of(self, node: ast.expr) -> str:
        start, end = self.span(node)
        return self.bytes[start:end].decode()
