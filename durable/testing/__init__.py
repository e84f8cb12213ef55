"""What tests of workflows need: an environment in memory, virtual time, stand-ins.

    async def test_reminder(durable: Environment) -> None:
        durable.stand_in(send_mail, returns="sent")
        handle = await durable.start(remind, "ada@example.com")
        await durable.advance(days=30)
        assert await handle.result() == "sent"

``durable`` is a fixture of pytest that comes with the package; without pytest, use
``async with Environment() as durable``. See docs/testing.md.
"""

from .._histories import History
from .._replaying import Replayed
from .cast import Call
from .environment import Environment
from .everywhere import CrashDifference, Survived
from .golden import assert_replays, replay
from .passage import Stalled
from .recording import Recording

__all__ = [
    "Call", "CrashDifference", "Environment", "History", "Recording", "Replayed", "Stalled",
    "Survived", "assert_replays", "replay",
]  # fmt: skip
