"""Finds what the table of names knows: clocks, chance, I/O, threads, other loops."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ..bodies import Body
from ..meanings import Outside
from ..rules import named
from .found import Found, written


def look(body: Body) -> Iterator[Found]:
    for node in body:
        if not isinstance(node, ast.Name | ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        known = body.meaning(node)
        if not isinstance(known, Outside):
            continue
        entry = named(known.name)
        if entry is None:
            continue
        parent = body.parent(node)
        name = known.name.removeprefix("builtins.")
        if isinstance(node, ast.Attribute):
            name = written(node).strip("`")
        if isinstance(parent, ast.Call) and parent.func is node:
            if entry.fewer is None or _arguments(parent) < entry.fewer:
                yield Found(entry.code, node, f"`{name}()`", entry.instead)
        elif entry.by_reading or (entry.by_name and _is_handed_on(parent)):
            yield Found(entry.code, node, f"`{name}`", entry.instead)


def _arguments(call: ast.Call) -> int:
    if any(isinstance(each, ast.Starred) for each in call.args):
        return 1_000
    if any(each.arg is None for each in call.keywords):
        return 1_000
    return len(call.args) + len(call.keywords)


def _is_handed_on(parent: ast.AST | None) -> bool:
    """Whether somebody gets it to call it."""
    return isinstance(parent, ast.Call | ast.keyword)
