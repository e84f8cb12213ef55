"""What an expression names.

Read from imports, definitions, annotations and assignments. Whatever is not plain is unknown
(``None``), and what is unknown is no finding.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

from .kinds import Kinds
from .meanings import IS, Class, Function, Inside, Kind, Meaning, Outside, Shared, outside
from .scopes import Binding, FunctionNode, Import, Scope
from .sources import Library, Module

T = TypeVar("T")

# Names are followed through so many others; more is a riddle, or a circle.
DEPTH_MAX = 40


class Names:
    """Answers for all modules of a library."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.kinds = Kinds(self)
        self.notes: dict[Module, set[Shared]] = {}  # what `looks.shared` has found out
        self.workflows: dict[Module, set[FunctionNode]] = {}
        self._wholes: dict[Module, Scope] = {}
        self._inner: dict[FunctionNode, Scope] = {}
        self._asking: set[Hashable] = set()
        self._answers: dict[Hashable, object] = {}
        self._unsure: dict[Hashable, object] = {}
        self._cuts = 0

    def whole(self, module: Module) -> Scope:
        """The scope of a module."""
        if module not in self._wholes:
            self._wholes[module] = Scope(module, module.tree)
        return self._wholes[module]

    def inside(self, function: Function) -> Scope:
        """The scope of a function's own variables."""
        if function.node not in self._inner:
            self._inner[function.node] = Scope(
                function.module, function.node, function.scope, function.owner
            )
        return self._inner[function.node]

    def once(self, question: Hashable, answer: Callable[[], T]) -> T | None:
        """The answer; None where it is a circle or too far. One that rests on such a None is
        remembered only for as long as the first question is open: asked by itself it may have
        a better one."""
        if question in self._answers:
            return cast("T | None", self._answers[question])
        if question in self._unsure:
            self._cuts += 1
            return cast("T | None", self._unsure[question])
        if question in self._asking or len(self._asking) > DEPTH_MAX:
            self._cuts += 1
            return None
        before = self._cuts
        self._asking.add(question)
        try:
            found = answer()
        finally:
            self._asking.discard(question)
        (self._answers if self._cuts == before else self._unsure)[question] = found
        if not self._asking:
            self._unsure.clear()
        return found

    def kind(self, expr: ast.expr, scope: Scope) -> Kind | None:
        """Of which class the value of an expression is."""
        return self.kinds.of(expr, scope)

    def meaning(self, expr: ast.expr, scope: Scope) -> Meaning | None:
        """What a name or an attribute stands for."""
        if isinstance(expr, ast.Name):
            name = expr.id
            return self.once((name, scope), lambda: self._of_name(name, scope))
        if isinstance(expr, ast.Attribute):
            attribute = expr
            return self.once((expr, scope), lambda: self._of_attribute(attribute, scope))
        return None

    def _of_name(self, name: str, scope: Scope) -> Meaning | None:
        found = scope.find(name)
        if found is None:
            starred = self._of_star(name, scope.whole)
            if starred is None and hasattr(builtins, name):
                return outside(f"builtins.{name}")
            return starred
        where, bindings = found
        if where.outer is None:
            return self.of_module(where.module, name)
        return self._of_local(bindings, where)

    def _of_local(self, bindings: list[Binding], where: Scope) -> Meaning | None:
        how, node = bindings[-1]
        match how:
            case "function":
                return Function(node, where)
            case "class":
                return Class(node, where)
            case "import":
                return self._imported(node, where.module)
            case "value" if len(bindings) == 1:
                return self.meaning(node, where)
            case _:
                return None

    def of_module(self, module: Module, name: str) -> Meaning | None:
        """What a name means that is read from a module."""
        return self.once((module, name), lambda: self._of_module(module, name))

    def _of_module(self, module: Module, name: str) -> Meaning | None:
        scope = self.whole(module)
        bindings = scope.bindings.get(name)
        if bindings is None:
            below = self.library.find(f"{module.name}.{name}", module)
            return Inside(below) if below is not None else self._of_star(name, scope)
        for how, node in reversed(bindings):
            if how == "function":
                return Function(node, scope)
            if how == "class":
                return Class(node, scope)
        for how, node in bindings:
            if how == "import":
                return self._imported(node, module)
        how, node = bindings[-1]
        alias = self.meaning(node, scope) if how == "value" else None
        return alias or Shared(module, name)

    def _of_star(self, name: str, whole: Scope) -> Meaning | None:
        assert whole.bindings is not None  # the stars are found with them
        for base in whole.stars:
            module = self.library.find(base, whole.module)
            found = outside(f"{base}.{name}") if module is None else self.of_module(module, name)
            if found is not None and not hasattr(builtins, name):
                return found
        return None

    def _imported(self, node: Import, near: Module) -> Meaning | None:
        module = self.library.find(node.base, near)
        if not node.name:
            return Inside(module) if module is not None else outside(node.base)
        if module is not None:
            return self.of_module(module, node.name)
        below = self.library.find(f"{node.base}.{node.name}", near)
        return Inside(below) if below is not None else outside(f"{node.base}.{node.name}")

    def _of_attribute(self, expr: ast.Attribute, scope: Scope) -> Meaning | None:
        match self.meaning(expr.value, scope):
            case Outside(name):
                name = IS.get(name, name)
                below = self.library.find(f"{name}.{expr.attr}", scope.module)
                return Inside(below) if below is not None else outside(f"{name}.{expr.attr}")
            case Inside(module):
                return self.of_module(module, expr.attr)
            case Class() as cls:
                return self.member(cls, expr.attr)
            case Function():
                return None
            case _:
                kind = self.kind(expr.value, scope)
        if kind is None:
            return None
        if isinstance(kind.of, Class):
            return self.member(kind.of, expr.attr)
        return outside(f"{kind.of.name}.{expr.attr}")

    def member(self, cls: Class, name: str) -> Meaning | None:
        """A method of a class, by its bases too."""
        for each in self.with_bases(cls):
            for node in each.node.body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
                    return Function(node, each.scope, each)
        return None

    def with_bases(self, cls: Class) -> list[Class]:
        """It and its bases in the project, nearest first."""
        found = [cls]
        for each in found:
            for base in each.node.bases:
                inner = base.value if isinstance(base, ast.Subscript) else base
                known = self.meaning(inner, each.scope)
                if isinstance(known, Class) and known not in found:
                    found.append(known)
        return found

    def value_of(
        self, known: Meaning | None, expr: ast.expr, scope: Scope
    ) -> tuple[ast.expr, Scope] | None:
        """What a variable was set to, once, and the scope of that."""
        if isinstance(known, Shared):
            scope = self.whole(known.module)
            name = known.name
        elif isinstance(expr, ast.Name):
            name = expr.id
        else:
            return None
        found = scope.find(name)
        if found is None or len(found[1]) != 1 or found[1][0].how != "value":
            return None
        return found[1][0].node, found[0]
