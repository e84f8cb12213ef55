"""How a workflow's code says where it was changed while runs of it were open.

A part of ``ctx``; ``_core/patches.py`` tells how the answers are kept.
"""

from __future__ import annotations

from .._core.patches import RETIRED
from .._core.replayer import Replayer
from ..errors import InvalidCall
from .registry import NAME_MAX, is_name


class Patching:
    _replayer: Replayer

    def patched(self, id: str, /) -> bool:
        """Whether the code goes the new way here. Write the old way into the ``else``: runs that
        have come past this point before the change are replayed as they went.

        Answered turn by turn: True in a turn that runs now, for the first time; in one that is
        recorded, True if it was asked then. So a run that goes in a loop takes the new way from its
        next turn on. Where two places must agree, ask once and keep the answer. Nothing is written
        but the id, into the row of the turn that asks.

        Args:
            id: a name for this one change, 1 to 254 characters. Never use it again for another.

        Raises:
            InvalidCall: it is no name, or this code has retired the patch; or a query, or the check
                of an update asks, which may only look.

        Example:
            if ctx.patched("mail-after-shipping"):
                await ctx.activity(send_mail, order.email)
        """
        return self._replayer.patches.ask(_checked(id))

    def retire_patch(self, id: str, /) -> None:
        """The old way is gone from this code; runs that went the new way go on. To be written where
        ``ctx.patched(id)`` stood, or before, once no open run is left that went the old way. It can
        be taken out, too, when no open run is left from before it was put here.

        Raises: as :meth:`patched`.

        Example:
            ctx.retire_patch("mail-after-shipping")
            await ctx.activity(send_mail, order.email)
        """
        self._replayer.patches.retire(_checked(id))


def _checked(id: object) -> str:
    if not is_name(id) or str(id).startswith(RETIRED) or len(str(id)) == NAME_MAX:
        raise InvalidCall(
            f"{id!r:.300} cannot name a patch: it must be a text of 1 to {NAME_MAX - 1} "
            f"characters, without NUL, that does not begin with {RETIRED!r}."
        )
    return str(id)
