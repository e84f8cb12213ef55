"""Of which class the value of an expression is, as far as the code says so plainly."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from .meanings import (
    BEGINS,
    CONTEXT,
    GIVES,
    IS,
    RUNS,
    SET,
    Class,
    Function,
    Kind,
    Outside,
    Shared,
    outside,
)
from .scopes import Binding, Scope

if TYPE_CHECKING:
    from .names import Names

_LITERALS: dict[type[ast.expr], str] = {
    ast.Set: "set",
    ast.SetComp: "set",
    ast.List: "list",
    ast.ListComp: "list",
    ast.Dict: "dict",
    ast.DictComp: "dict",
    ast.Tuple: "tuple",
    ast.JoinedStr: "str",
}
# Annotations that stand for what is between their brackets.
_WRAPPERS = {"Optional", "Annotated", "Final", "ClassVar", "Required", "NotRequired", "ReadOnly"}
_SET_OPERATORS = ast.BitAnd | ast.BitOr | ast.BitXor | ast.Sub


class Kinds:
    def __init__(self, names: Names) -> None:
        self._names = names
        self._texts: dict[str, ast.expr | None] = {}
        self.contexts: set[ast.arg] = set()  # first parameters of workflows

    def of(self, expr: ast.expr, scope: Scope) -> Kind | None:
        return self._names.once((expr, scope, "kind"), lambda: self._of(expr, scope))

    def _of(self, expr: ast.expr, scope: Scope) -> Kind | None:
        match expr:
            case ast.Name(id=name):
                return self._of_name(name, scope)
            case ast.Attribute():
                return self._of_attribute(expr, scope)
            case ast.Call():
                return self._of_call(expr, scope, is_awaited=False)
            case ast.Await(value=ast.Call() as call):
                return self._of_call(call, scope, is_awaited=True)
            case ast.NamedExpr(value=inner) | ast.Starred(value=inner):
                return self.of(inner, scope)
            case ast.IfExp(body=body, orelse=other):
                return self.of(body, scope) or self.of(other, scope)
            case ast.BoolOp(values=[*_, last]):
                return self.of(last, scope)
            case ast.BinOp():
                return self._of_operator(expr, scope)
            case _:
                literal = _LITERALS.get(type(expr))
                return Kind(Outside(f"builtins.{literal}"), expr, scope) if literal else None

    def _of_name(self, name: str, scope: Scope) -> Kind | None:
        found = scope.find(name)
        if found is None:
            return None
        where, bindings = found
        if any(how == "import" for how, _ in bindings):
            known = self._names.meaning(ast.Name(name), where)
            return self.of_shared(known) if isinstance(known, Shared) else None
        for how, node in bindings:
            if how == "annotation":
                return self.annotated(node, where)
        first, *rest = [self._of_binding(each, where) for each in bindings]
        if first is None or any(each is None or each.of != first.of for each in rest):
            return None
        return first

    def of_shared(self, shared: Shared) -> Kind | None:
        return self._of_name(shared.name, self._names.whole(shared.module))

    def _of_binding(self, binding: Binding, where: Scope) -> Kind | None:
        match binding:
            case ("value" | "entered", node):
                return self.of(node, where)
            case ("parameter", arg):
                return self._of_parameter(arg, where)
            case _:
                return None

    def _of_parameter(self, arg: ast.arg, where: Scope) -> Kind | None:
        assert not isinstance(where.node, ast.Module)
        arguments = where.node.args
        if arg in self.contexts:
            return Kind(Outside(CONTEXT), ast.Name(arg.arg), where)
        if arg in (arguments.vararg, arguments.kwarg):
            return None
        if arg.annotation is not None:
            return self.annotated(arg.annotation, where.outer or where)
        if isinstance(where.owner, Class) and arg in [*arguments.posonlyargs, *arguments.args][:1]:
            return Kind(where.owner, ast.Name(arg.arg), where)
        if arg.arg == "ctx":
            return Kind(Outside(CONTEXT), ast.Name(arg.arg), where)
        return None

    def _of_attribute(self, expr: ast.Attribute, scope: Scope) -> Kind | None:
        known = self._names.meaning(expr, scope)
        if isinstance(known, Shared):
            return self.of_shared(known)
        if isinstance(known, Function):  # a property: others are not values
            is_property = any(last_part(each) in ("property", "cached_property")
                              for each in known.decorators)  # fmt: skip
            return self._returned(known) if is_property else None
        if isinstance(known, Outside):
            name = IS.get(known.name)
            return Kind(outside(name), expr, scope) if name else None
        base = self.of(expr.value, scope)
        if base is not None and isinstance(base.of, Class):
            return self._of_field(base.of, expr.attr)
        if expr.attr == "ctx":
            return Kind(Outside(CONTEXT), expr, scope)
        return None

    def _of_field(self, cls: Class, name: str) -> Kind | None:
        for each in self._names.with_bases(cls):
            for node in each.node.body:
                match node:
                    case ast.AnnAssign(target=ast.Name(id=target)) if target == name:
                        return self.annotated(node.annotation, each.scope)
                    case ast.FunctionDef(name="__init__"):
                        known = self._set_by_init(Function(node, each.scope, each), name)
                        if known is not None:
                            return known
                    case _:
                        pass
        return None

    def _set_by_init(self, init: Function, name: str) -> Kind | None:
        scope = self._names.inside(init)
        for node in ast.walk(init.node):
            match node:
                case ast.AnnAssign(target=ast.Attribute(value=ast.Name(id="self"), attr=attr)):
                    if attr == name:
                        return self.annotated(node.annotation, scope)
                case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"), attr=attr)]):
                    if attr == name:
                        return self.of(node.value, scope)
                case _:
                    pass
        return None

    def _of_call(self, call: ast.Call, scope: Scope, *, is_awaited: bool) -> Kind | None:
        known = self._names.meaning(call.func, scope)
        if isinstance(known, Class):
            return Kind(known, call, scope)
        if isinstance(known, Function):
            return self._returned(known) if known.is_async is is_awaited else None
        if not isinstance(known, Outside):
            return None
        if is_awaited:
            target = self._names.meaning(call.args[0], scope) if call.args else None
            is_run = known.name in RUNS | BEGINS and isinstance(target, Function)
            return self._returned(target) if is_run and isinstance(target, Function) else None
        name = GIVES.get(known.name, known.name)
        return Kind(outside(name), call, scope) if name else None

    def _returned(self, function: Function) -> Kind | None:
        if isinstance(function.node, ast.Lambda) or function.node.returns is None:
            return None
        return self.annotated(function.node.returns, function.scope)

    def _of_operator(self, expr: ast.BinOp, scope: Scope) -> Kind | None:
        left = self.of(expr.left, scope)
        if isinstance(expr.op, _SET_OPERATORS):
            right = self.of(expr.right, scope)
            if _is_set(left) or _is_set(right) or is_keys(expr.left) or is_keys(expr.right):
                return Kind(Outside(SET), expr, scope)
        if left is not None and left.name == "pathlib.Path":
            return left
        return None

    def annotated(self, annotation: ast.expr, scope: Scope) -> Kind | None:
        """What an annotation says; of a union its first part that is not None."""
        return self._names.once(
            (annotation, scope, "annotation"), lambda: self._annotated(annotation, scope)
        )

    def _annotated(self, annotation: ast.expr, scope: Scope) -> Kind | None:
        match annotation:
            case ast.Constant(value=str() as text):
                inner = self._parsed(text)
                return self.annotated(inner, scope) if inner is not None else None
            case ast.BinOp(op=ast.BitOr(), left=left, right=right):
                return self.annotated(left, scope) or self.annotated(right, scope)
            case ast.Subscript(value=base, slice=inner):
                first = inner.elts[0] if isinstance(inner, ast.Tuple) and inner.elts else inner
                if last_part(base) in _WRAPPERS:
                    return self.annotated(first, scope)
                if last_part(base) == "Union":
                    return self.annotated(first, scope)
                return self._instance(base, annotation, scope)
            case ast.Name() | ast.Attribute():
                return self._instance(annotation, annotation, scope)
            case _:
                return None

    def _instance(self, base: ast.expr, whole: ast.expr, scope: Scope) -> Kind | None:
        known = self._names.meaning(base, scope)
        if isinstance(known, Outside | Class):
            return Kind(known, whole, scope, is_annotation=True)
        alias = self._names.value_of(known, base, scope)
        if alias is None:
            return None
        value, where = alias
        if isinstance(value, ast.Call):
            is_new = self._names.meaning(value.func, where) == Outside("typing.NewType")
            return self.annotated(value.args[1], where) if is_new and value.args[1:] else None
        return self.annotated(value, where)

    def _parsed(self, text: str) -> ast.expr | None:
        if text not in self._texts:
            try:
                self._texts[text] = ast.parse(text, mode="eval").body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                self._texts[text] = None
        return self._texts[text]


def _is_set(kind: Kind | None) -> bool:
    return kind is not None and kind.name == SET


def is_keys(expr: ast.expr) -> bool:
    """Whether it is ``x.keys()``: what the operators of sets give of those is a set."""
    match expr:
        case ast.Call(func=ast.Attribute(attr="keys"), args=[], keywords=[]):
            return True
        case _:
            return False


def last_part(expr: ast.expr) -> str:
    """The last part of a dotted name, be it called or not."""
    if isinstance(expr, ast.Call):
        expr = expr.func
    return expr.id if isinstance(expr, ast.Name) else getattr(expr, "attr", "")
