"""What the loop of a workflow refuses, in words.

asyncio's own loops reach the world by these methods. A workflow's code is run again after
each crash, so it must not; the words say what to do instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ..errors import NotInWorkflow

OUTSIDE = (
    "Something outside of a workflow's turn (an activity, the host's loop, another run) touched "
    "what belongs to the workflow: its `ctx`, or an operation, a task, an event, a queue or a "
    "lock of it. A replay could not do the same at the same moment. Return a value from the "
    "activity instead, and let the workflow's own code act on it."
)

_THREADS = "call_soon_threadsafe run_in_executor"
_LOOPS = """
close run_forever run_until_complete set_debug set_default_executor set_exception_handler
set_task_factory shutdown_asyncgens shutdown_default_executor stop
"""
_IO = """
add_reader add_signal_handler add_writer connect_accepted_socket connect_read_pipe
connect_write_pipe create_connection create_datagram_endpoint create_server
create_unix_connection create_unix_server getaddrinfo getnameinfo remove_reader
remove_signal_handler remove_writer sendfile sock_accept sock_connect sock_recv sock_recv_into
sock_recvfrom sock_recvfrom_into sock_sendall sock_sendfile sock_sendto start_tls
subprocess_exec subprocess_shell
"""

# What was tried, and the advice, by method.
OUTWARD = {
    **dict.fromkeys(_THREADS.split(), ("use a thread", "make that function a (plain) @activity")),
    **dict.fromkeys(
        _LOOPS.split(), ("change its event loop", "if it must be, do it in an activity")
    ),
    **dict.fromkeys(_IO.split(), ("do I/O", "do it in an activity")),
}


def refusing(name: str) -> Callable[..., NoReturn]:
    """A method that only refuses, with ``NotInWorkflow``."""
    what, advice = OUTWARD[name]

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise NotInWorkflow(
            f"A workflow tried to {what} ({name}). Its code is run again after each crash and "
            f"must only compute and await `ctx`: {advice}, and call it by "
            "`await ctx.activity(...)`."
        )

    return refuse
