"""A piece of workflow code: the nodes of a function, each with its scope and its parents."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from .meanings import BEGINS, RUNS, Class, Function, Kind, Meaning, Outside
from .names import Names
from .scopes import FunctionNode, Scope
from .sources import Module

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Step(NamedTuple):
    """``name`` was called at this line."""

    name: str
    module: Module
    line: int


class Body:
    """``chain`` is how a workflow comes here: its caller, that one's caller, … the workflow."""

    def __init__(
        self,
        names: Names,
        name: str,
        roots: list[ast.AST],
        scope: Scope,
        chain: tuple[Step, ...] = (),
    ) -> None:
        self.names = names
        self.name = name
        self.roots = roots
        self.scope = scope
        self.module = scope.module
        self.chain = chain
        self._parents: dict[ast.AST, ast.AST | None] = {}
        self._scopes: dict[ast.AST, Scope] = {}
        self._read()

    @classmethod
    def of(cls, names: Names, function: Function, chain: tuple[Step, ...] = ()) -> Body:
        """What is run when a function is called."""
        body = function.node.body
        roots: list[ast.AST] = [body] if isinstance(body, ast.expr) else [*body]
        made = cls(names, function.name, roots, names.inside(function), chain)
        made._leave_out(made._run_elsewhere())
        return made

    def __iter__(self) -> Iterator[ast.AST]:
        """All nodes, in the order of the text."""
        return iter(self._scopes)

    def __contains__(self, node: object) -> bool:
        return node in self._scopes

    @property
    def is_workflow(self) -> bool:
        """Whether it is a workflow's own code, not that of what it calls."""
        return not self.chain

    def parent(self, node: ast.AST) -> ast.AST | None:
        return self._parents.get(node)

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """Its parents, the nearest first."""
        parent = self._parents.get(node)
        while parent is not None:
            yield parent
            parent = self._parents.get(parent)

    def scope_of(self, node: ast.AST) -> Scope:
        return self._scopes[node]

    def function_of(self, node: ast.AST) -> FunctionNode | None:
        """The innermost function that a node is in; None: the body's own."""
        for each in self.above(node):
            if isinstance(each, _FUNCTIONS):
                return each
        return None

    def meaning(self, expr: ast.expr) -> Meaning | None:
        return self.names.meaning(expr, self._scopes.get(expr, self.scope))

    def kind(self, expr: ast.expr) -> Kind | None:
        return self.names.kind(expr, self._scopes.get(expr, self.scope))

    def is_called(self, call: ast.AST, *names: str) -> bool:
        """Whether it is a call of one of these, by dotted name."""
        if not isinstance(call, ast.Call):
            return False
        known = self.meaning(call.func)
        return isinstance(known, Outside) and known.name in names

    def _read(self) -> None:
        pending: list[tuple[ast.AST, ast.AST | None, Scope]] = [
            (root, None, self.scope) for root in reversed(self.roots)
        ]
        while pending:
            node, parent, scope = pending.pop()
            self._parents[node] = parent
            self._scopes[node] = scope
            inner = scope
            if isinstance(node, _FUNCTIONS):
                owner = Class(parent, scope) if isinstance(parent, ast.ClassDef) else None
                inner = self.names.inside(Function(node, scope, owner))
            pending.extend(
                (child, node, inner if is_inside else scope)
                for child, is_inside in reversed([*_children(node)])
            )

    def _leave_out(self, functions: set[ast.AST]) -> None:
        if functions:
            kept = [node for node in self._scopes if functions.isdisjoint(self.above(node))]
            self._scopes = {node: self._scopes[node] for node in kept}

    def _run_elsewhere(self) -> set[ast.AST]:
        """Functions within this one that are only handed to ``ctx.activity`` and the like."""
        inner = {n.name: n for n in self._scopes
                 if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}  # fmt: skip
        if not inner:
            return set()
        handed: set[str] = set()
        kept: set[str] = set()
        for node in self._scopes:
            if isinstance(node, ast.Name) and node.id in inner:
                (handed if self.is_handed_over(node) else kept).add(node.id)
        return {
            node for name, node in inner.items()
            if (name in handed and name not in kept) or decorated(self.names, node,
                                                                  self._scopes[node], "activity")
        }  # fmt: skip

    def is_handed_over(self, node: ast.AST) -> bool:
        """Whether it is an argument of a verb that runs or begins it elsewhere, or of a call that
        such a verb is handed to, as in ``push_async_callback(ctx.activity, refund)``."""
        call = self._parents.get(node)
        if not isinstance(call, ast.Call) or node is call.func:
            return False
        return any(
            isinstance(known := self.meaning(each), Outside) and known.name in RUNS | BEGINS
            for each in (call.func, *call.args)
        )


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """What is run of a node; True: inside of it. Annotations are not run, nor are decorators, as
    far as we are concerned."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from ((each, False) for each in node.args.defaults)
            yield from ((each, False) for each in node.args.kw_defaults if each is not None)
            yield from ((each, True) for each in node.body)
        case ast.Lambda():
            yield from ((each, False) for each in node.args.defaults)
            yield node.body, True
        case ast.ClassDef():
            yield from ((each, False) for each in node.body)
        case ast.AnnAssign():
            yield from ((each, False) for each in (node.target, node.value) if each is not None)
        case _:
            yield from ((each, False) for each in ast.iter_child_nodes(node))


def decorated(names: Names, node: ast.AST, scope: Scope, kind: str) -> bool:
    """Whether a function is decorated with ``@activity`` or ``@workflow``, in any spelling."""
    return any(decorates(names, each, scope, kind) for each in getattr(node, "decorator_list", []))


def decorates(
    names: Names, expr: ast.expr, scope: Scope, kind: str, seen: frozenset[ast.expr] = frozenset()
) -> bool:
    """Whether it is ``activity``, ``activity(...)``, or a name for one of those. ``seen``: what was
    asked for on the way; a name may be made of itself."""
    first = expr
    while isinstance(expr, ast.Call):
        is_partial = names.meaning(expr.func, scope) == Outside("functools.partial")
        expr = expr.args[0] if is_partial and expr.args else expr.func
    known = names.meaning(expr, scope)
    if known == Outside(f"durable.{kind}"):
        return True
    found = names.value_of(known, expr, scope)
    if found is None or not isinstance(found[0], ast.Call) or first in seen:
        return False
    return decorates(names, *found, kind, seen | {first})
