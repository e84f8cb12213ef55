"""A finding, in words; and the comments that silence one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .bodies import Body, Step
from .looks.found import Found
from .rules import RULES
from .sources import Module, shown

_OK = re.compile(r"#\s*durable:\s*ok\b[\s:,;.\u2013\u2014-]*(?P<reason>.*)")
_NOQA = re.compile(r"#\s*noqa:\s*(?P<codes>[A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*)", re.IGNORECASE)
_REASONLESS = " (`# durable: ok` silences it if a reason follows.)"

Statement = ast.stmt | ast.ExceptHandler


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, at its place.

    Attributes:
        function: what it stands in.
        chain: how a workflow comes there: the caller, its caller, … the workflow; each with the
            line at which it calls. Empty in a workflow's own code.
    """

    code: str
    level: str
    path: str
    line: int
    column: int
    message: str
    advice: str
    function: str
    chain: tuple[Step, ...]

    @property
    def text(self) -> str:
        """As it is printed, without a trailing newline."""
        place = f"{self.path}:{self.line}:{self.column}"
        code = self.code if self.level == "error" else f"{self.code} ({self.level})"
        lines = [f"{place}: {code} {self.message} {self.advice}"]
        if self.chain:
            calls = (f"{each.name} at {shown(each.module.path)}:{each.line}" for each in self.chain)
            lines.append(f"    in {self.function}, called by {', called by '.join(calls)}")
        return "\n".join(lines)

    def facts(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "code": self.code,
            "level": self.level,
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "advice": self.advice,
            "function": self.function,
            "chain": [
                {"function": each.name, "path": shown(each.module.path), "line": each.line}
                for each in self.chain
            ],
        }


def told(body: Body, found: Found) -> Finding | None:
    """A finding as it is told; None if a comment silences it."""
    rule = RULES[found.code]
    advice = f"{found.instead or rule.instead}."
    for comment in _comments(body, found.node):
        noqa = _NOQA.search(comment)
        if noqa and found.code in re.split(r"[\s,]+", noqa["codes"].upper()):
            return None
        ok = _OK.search(comment)
        if ok and ok["reason"].strip():
            return None
        if ok:
            advice += _REASONLESS
    line, column = _place(body, found.node)
    return Finding(
        rule.code,
        rule.level,
        shown(body.module.path),
        line,
        column,
        f"{found.subject}: {rule.what}; {rule.why}.",
        advice,
        body.name,
        body.chain,
    )


def _place(body: Body, node: ast.AST) -> tuple[int, int]:
    """Line and column, from 1."""
    for each in (node, *body.above(node)):
        if isinstance(each, ast.expr | ast.stmt | ast.ExceptHandler | ast.keyword | ast.arg):
            before = body.module.lines[each.lineno - 1].encode()[: each.col_offset]
            return each.lineno, len(before.decode(errors="replace")) + 1
    return 1, 1


def _comments(body: Body, node: ast.AST) -> Iterator[str]:
    """Lines in which a comment would mean this node: its own, the first and the last of its
    statement, one that stands alone above, and the ``def`` lines of the functions around it."""
    line, _ = _place(body, node)
    numbers = {line}
    for each in (node, *body.above(node)):
        if isinstance(each, Statement):
            numbers |= _edges(each)
            break
    for function in (*body.above(node), body.scope.node):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _head(body.module, function)
    yield from _lines(body.module, numbers)


def _head(module: Module, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """The lines of its ``def``, but not a comment that stands over its first statement."""
    for line in module.lines[function.lineno - 1 : function.body[0].lineno - 1]:
        if not line.lstrip().startswith("#"):
            yield line


def _edges(statement: Statement) -> set[int]:
    first = getattr(statement, "body", None)
    if isinstance(first, list) and first:  # a block: its head
        last = max(first[0].lineno - 1, statement.lineno)
    else:
        last = statement.end_lineno or statement.lineno
    return {statement.lineno, last}


def _lines(module: Module, numbers: set[int]) -> Iterator[str]:
    for number in sorted(numbers):
        if 0 < number <= len(module.lines):
            yield module.lines[number - 1]
        above = module.lines[number - 2].strip() if 1 < number <= len(module.lines) + 1 else ""
        if above.startswith("#"):
            yield above
