"""The things that code speaks of, as ``durable check`` knows them."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from .rules import LOOP
from .scopes import FunctionNode, Scope
from .sources import Module


@dataclass(frozen=True, slots=True)
class Outside:
    """A thing that is not of the project, by its dotted name."""

    name: str


@dataclass(frozen=True, slots=True)
class Inside:
    """A module of the project."""

    module: Module


@dataclass(frozen=True, slots=True)
class Class:
    node: ast.ClassDef
    scope: Scope


@dataclass(frozen=True, slots=True)
class Function:
    """``scope`` is the one in which it is defined."""

    node: FunctionNode
    scope: Scope
    owner: Class | None = None

    @property
    def module(self) -> Module:
        return self.scope.module

    @property
    def name(self) -> str:
        name = getattr(self.node, "name", "lambda")
        return f"{self.owner.node.name}.{name}" if self.owner else str(name)

    @property
    def decorators(self) -> list[ast.expr]:
        return [] if isinstance(self.node, ast.Lambda) else self.node.decorator_list

    @property
    def is_async(self) -> bool:
        return isinstance(self.node, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Shared:
    """A variable of a module."""

    module: Module
    name: str


Meaning = Outside | Inside | Function | Class | Shared


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value is an instance of. ``source`` is the expression that says so, read in
    ``scope``; ``is_annotation``: it is an annotation."""

    of: Outside | Class
    source: ast.expr
    scope: Scope
    is_annotation: bool = False

    @property
    def name(self) -> str:
        return self.of.name if isinstance(self.of, Outside) else ""


CONTEXT = "durable.Context"
SET = "builtins.set"

# The verbs that run a function elsewhere: it is no part of the workflow's code.
RUNS = {f"{CONTEXT}.activity", f"{CONTEXT}.transaction"}
BEGINS = {f"{CONTEXT}.child", f"{CONTEXT}.start_child"}

# What calls of these give, where it is not an instance of what is called.
GIVES = {
    "durable.current": CONTEXT,
    f"{CONTEXT}.options": CONTEXT,
    f"{CONTEXT}.now": "datetime.datetime",
    **dict.fromkeys(
        (f"datetime.datetime.{name}" for name in ("now", "fromtimestamp", "combine", "replace")),
        "datetime.datetime",
    ),
    **dict.fromkeys(
        (f"asyncio.{name}" for name in ("get_running_loop", "get_event_loop", "new_event_loop")),
        LOOP,
    ),
    **dict.fromkeys(
        (f"pathlib.Path.{name}" for name in
         ("cwd", "home", "joinpath", "with_suffix", "with_name", "absolute", "resolve")),
        "pathlib.Path",
    ),
    **dict.fromkeys(
        (f"{SET}.{name}" for name in
         ("union", "intersection", "difference", "symmetric_difference", "copy")),
        SET,
    ),
    **dict.fromkeys(
        ("asyncio.create_task", "asyncio.TaskGroup.create_task", f"{LOOP}.create_task"),
        "asyncio.Task",
    ),
    **dict.fromkeys(
        ("asyncio.ensure_future", "asyncio.shield", "asyncio.gather", f"{LOOP}.create_future"),
        "asyncio.Future",
    ),
    **dict.fromkeys(
        (f"{CONTEXT}.{name}" for name in
         ("activity", "transaction", "child", "receive", "sleep", "sleep_until")),
        "durable.Operation",
    ),
    f"{CONTEXT}.promise": "durable.Promise",
    f"{CONTEXT}.uuid4": "uuid.UUID",
    **dict.fromkeys(("builtins.len", "builtins.ord", "builtins.round"), "builtins.int"),
    "typing.cast": "",
}  # fmt: skip

# What attributes of instances are.
IS = {"pathlib.Path.parent": "pathlib.Path"}

# One thing under several names.
SAME = {
    "pathlib.PosixPath": "pathlib.Path",
    "asyncio.exceptions.CancelledError": "asyncio.CancelledError",
    "asyncio.tasks.Task": "asyncio.Task",
    "asyncio.futures.Future": "asyncio.Future",
    **dict.fromkeys(
        ("builtins.frozenset", "typing.Set", "typing.FrozenSet", "typing.AbstractSet",
         "typing.MutableSet", "collections.abc.Set", "collections.abc.MutableSet"),
        SET,
    ),
    "typing.Tuple": "builtins.tuple",
}  # fmt: skip


def outside(name: str) -> Outside:
    """By its public name, whichever module it comes from."""
    if name.startswith("durable."):
        parts = name.split(".")[1:]
        if parts[0].startswith("_"):
            parts = parts[-1:]
        elif parts[0] == "errors":
            parts = parts[1:] or parts
        name = ".".join(["durable", *parts])
    return Outside(SAME.get(name, name))
