"""The end of a run, as its code has it, to what is written."""

from __future__ import annotations

from .._authoring.definitions import Definition
from .._codec.failures import encode_failure
from .._codec.values import SCALARS, decode
from .._core import commands
from .._store.protocol import Close
from ..errors import CodecError


def closing(outcome: commands.Close, definition: Definition, next_op: int) -> Close:
    """How a run ends, as it is written."""
    match outcome:
        case commands.Complete(value):
            try:
                result = definition.signature.encode_result(value)
                if type(value) not in SCALARS:  # what can be written may not be read: dicts as keys
                    decode(result)
            except CodecError as error:
                return Close("failed", None, encode_failure(error), None, next_op)
            return Close("completed", result, None, None, next_op)
        case commands.Continue():
            return Close("continued", None, None, None, next_op)
        case commands.Stop(reason):
            return Close("cancelled", None, None, None, next_op, reason)
        case commands.Fail(error, failed_at):
            return Close("failed", None, encode_failure(error), failed_at, next_op)
