"""Finds wrong calls of what is Durable's: activities, and the verbs of ``ctx``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from ..bodies import Body
from ..meanings import BEGINS, CONTEXT, RUNS, Function, Meaning, Outside
from ..reach import is_activity, is_workflow
from .found import Found, written

# What gives an operation or a coroutine, for which somebody must wait.
_AWAITED = {
    *(f"{CONTEXT}.{name}" for name in ("activity", "transaction", "child", "start_child", "sleep",
                                       "sleep_until", "receive", "promise")),
    *(f"asyncio.{name}" for name in ("sleep", "wait", "wait_for", "gather", "shield")),
    *(f"anyio.{name}" for name in ("sleep", "sleep_until", "sleep_forever")),
}  # fmt: skip


def look(body: Body) -> Iterator[Found]:
    for node in body:
        if isinstance(node, ast.Call):
            yield from _of_call(body, node)
            if _wants_the_value(body, node):
                yield from _unawaited(body, node)


def _wants_the_value(body: Body, call: ast.Call) -> bool:
    """Whether nothing can come of it unless it is awaited: it stands for itself, or is asked,
    compared, written into a text, returned by a workflow, or given to an activity."""
    parent = body.parent(call)
    match parent:
        case ast.Expr() | ast.FormattedValue() | ast.BinOp() | ast.Compare() | ast.BoolOp():
            return True
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            return test is call
        case ast.UnaryOp(op=op):
            return isinstance(op, ast.Not)
        case ast.Subscript(value=value):
            return value is call
        case ast.Return():
            return body.is_workflow and body.function_of(call) is None
        case ast.Call(func=func, args=[_, *args]) if call in args:
            known = body.meaning(func)
            return isinstance(known, Outside) and known.name in RUNS | BEGINS
        case _:
            return False


def _unawaited(body: Body, call: ast.Call) -> Iterator[Found]:
    known = body.meaning(call.func)
    is_operation = isinstance(known, Outside) and known.name in _AWAITED
    if is_operation or (isinstance(known, Function) and _is_coroutine(known)):
        yield Found("DUR503", call, written(call.func))


def _is_coroutine(function: Function) -> bool:
    """An `async def` as it was written: decorators may make something else of it."""
    if not function.is_async or function.decorators:
        return False
    return not any(isinstance(each, ast.Yield) for each in ast.walk(function.node))


def _of_call(body: Body, call: ast.Call) -> Iterator[Found]:
    known = body.meaning(call.func)
    if is_activity(body.names, known):
        yield Found("DUR501", call, written(call.func),
                    f"Use `await ctx.activity({ast.unparse(call.func)}, ...)`")  # fmt: skip
    name = known.name if isinstance(known, Outside) else ""
    if name in RUNS | BEGINS and call.args:
        verb = name.rpartition(".")[2]
        why = _cannot_run(body, verb, call.args[0])
        if why:
            yield Found("DUR502", call.args[0], f"`ctx.{verb}` gets {written(call.args[0])}", why)
    if name == f"{CONTEXT}.sleep_until" and call.args:
        yield from _naive(body, call.args[0])
    for keyword in call.keywords if name in BEGINS else ():
        if keyword.arg in ("at", "deadline"):
            yield from _naive(body, keyword.value)


def _cannot_run(body: Body, verb: str, target: ast.expr) -> str:
    """The advice, if a verb is surely given what it does not take."""
    if isinstance(target, ast.Constant) and isinstance(target.value, str):
        return "" if f"{CONTEXT}.{verb}" in BEGINS else "Give the function itself, not its name"
    if isinstance(target, ast.Lambda):
        return "" if verb == "transaction" else f"Give a function with @{_wanted(verb)} on it"
    if isinstance(target, ast.Call) and isinstance(body.meaning(target.func), Function):
        if not is_activity(body.names, body.meaning(target.func)):
            return f"Give the function and its arguments apart: `ctx.{verb}(fn, ...)`"
        return ""
    known = body.meaning(target)
    if verb == "transaction":
        return _no_transaction(known)
    if isinstance(known, Outside):
        head = known.name.partition(".")[0]
        if head in sys.stdlib_module_names or head == "builtins":
            return f"Put it into a function with @{_wanted(verb)} on it"
        return ""
    if not isinstance(known, Function):
        return ""
    if known.owner is not None:
        return "A method needs its object again, in another process: give a function"
    if verb == "activity" and is_workflow(body.names, known):
        return "It is a workflow: use `ctx.child(...)`, or call it: `await name(ctx, ...)`"
    if verb != "activity" and is_activity(body.names, known):
        return "It is an activity: use `ctx.activity(...)`"
    if known.decorators or (verb != "activity" and is_workflow(body.names, known)):
        return ""
    return f"Put @{_wanted(verb)} on its definition"


def _wanted(verb: str) -> str:
    return "activity" if verb == "activity" else "workflow"


def _no_transaction(known: Meaning | None) -> str:
    if isinstance(known, Function) and not known.is_async and not known.decorators:
        return "Make it `async def`, with the connection as its first parameter"
    return ""


def _naive(body: Body, when: ast.expr, depth: int = 0) -> Iterator[Found]:
    """A datetime that was made without a zone, as far as this can be seen."""
    if isinstance(when, ast.Name) and depth < 3:
        found = body.names.value_of(None, when, body.scope_of(when))
        if found is not None and found[0] in body:
            yield from _naive(body, found[0], depth + 1)
        return
    if not isinstance(when, ast.Call):
        if isinstance(when, ast.BinOp) and isinstance(when.op, ast.Add) and depth < 3:
            yield from _naive(body, when.left, depth + 1)
        return
    known = body.meaning(when.func)
    name = known.name if isinstance(known, Outside) else ""
    if any(each.arg in ("tzinfo", "tz", None) for each in when.keywords):
        return
    given = len(when.args)
    if any(isinstance(each, ast.Starred) for each in when.args):
        return
    if (name == "datetime.datetime" and given < 8) or (
        name == "datetime.datetime.combine" and given == 2 and not _time_with_zone(when)
    ):
        yield Found("DUR504", when, written(when))


def _time_with_zone(combine: ast.Call) -> bool:
    """Whether the time of a ``combine(day, time)`` may bring the zone along."""
    time = combine.args[1]
    if not isinstance(time, ast.Call):
        return True
    return any(each.arg == "tzinfo" for each in time.keywords) or len(time.args) > 4
