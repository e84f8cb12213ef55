"""Finds where the order of a set, an address or a hash decides."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ..bodies import Body
from ..kinds import is_keys
from ..meanings import CONTEXT, SET, Class, Kind, Outside
from ..names import DEPTH_MAX, Names
from ..scopes import Scope
from .found import Found, written

# Builtins and functions that take what they get in its order, and let the order be seen.
_ORDERED = {
    f"builtins.{name}" for name in ("list", "tuple", "enumerate", "zip", "iter", "map", "filter",
                                    "dict.fromkeys", "str.join", "reversed")
} | {
    "asyncio.gather", "collections.deque", "functools.reduce", "itertools.chain",
    "itertools.islice", "itertools.chain.from_iterable",
}  # fmt: skip
# Those to which no order matters.
_UNORDERED = {
    f"builtins.{name}" for name in ("sorted", "min", "max", "sum", "any", "all", "len", "set",
                                    "frozenset")
} | {"collections.Counter", "asyncio.wait", "math.fsum"}  # fmt: skip

# Classes whose instances hash alike in every process, or by birth.
_STEADY = {
    f"builtins.{name}" for name in ("int", "bool", "float", "complex")
} | {
    "asyncio.Task", "asyncio.Future", "durable.Operation", "durable.Promise", "uuid.UUID",
    "decimal.Decimal", "fractions.Fraction", "enum.IntEnum", "enum.IntFlag",
}  # fmt: skip
# What lets an order be seen, in the body of a loop.
_BEGINNING = (f"{CONTEXT}.", "asyncio.create_task", "asyncio.ensure_future", "asyncio.TaskGroup.")
_ADDS = {"append", "appendleft", "extend", "insert", "put_nowait", "write", "send", "publish"}


def look(body: Body) -> Iterator[Found]:
    for node in body:
        match node:
            case ast.For(iter=walked) if _shows_order(body, node):
                yield from _of_set(body, walked)
            case ast.ListComp() | ast.GeneratorExp() if not _is_unordered(body, node):
                for each in node.generators:
                    yield from _of_set(body, each.iter)
            case ast.Starred(value=value, ctx=ast.Load()):
                if isinstance(body.parent(node), ast.Call | ast.List | ast.Tuple):
                    yield from _of_set(body, value)
            case ast.Call():
                yield from _by_call(body, node)
            case _:
                pass


def _by_call(body: Body, call: ast.Call) -> Iterator[Found]:
    known = body.meaning(call.func)
    name = known.name if isinstance(known, Outside) else ""
    if name in _ORDERED or _is_join(call):
        if not _is_unordered(body, call):
            for each in call.args:
                yield from _of_set(body, each)
    elif isinstance(call.func, ast.Attribute) and call.func.attr == "pop" and not call.args:
        yield from _of_set(body, call.func.value)
    elif name == "builtins.hash" and call.args and not _is_harmless_hash(body, call):
        if not is_steady(body.names, call.args[0], body.scope_of(call)):
            yield Found("DUR302", call, written(call))
    elif name == "builtins.id" and _is_seen(body, call):
        yield Found("DUR302", call, written(call))
    for keyword in call.keywords:
        if keyword.arg == "key" and body.meaning(keyword.value) in (
            Outside("builtins.id"), Outside("builtins.hash"),
        ):  # fmt: skip
            yield Found("DUR302", keyword.value, written(call))


def _is_join(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(attr="join", value=ast.Constant(value=str())):
            return True
        case _:
            return False


def _of_set(body: Body, expr: ast.expr) -> Iterator[Found]:
    kind = body.kind(expr)
    if kind is None or kind.name != SET or _is_steady_set(body.names, kind, set()):
        return
    is_empty = isinstance(kind.source, ast.Call) and not kind.source.args
    if is_empty and isinstance(expr, ast.Name) and _is_filled_steadily(body, expr.id):
        return
    if _has_one_member(body, expr):
        return
    yield Found("DUR301", expr, written(expr))


def _has_one_member(body: Body, expr: ast.expr) -> bool:
    """Whether it is known to by ``if len(names) == 1`` around: then there is no order."""
    return any(
        isinstance(each, ast.If | ast.IfExp)
        and isinstance(each.test, ast.Compare)
        and ast.unparse(each.test) == f"len({ast.unparse(expr)}) == 1"
        for each in body.above(expr)
    )


def _is_filled_steadily(body: Body, name: str) -> bool:
    """Whether a set that was made empty gets nothing but what hashes alike everywhere."""
    for node in body:
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=of), attr=verb)) if of == name:
                if verb == "add":
                    if not all(is_steady(body.names, e, body.scope_of(e)) for e in node.args):
                        return False
                elif verb == "update":
                    return False
            case ast.AugAssign(target=ast.Name(id=of)) if of == name:
                return False
            case _:
                pass
    return True


def _is_unordered(body: Body, node: ast.AST) -> bool:
    """Whether what is made of it has no order: ``sorted(list(...))``, ``x in [...]``."""
    parent = body.parent(node)
    if isinstance(parent, ast.Call) and node in parent.args:
        known = body.meaning(parent.func)
        if isinstance(known, Outside) and known.name in _UNORDERED:
            return True
        if isinstance(known, Outside) and known.name in _ORDERED:
            return _is_unordered(body, parent)
    if isinstance(parent, ast.comprehension) and parent.iter is node:
        above = body.parent(parent)
        if isinstance(above, ast.SetComp):
            return True
        if isinstance(above, ast.GeneratorExp | ast.ListComp):
            return _is_unordered(body, above)
    if isinstance(parent, ast.Starred):
        return isinstance(body.parent(parent), ast.Set)
    return isinstance(parent, ast.Compare) and node in parent.comparators


def _shows_order(body: Body, loop: ast.For) -> bool:
    """Whether it can be seen afterwards in which order a loop went: it waits, asks for
    something, adds to a list, or gives what it came upon first."""
    within = [node for each in loop.body for node in ast.walk(each)]
    bound = {
        node.id for node in (*ast.walk(loop.target), *within)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }  # fmt: skip
    for node in within:
        match node:
            case ast.Await() | ast.Yield() | ast.YieldFrom() | ast.AsyncFor() | ast.AsyncWith():
                return True
            case ast.Return(value=ast.expr() as value):
                if any(isinstance(e, ast.Name) and e.id in bound for e in ast.walk(value)):
                    return True
            case ast.Call(func=ast.Attribute(attr=name)) if name in _ADDS:
                return True
            case ast.Call():
                known = body.meaning(node.func)
                if isinstance(known, Outside) and known.name.startswith(_BEGINNING):
                    return True
            case _:
                pass
    return False


def _is_steady_set(names: Names, kind: Kind, seen: set[ast.AST]) -> bool:
    """Whether a set has the same order in every process, as far as the code says."""
    if kind.source in seen or len(seen) > DEPTH_MAX:
        return True
    seen = seen | {kind.source}
    if kind.is_annotation:
        match kind.source:
            case ast.Subscript(slice=inner):
                return _says_steady(names, inner, kind.scope)
            case _:
                return False
    match kind.source:
        case ast.Set(elts=elements):
            return all(is_steady(names, each, kind.scope) for each in elements)
        case ast.SetComp(elt=element):
            return is_steady(names, element, kind.scope)
        case ast.Call(func=ast.Name(), args=[walked, *_]):
            return _gives_steady(names, walked, kind.scope)
        case ast.BinOp(left=left, right=right):
            parts = [names.kind(each, kind.scope) for each in (left, right)]
            return not (is_keys(left) or is_keys(right)) and all(
                part is not None and part.name == SET and _is_steady_set(names, part, seen)
                for part in parts
            )
        case _:
            return False


def _gives_steady(names: Names, walked: ast.expr, scope: Scope) -> bool:
    match walked:
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            return all(is_steady(names, each, scope) for each in elements)
        case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element):
            return is_steady(names, element, scope)
        case ast.Call(func=func):
            known = names.meaning(func, scope)
            if known == Outside("builtins.range"):
                return True
        case _:
            pass
    kind = names.kind(walked, scope)
    if kind is not None and kind.is_annotation and isinstance(kind.source, ast.Subscript):
        inner = kind.source.slice
        first = inner.elts[0] if isinstance(inner, ast.Tuple) and inner.elts else inner
        return _says_steady(names, first, kind.scope)
    return False


def _says_steady(names: Names, annotation: ast.expr, scope: Scope) -> bool:
    kind = names.kinds.annotated(annotation, scope)
    return kind is not None and _is_steady_kind(names, kind)


def _is_steady_kind(names: Names, kind: Kind) -> bool:
    if isinstance(kind.of, Class):  # an IntEnum
        bases = [names.meaning(each, kind.of.scope) for each in kind.of.node.bases]
        return any(isinstance(each, Outside) and each.name in _STEADY for each in bases)
    if kind.name == "builtins.tuple":
        match kind.source:
            case ast.Tuple(elts=elements):
                return all(is_steady(names, each, kind.scope) for each in elements)
            case ast.Subscript(slice=ast.Tuple(elts=parts)):
                return all(_is_dots(e) or _says_steady(names, e, kind.scope) for e in parts)
            case _:
                return False
    return kind.name in _STEADY


def _is_dots(expr: ast.expr) -> bool:
    return isinstance(expr, ast.Constant) and expr.value is ...


def is_steady(names: Names, expr: ast.expr, scope: Scope) -> bool:
    """Whether the hash of a value is the same in every process."""
    if isinstance(expr, ast.Constant):
        return not isinstance(expr.value, str | bytes)
    kind = names.kind(expr, scope)
    return kind is not None and _is_steady_kind(names, kind)


def _is_harmless_hash(body: Body, call: ast.Call) -> bool:
    """Whether it only asks if a value can be hashed, compares for equality, or makes a hash."""
    match body.parent(call):
        case ast.Expr():
            return True
        case ast.Compare(ops=ops):
            return all(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in ops)
        case _:
            return body.name.endswith("__hash__") or any(
                isinstance(each, ast.FunctionDef) and each.name == "__hash__"
                for each in body.above(call)
            )


def _is_seen(body: Body, call: ast.Call) -> bool:
    """Whether an address gets into a value: as a key or for a comparison it does no harm."""
    parent = body.parent(call)
    match parent:
        case ast.FormattedValue() | ast.BinOp():
            return True
        case ast.Compare(ops=ops):
            return any(isinstance(op, ast.Lt | ast.Gt | ast.LtE | ast.GtE) for op in ops)
        case ast.Call(func=func):
            known = body.meaning(func)
            return isinstance(known, Outside) and (
                known.name in ("builtins.str", "builtins.hex")
                or known.name.startswith(f"{CONTEXT}.")
            )
        case _:
            return False
