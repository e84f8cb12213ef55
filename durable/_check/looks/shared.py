"""Finds what runs of one process share: globals that change, defaults, locks made outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ..bodies import Body
from ..meanings import Class, Function, Inside, Outside, Shared
from ..names import Names
from ..reach import is_activity
from ..rules import named
from ..scopes import Scope
from ..sources import Module
from .found import Found, written

# Methods that change what they are called on, of the containers that we know.
_CHANGING = {
    "append", "appendleft", "extend", "extendleft", "insert", "pop", "popleft", "remove", "clear",
    "add", "discard", "update", "setdefault", "popitem", "sort", "reverse", "subtract",
    "difference_update", "intersection_update", "symmetric_difference_update", "move_to_end",
}  # fmt: skip
_CONTAINERS = {
    *(f"builtins.{name}" for name in ("list", "dict", "set", "bytearray")),
    *(f"collections.{name}" for name in ("deque", "defaultdict", "OrderedDict", "Counter")),
    *(f"typing.{name}" for name in ("List", "Dict", "Deque", "DefaultDict")),
    *(f"collections.abc.{name}" for name in ("MutableMapping", "MutableSequence")),
}  # fmt: skip

# Iterators that go on from where another run has left them.
_COUNTERS = {"itertools.count", "itertools.cycle", "builtins.iter", "random.Random",
             "builtins.enumerate"}  # fmt: skip

# What is another value in every process.
_DIFFERENT = {"DUR101", "DUR103", "DUR104"}

_LOCKS = {
    *(f"asyncio.{name}" for name in ("Lock", "Event", "Condition", "Semaphore", "Barrier", "Queue",
                                     "BoundedSemaphore", "PriorityQueue", "LifoQueue")),
    *(f"anyio.{name}" for name in ("Lock", "Event", "Condition", "Semaphore", "CapacityLimiter")),
}  # fmt: skip


def look(body: Body) -> Iterator[Found]:
    for node in body:
        yield from _changed(body, node)
        yield from _default_changed(body, node)
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            known = body.meaning(node)
            if isinstance(known, Shared):
                yield from _used(body, node, known)


def _used(body: Body, node: ast.expr, shared: Shared) -> Iterator[Found]:
    """A variable of a module is read: harmless for most."""
    kind = body.names.kinds.of_shared(shared)
    name = kind.name if kind is not None else ""
    parent = body.parent(node)
    if name in _LOCKS:
        yield Found("DUR404", node, written(node))
    elif name in _COUNTERS and (
        (isinstance(parent, ast.Attribute) and isinstance(body.parent(parent), ast.Call))
        or body.is_called(parent or node, "builtins.next")
    ):
        instead = "Use `ctx.random`" if name == "random.Random" else ""
        yield Found("DUR401", node, f"{written(node)} goes on from run to run", instead)
    elif made_by := _made_by_chance(body.names, shared):
        yield Found(made_by, node, f"{written(node)}, made while its module was imported")
    elif _is_load_only(body, node) and shared in _changed_by_activities(body.names, shared.module):
        yield Found("DUR402", node, written(node))


def _made_by_chance(names: Names, shared: Shared) -> str:
    """The rule that a variable broke when its module was imported: by a clock or by chance it is
    another one in every process."""
    found = names.value_of(shared, ast.Name(shared.name), names.whole(shared.module))
    for node in ast.walk(found[0]) if found is not None else ():
        if isinstance(node, ast.Lambda):
            return ""
        known = names.meaning(node.func, found[1]) if found and isinstance(node, ast.Call) else None
        entry = named(known.name) if isinstance(known, Outside) else None
        if entry is not None and entry.code in _DIFFERENT and entry.fewer is None:
            return entry.code
    return ""


def _is_load_only(body: Body, node: ast.AST) -> bool:
    parents = [node, *body.above(node)][:3]  # as in `name.append(...)`
    return not any(True for each in parents for _ in _changed(body, each))


def _changed(body: Body, node: ast.AST) -> Iterator[Found]:
    """What of the module, or of a class, is changed here."""
    match node:
        case ast.Global(names=names):
            for name in names:
                if _is_set(body, name):
                    yield Found("DUR401", node, f"`global {name}`")
        case ast.Call(func=ast.Attribute(value=owner, attr=attr)) if attr in _CHANGING:
            if _is_container(body, owner):
                yield Found("DUR401", node, written(node.func))
        case ast.Subscript(value=owner, ctx=ast.Store() | ast.Del()):
            if isinstance(body.meaning(owner), Shared):
                yield Found("DUR401", node, written(node))
        case ast.Attribute(value=owner, ctx=ast.Store() | ast.Del()):
            known = body.meaning(owner)
            if isinstance(known, Shared | Class | Inside | Outside) and not _is_local(body, owner):
                yield Found("DUR401", node, written(node))
        case _:
            pass


def _is_local(body: Body, owner: ast.expr) -> bool:
    """``x.y`` of a local variable means what its class says: it is no global."""
    while isinstance(owner, ast.Attribute):
        owner = owner.value
    found = body.scope_of(owner).find(owner.id) if isinstance(owner, ast.Name) else None
    return found is not None and found[0].outer is not None


def _is_set(body: Body, name: str) -> bool:
    return any(
        isinstance(each, ast.Name) and each.id == name and not isinstance(each.ctx, ast.Load)
        for each in body
    )


def _is_container(body: Body, owner: ast.expr) -> bool:
    known = body.meaning(owner)
    if not isinstance(known, Shared):
        return False
    kind = body.names.kinds.of_shared(known)
    return kind is not None and kind.name in _CONTAINERS


def _default_changed(body: Body, node: ast.AST) -> Iterator[Found]:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)):
            if attr in _CHANGING and _is_default(body, name, body.scope_of(node)):
                yield Found("DUR403", node, written(node.func))
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            if _is_default(body, name, body.scope_of(node)):
                yield Found("DUR403", node, written(node))
        case ast.AugAssign(target=ast.Name(id=name)):
            if _is_default(body, name, body.scope_of(node)):
                yield Found("DUR403", node, f"`{name}`")
        case _:
            pass


def _is_default(body: Body, name: str, scope: Scope) -> bool:
    """Whether it is a parameter whose default is a list, a dict or a set, and nothing else."""
    found = scope.find(name)
    if found is None or [how for how, _ in found[1]] != ["parameter"]:
        return False
    where, [(_, arg)] = found
    assert not isinstance(where.node, ast.Module)
    arguments = where.node.args
    plain = [*arguments.posonlyargs, *arguments.args]
    pairs = [
        *zip(reversed(plain), reversed(arguments.defaults), strict=False),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    default = next((value for each, value in pairs if each is arg), None)
    kind = body.names.kind(default, where.outer or where) if default is not None else None
    return kind is not None and kind.name in _CONTAINERS


def _changed_by_activities(names: Names, module: Module) -> set[Shared]:
    """The variables that the activities of a module change themselves."""
    known = names.notes.get(module)
    if known is None:
        known = names.notes[module] = {
            shared
            for node in module.tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and is_activity(names, activity := Function(node, names.whole(module)))
            for shared in _changed_in(Body.of(names, activity))
        }
    return known


def _changed_in(body: Body) -> Iterator[Shared]:
    for node in body:
        match node:
            case ast.Global(names=names):
                yield from (Shared(body.module, name) for name in names if _is_set(body, name))
            case ast.Call(func=ast.Attribute(value=owner, attr=attr)) if attr in _CHANGING:
                if _is_container(body, owner):
                    yield from _shared(body, owner)
            case ast.Subscript(value=owner, ctx=ast.Store() | ast.Del()):
                yield from _shared(body, owner)
            case _:
                pass


def _shared(body: Body, owner: ast.expr) -> Iterator[Shared]:
    known = body.meaning(owner)
    if isinstance(known, Shared):
        yield known
