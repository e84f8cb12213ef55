"""Names to definitions, for the whole process.

One name stands for one function. The same function defined again (same module and
qualified name: a reload) replaces the old one; another function under the same name is an
error that tells both places.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import DefinitionError, NotRegistered

if TYPE_CHECKING:
    from .definitions import Definition

# Names stand in indexes and in every journal row; 255 is what people expect of a name.
NAME_MAX = 255

_definitions: dict[tuple[str, str], Definition] = {}


def is_name(text: object) -> bool:
    """Whether the database takes it as a name: 1 to ``NAME_MAX`` characters of UTF-8, no NUL."""
    if not isinstance(text, str) or not 1 <= len(text) <= NAME_MAX or "\0" in text:
        return False
    return text.encode("utf-8", "ignore").decode() == text  # no half characters


def add(definition: Definition) -> None:
    """Register; two functions of one name fail here, where both can still be found."""
    key = (definition.kind, definition.name)
    known = _definitions.get(key)
    if known is not None and _identity(known.fn) != _identity(definition.fn):
        raise DefinitionError(
            f"The {definition.kind} {definition.name!r} is defined twice: one at {known.place}, "
            f"one at {definition.place}. Give one of them another name: "
            f"@{definition.kind}(name='...')."
        )
    _definitions[key] = definition


def find(kind: str, name: str) -> Definition | None:
    return _definitions.get((kind, name))


def near(kind: str, name: str) -> str:
    """What may have been meant, in words; empty if nothing here is called alike."""
    known = [other for of_kind, other in _definitions if of_kind == kind]
    found = difflib.get_close_matches(name, known, cutoff=0.75)
    return f"Did you mean {' or '.join(map(repr, found))}?" if found else ""


def workflows() -> dict[str, Definition]:
    """All workflows of this process, by name."""
    return {name: each for (kind, name), each in _definitions.items() if kind == "workflow"}


def narrowed(serve: Iterable[ModuleType | Callable[..., Any]] | None) -> dict[str, Definition]:
    """The workflows that ``serve`` names, by module or by function; None names all.

    Raises:
        NotRegistered: a function that is no workflow, or a module without any.
    """
    if serve is None:
        return workflows()
    chosen: dict[str, Definition] = {}
    for each in serve:
        if isinstance(each, ModuleType):
            found = {n: d for n, d in workflows().items() if d.fn.__module__ == each.__name__}
        else:
            found = {n: d for n, d in workflows().items() if d.fn is each}
        if not found:
            name = each if isinstance(each, str) else getattr(each, "__name__", repr(each))
            kind = "workflow in module" if isinstance(each, ModuleType) else "workflow"
            advice = "serve= takes workflows and the modules that define them, not their names."
            raise NotRegistered(kind=kind, name=name, advice=advice)
        chosen.update(found)
    return chosen


def _identity(fn: Callable[..., Any]) -> tuple[str, str]:
    return fn.__module__, fn.__qualname__
