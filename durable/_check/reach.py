"""Workflow code: the functions under ``@workflow``, and what they call, and so on.

Activities are not followed into, nor what is handed to ``ctx.transaction``: that is where I/O
belongs. Breadth first, so that the chain that is told of a finding is the shortest.
"""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Hashable, Iterable, Iterator

from .bodies import Body, Step, decorated, decorates
from .kinds import last_part
from .meanings import Class, Function, Meaning, Outside, Shared
from .names import Names
from .rules import named
from .scopes import Scope, own_nodes
from .sources import Module

# Workflows that are made within a function: to look for those takes time.
_WITHIN = re.compile(r"^[ \t]+(@.*workflow|.*\bworkflow\()", re.MULTILINE)

_ENTERING = ("__enter__", "__exit__", "__aenter__", "__aexit__")
_FACTORIES = ("default_factory", "factory")
_MAKING = ("__new__", "__init__", "__post_init__")


def workflows(names: Names, module: Module) -> Iterator[Function]:
    """The functions of a module that are workflows: also those made within functions, and by a
    call, as in ``place = workflow(name="place")(_place)``."""
    whole = names.whole(module)
    places: Iterable[tuple[ast.AST, Scope]] = ((node, whole) for node in own_nodes(module.tree))
    if _WITHIN.search(module.text):
        body = Body(names, module.name, [*module.tree.body], whole)
        places = ((node, body.scope_of(node)) for node in body)
    for node, scope in places:
        match node:
            case ast.AsyncFunctionDef() if decorated(names, node, scope, "workflow"):
                yield _with_context(names, Function(node, scope))
            case ast.Call(func=func, args=[fn, *_]) if decorates(names, func, scope, "workflow"):
                known = names.meaning(fn, scope)
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
            fields = [] if isinstance(callee, Function) else _defaults(body, callee, node)
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
    elif known is None or isinstance(known, Shared):
        yield from ((f, call) for f in _dispatched(body, call.func))
        kind = body.kind(call.func)
        if kind is not None and isinstance(kind.of, Class):
            yield from ((f, call) for f in _methods(body, kind.of, ("__call__",)))
    if isinstance(known, Outside) and named(known.name) is not None:
        return  # a thread, say: that is told, and what it would run is to become an activity
    for each in (*call.args, *(keyword.value for keyword in call.keywords)):
        handed = body.meaning(each)
        if isinstance(handed, Function) and not (
            body.is_handed_over(each) or is_activity(body.names, handed)
        ):
            yield handed, call


def _dispatched(body: Body, func: ast.expr) -> Iterator[Function]:
    """What is called by ``HANDLERS[kind](...)``, or by ``step(...)`` in a ``for step in STEPS``."""
    scope = body.scope_of(func)
    found = scope.find(func.id) if isinstance(func, ast.Name) else None
    match func, found:
        case ast.Subscript(value=table), _:
            pass
        case ast.Name(), (where, [("other", ast.For(iter=table))]):
            scope = where
        case _:
            return
    place = body.names.value_of(body.names.meaning(table, scope), table, scope) or (table, scope)
    match place:
        case ast.Dict(values=each), where:
            pass
        case ((ast.List(elts=each) | ast.Tuple(elts=each)), where):
            pass
        case _:
            return
    for expr in each:
        known = body.names.meaning(expr, where)
        if isinstance(known, Function) and not is_activity(body.names, known):
            yield known


def _methods(body: Body, cls: Class, wanted: tuple[str, ...]) -> Iterator[Function]:
    for name in wanted:
        known = body.names.member(cls, name)
        if isinstance(known, Function):
            yield known


def _is_property(function: Function) -> bool:
    return any(last_part(each) in ("property", "cached_property") for each in function.decorators)


def is_activity(names: Names, known: Meaning | None) -> bool:
    """A function with ``@activity``, or a variable: ``charge = activity(timeout=5)(_charge)``."""
    if isinstance(known, Function):
        return decorated(names, known.node, known.scope, "activity")
    if not isinstance(known, Shared):
        return False
    found = names.value_of(known, ast.Name(known.name), names.whole(known.module))
    match found:
        case (ast.Call(func=func, args=[fn]), scope) if decorates(names, func, scope, "activity"):
            return isinstance(names.meaning(fn, scope), Function)
        case _:
            return False


def is_workflow(names: Names, function: Function) -> bool:
    if decorated(names, function.node, function.scope, "workflow"):
        return True
    known = names.workflows.get(function.module)
    if known is None:
        known = {each.node for each in workflows(names, function.module)}
        names.workflows[function.module] = known
    return function.node in known  # by a call


def _defaults(body: Body, cls: Class, call: ast.AST) -> list[ast.AST]:
    """What makes the default values of fields: ``field(default_factory=...)``, attrs' and
    pydantic's alike, where the call does not give the field."""
    assert isinstance(call, ast.Call)
    made = body.meaning(call.func)
    bases = body.names.with_bases(made) if isinstance(made, Class) else [cls]
    order = [name for each in reversed(bases) for name in _fields(each)]
    given = {keyword.arg for keyword in call.keywords} | {*order[: len(call.args)]}
    if None in given or any(isinstance(each, ast.Starred) for each in call.args):
        return []  # by `*` or `**`: whichever they are
    return [
        keyword
        for name, value in _fields(cls).items()
        if name not in given and isinstance(value, ast.Call)
        for keyword in value.keywords
        if keyword.arg in _FACTORIES
    ]


def _fields(cls: Class) -> dict[str, ast.expr | None]:
    return {
        node.target.id: node.value
        for node in cls.node.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
