"""Which names a module or a function binds, and how: by the rules of Python's scopes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal, NamedTuple

from .sources import Module

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Inner = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef

How = Literal[
    "value",  # the node is what is assigned
    "annotation",  # ... says what it is
    "parameter",  # ... is the `ast.arg`
    "import",  # ... is the Import
    "function",  # ... is the `def`
    "class",
    "entered",  # ... is what a `with` enters
    "other",  # a loop, an unpacking, an `except`: nothing is known of it
]


class Import(NamedTuple):
    """``from base import name``; of ``import base`` the name is empty."""

    base: str
    name: str = ""


class Binding(NamedTuple):
    how: How
    node: Any


class Scope:
    """A module, or a function within one. ``node`` is what it is the inside of."""

    def __init__(
        self,
        module: Module,
        node: ast.Module | FunctionNode,
        outer: Scope | None = None,
        owner: Any = None,
    ) -> None:
        self.module = module
        self.node = node
        self.outer = outer
        self.owner = owner  # the class of a method
        self.globals: set[str] = set()
        self.stars: list[str] = []  # modules of which all names are imported

    @cached_property
    def bindings(self) -> dict[str, list[Binding]]:
        found: dict[str, list[Binding]] = {}
        arguments = getattr(self.node, "args", None)
        if isinstance(arguments, ast.arguments):
            for each in parameters(arguments):
                found.setdefault(each.arg, []).append(Binding("parameter", each))
        for node in own_nodes(self.node):
            if isinstance(node, ast.Global):
                self.globals.update(node.names)
            for name, binding in self._bound_by(node):
                found.setdefault(name, []).append(binding)
        for name in self.globals:
            found.pop(name, None)
        return found

    def find(self, name: str) -> tuple[Scope, list[Binding]] | None:
        """Where a name is bound that is read here."""
        scope: Scope | None = self
        while scope is not None:
            bindings = scope.bindings.get(name)
            if bindings is not None:
                return scope, bindings
            scope = scope.whole if name in scope.globals else scope.outer
        return None

    @property
    def whole(self) -> Scope:
        """The module's scope."""
        scope = self
        while scope.outer is not None:
            scope = scope.outer
        return scope

    def _bound_by(self, node: ast.AST) -> Iterator[tuple[str, Binding]]:
        match node:
            case ast.Import():
                for alias in node.names:
                    base = alias.name if alias.asname else alias.name.partition(".")[0]
                    yield alias.asname or base, Binding("import", Import(base))
            case ast.ImportFrom():
                base = absolute(node, self.module)
                for alias in node.names:
                    if alias.name == "*":
                        self.stars.append(base)
                    else:
                        binding = Binding("import", Import(base, alias.name))
                        yield alias.asname or alias.name, binding
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name, Binding("function", node)
            case ast.ClassDef():
                yield node.name, Binding("class", node)
            case ast.Assign():
                for target in node.targets:
                    yield from _targets(target, Binding("value", node.value))
            case ast.AnnAssign():
                yield from _targets(node.target, Binding("annotation", node.annotation))
            case ast.NamedExpr():
                yield from _targets(node.target, Binding("value", node.value))
            case ast.withitem(optional_vars=ast.expr() as target):
                yield from _targets(target, Binding("entered", node.context_expr))
            case ast.For() | ast.AsyncFor() | ast.comprehension():
                yield from _targets(node.target, Binding("other", node))
            case ast.ExceptHandler(name=str() as name):
                yield name, Binding("other", node)
            case ast.MatchAs(name=str() as name) | ast.MatchStar(name=str() as name):
                yield name, Binding("other", node)
            case ast.MatchMapping(rest=str() as name):
                yield name, Binding("other", node)
            case _ if type(node).__name__ == "TypeAlias":  # `type Names = set[str]`, of Python 3.12
                named: Any = node
                yield from _targets(named.name, Binding("value", named.value))
            case _:
                pass


def parameters(arguments: ast.arguments) -> list[ast.arg]:
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [*given, *(each for each in (arguments.vararg, arguments.kwarg) if each is not None)]


def own_nodes(root: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a module's or a function's own body, in the order of the text: functions and
    classes in it are given, but not what is inside of them."""
    body = getattr(root, "body", [])
    pending = [body] if isinstance(body, ast.AST) else [*reversed(body)]
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, _Inner):
            pending.extend(reversed([*ast.iter_child_nodes(node)]))


def absolute(node: ast.ImportFrom, module: Module) -> str:
    """The dotted name of the module that ``from ... import`` means."""
    if not node.level:
        return node.module or ""
    parts = module.package.split(".") if module.package else []
    kept = parts[: len(parts) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _targets(target: ast.expr, binding: Binding) -> Iterator[tuple[str, Binding]]:
    if isinstance(target, ast.Name):
        yield target.id, binding
        return
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, Binding("other", binding.node)
