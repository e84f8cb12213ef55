"""Finds what keeps a workflow from ending: swallowed cancellations, endless loops."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ..bodies import Body
from ..kinds import last_part
from ..meanings import CONTEXT, Function, Outside
from .found import Found, written

_WAITS = (ast.Await, ast.AsyncFor, ast.AsyncWith)
_LIMITS = ("asyncio.timeout", "asyncio.timeout_at", "anyio.fail_after", "anyio.move_on_after",
           "anyio.CancelScope", "asyncio.TaskGroup", "anyio.create_task_group")  # fmt: skip
_ALL = ("builtins.BaseException", "durable.Evicted")
_CANCELLED = "asyncio.CancelledError"

# What is given an exception and does no more than to look at it.
_ONLY_LOOK = {
    "debug", "info", "warning", "warn", "error", "exception", "critical", "log", "print", "str",
    "repr", "type", "isinstance", "format_exception", "print_exception", "activity",
}  # fmt: skip

Try = ast.Try | ast.TryStar


def look(body: Body) -> Iterator[Found]:
    for node in body:
        match node:
            case ast.Try() | ast.TryStar() if _waits(node.body) or _goes_anew(body, node.body):
                yield from _handlers(body, node)
                yield from _finally(node)
            case ast.With(items=items) if _waits(node.body):
                for item in items:
                    yield from _suppressed(body, item.context_expr)
            case ast.While() if body.is_workflow:
                yield from _endless(body, node)
            case ast.AsyncFor(iter=ast.Call(func=func)) if body.is_workflow:
                if body.meaning(func) == Outside(f"{CONTEXT}.messages"):
                    yield from _endless(body, node)
            case _:
                pass


def _within(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
    """All that is run with these statements: not what functions in it would do."""
    pending: list[ast.AST] = [*reversed(nodes)]
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            pending.extend(ast.iter_child_nodes(node))


def _waits(nodes: list[ast.stmt]) -> bool:
    return any(isinstance(each, _WAITS) for each in _within(nodes))


def _goes_anew(body: Body, nodes: list[ast.stmt]) -> bool:
    """Whether it may end the run by ``ctx.continue_as_new``, which works by an exception."""
    return any(isinstance(each, ast.Call) and _continues(body, each) for each in _within(nodes))


def _handlers(body: Body, node: Try) -> Iterator[Found]:
    is_passed_on = False  # an earlier handler lets cancellations through
    for handler in node.handlers:
        caught = _caught(body, handler)
        if any(isinstance(each, ast.Raise) for each in _within(handler.body)):
            is_passed_on = is_passed_on or _CANCELLED in caught or bool(caught & {*_ALL})
            continue
        if caught & {*_ALL} and not is_passed_on and not _is_kept(handler):
            what = "except:" if handler.type is None else f"except {ast.unparse(handler.type)}"
            yield Found("DUR601", handler, f"`{what}` without `raise`")
        elif _CANCELLED in caught and _goes_on(body, node, handler):
            what = f"`except {ast.unparse(handler.type)}`" if handler.type else "`except:`"
            yield Found("DUR601", handler, f"{what} that goes on", "End the handler with `raise`")


def _caught(body: Body, handler: ast.ExceptHandler) -> set[str]:
    if handler.type is None:
        return {"builtins.BaseException"}
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    known = [body.meaning(each) for each in types]
    return {each.name for each in known if isinstance(each, Outside)}


def _is_kept(handler: ast.ExceptHandler) -> bool:
    """Whether the exception is kept for later, or handed to somebody who may raise it: assigned,
    returned, an argument. Logging does neither."""
    for node in _within(handler.body) if handler.name is not None else ():
        match node:
            case ast.Assign(value=ast.Name(id=name)) | ast.Return(value=ast.Name(id=name)):
                if name == handler.name:
                    return True
            case ast.Call(func=func, args=args) if last_part(func) not in _ONLY_LOOK:
                if any(isinstance(each, ast.Name) and each.id == handler.name for each in args):
                    return True
            case _:
                pass
    return False


def _goes_on(body: Body, node: Try, handler: ast.ExceptHandler) -> bool:
    """To catch a cancellation by its name and to end is a decision. It is none to go round a loop
    once more, nor inside of what cancels (a timeout), which then does not notice."""
    if _only_awaits_a_task(node):
        return False
    if any(isinstance(each, ast.Return | ast.Break) for each in _within(handler.body)):
        return False
    for each in body.above(node):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return False
        if isinstance(each, ast.While):
            return True
        if isinstance(each, ast.AsyncWith | ast.With) and any(
            body.is_called(item.context_expr, *_LIMITS) for item in each.items
        ):
            return True
    return False


def _only_awaits_a_task(node: Try) -> bool:
    """``try: await task``, after ``task.cancel()``: whose cancellation it is, is known."""
    match node.body:
        case [ast.Expr(value=ast.Await(value=ast.Name() | ast.Attribute() | ast.Subscript()))]:
            return True
        case _:
            return False


def _finally(node: Try) -> Iterator[Found]:
    for each in _within(node.finalbody):
        if isinstance(each, ast.Return):
            yield Found("DUR601", each, "`return` in `finally`", "Return after the `try`")


def _suppressed(body: Body, expr: ast.expr) -> Iterator[Found]:
    if body.is_called(expr, "contextlib.suppress"):
        assert isinstance(expr, ast.Call)
        known = [body.meaning(each) for each in expr.args]
        if any(isinstance(each, Outside) and each.name in _ALL for each in known):
            yield Found("DUR601", expr, written(expr), "Suppress `Exception`, or less")


def _endless(body: Body, loop: ast.While | ast.AsyncFor) -> Iterator[Found]:
    """A loop of the workflow itself that waits, and that nothing in it ends."""
    if isinstance(loop, ast.While):
        is_open = isinstance(loop.test, ast.Constant) and bool(loop.test.value)
        if not is_open or not _waits(loop.body):
            return
    for each in body.above(loop):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return  # a task of the workflow, which ends with it
        if isinstance(each, ast.Try | ast.TryStar) and each.handlers:
            return
        if isinstance(each, ast.AsyncWith | ast.With) and any(
            body.is_called(item.context_expr, *_LIMITS, "contextlib.suppress")
            for item in each.items
        ):
            return
    for node in _within(loop.body):
        if isinstance(node, ast.Return | ast.Raise | ast.Break):
            return
        if isinstance(node, ast.Call) and _continues(body, node):
            return
    if isinstance(loop, ast.While):
        yield Found("DUR602", loop, "`while True`")
    else:
        yield Found("DUR602", loop, f"`async for ... in {ast.unparse(loop.iter)}`")


def _continues(body: Body, call: ast.Call) -> bool:
    """Whether it is ``ctx.continue_as_new``, or a function that calls that."""
    known = body.meaning(call.func)
    inner = ast.walk(known.node) if isinstance(known, Function) else [call.func]
    return any(isinstance(e, ast.Attribute) and e.attr == "continue_as_new" for e in inner)
