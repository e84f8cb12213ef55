"""Workflow code: the functions under ``@workflow``, and what they call, and so on.

Activities are not followed into, nor what is handed to ``ctx.transaction``: that is where I/O
belongs. Breadth first, so that the chain that is told of a finding is the shortest.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Hashable, Iterator

from .bodies import Body, Step, decorated, decorates
from .meanings import Class, Function
from .names import Names
from .sources import Module

_ENTERING = ("__enter__", "__exit__", "__aenter__", "__aexit__")
_FACTORIES = ("default_factory", "factory")
_MAKING = ("__new__", "__init__", "__post_init__")


def workflows(names: Names, module: Module) -> Iterator[Function]:
    """The functions of a module that are workflows."""
    body = Body(names, module.name, [*module.tree.body], names.whole(module))
    for node in body:
        scope = body.scope_of(node)
        match node:
            case ast.AsyncFunctionDef() if decorated(names, node, scope, "workflow"):
                yield _with_context(names, Function(node, scope))
            case ast.Call(func=func, args=[fn, *_]) if decorates(names, func, scope, "workflow"):
                known = body.meaning(fn)
                if isinstance(known, Function) and known.is_async:
                    yield _with_context(names, known)
            case _:
                pass


def _with_context(names: Names, function: Function) -> Function:
    arguments = function.node.args
    names.kinds.contexts.update([*arguments.posonlyargs, *arguments.args][:1])
    return function


def reached(names: Names, roots: list[Function]) -> Iterator[Body]:
    """The code of workflows, and of all that they call, each piece once."""
    seen: set[Hashable] = {(each.node, ()) for each in roots}
    pending = deque(Body.of(names, each) for each in roots)
    while pending:
        body = pending.popleft()
        yield body
        for callee, node in called(body):
            fields = [] if isinstance(callee, Function) else _defaults(callee, node)
            question = callee.node, tuple(fields)
            if question in seen or callee.node in body:
                continue
            seen.add(question)
            chain = (Step(body.name, body.module, getattr(node, "lineno", 1)), *body.chain)
            if isinstance(callee, Function):
                pending.append(Body.of(names, callee, chain))
            elif fields:
                whole = names.whole(callee.scope.module)
                pending.append(Body(names, callee.node.name, fields, whole, chain))


def called(body: Body) -> Iterator[tuple[Function | Class, ast.AST]]:
    """What a piece of code calls of the project, and where; a class for what its fields do when
    an instance of it is made."""
    for node in body:
        match node:
            case ast.Call():
                yield from _by_call(body, node)
            case ast.Attribute(ctx=ast.Load()):
                known = body.meaning(node)
                if isinstance(known, Function) and _is_property(known):
                    yield known, node
            case ast.keyword(value=value) if body.parent(node) is None:  # of a field
                known = body.meaning(value)
                if isinstance(known, Function):
                    yield known, value
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    kind = body.kind(item.context_expr)
                    if kind is not None and isinstance(kind.of, Class):
                        yield from ((f, node) for f in _methods(body, kind.of, _ENTERING))
            case _:
                pass


def _by_call(body: Body, call: ast.Call) -> Iterator[tuple[Function | Class, ast.AST]]:
    known = body.meaning(call.func)
    if isinstance(known, Function):
        if not is_activity(body.names, known):
            yield known, call
        return
    if isinstance(known, Class):
        yield from ((f, call) for f in _methods(body, known, _MAKING))
        yield from ((each, call) for each in body.names.with_bases(known))
    for each in (*call.args, *(keyword.value for keyword in call.keywords)):
        handed = body.meaning(each)
        if isinstance(handed, Function) and not (
            body.is_handed_over(each) or is_activity(body.names, handed)
        ):
            yield handed, call


def _methods(body: Body, cls: Class, wanted: tuple[str, ...]) -> Iterator[Function]:
    for name in wanted:
        known = body.names.member(cls, name)
        if isinstance(known, Function):
            yield known


def _is_property(function: Function) -> bool:
    names = (ast.unparse(each).rpartition(".")[2] for each in function.decorators)
    return any(name in ("property", "cached_property") for name in names)


def is_activity(names: Names, function: Function) -> bool:
    return decorated(names, function.node, function.scope, "activity")


def is_workflow(names: Names, function: Function) -> bool:
    return decorated(names, function.node, function.scope, "workflow")


def _defaults(cls: Class, call: ast.AST) -> list[ast.AST]:
    """What makes the default values of fields: ``field(default_factory=...)``, attrs' and
    pydantic's alike, where the call does not give the field."""
    given = {keyword.arg for keyword in getattr(call, "keywords", [])}
    found: list[ast.AST] = []
    for node in cls.node.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call(keywords=keywords)):
                if name not in given:
                    found += [each for each in keywords if each.arg in _FACTORIES]
            case _:
                pass
    return found
