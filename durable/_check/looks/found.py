"""What a look gives: something is wrong at a node."""

from __future__ import annotations

import ast
from typing import NamedTuple


class Found(NamedTuple):
    """``subject`` is what the message begins with; ``instead`` is the rule's if empty."""

    code: str
    node: ast.AST
    subject: str
    instead: str = ""


def written(expr: ast.AST, limit: int = 50) -> str:
    """An expression as it is written, in backquotes; never long."""
    try:
        text = ast.unparse(expr)
    except RecursionError:
        text = "…"
    if "\n" in text or len(text) > limit:
        text = " ".join(text.split())[: limit - 1] + "…"
    return f"`{text}`"
