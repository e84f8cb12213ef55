"""Somebody else to talk to: a process that answers each question after a millisecond.

Many questions go over one connection, as over HTTP/2, so that what is measured is not the peer:
each costs a write to a socket, a millisecond, and its share of a read.

    async with Peer() as peer:
        await peer.ask()
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

ANSWERS_AFTER = 0.001


class Answering(asyncio.Protocol):
    """As many bytes back as have come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(ANSWERS_AFTER, self._transport.write, data)


class Asking(asyncio.Protocol):
    """A byte is a question; answers come in the order of the questions."""

    def __init__(self) -> None:
        self.waiting: deque[asyncio.Future[None]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for _ in data:
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)


class Peer:
    """The process, and the connection to it."""

    async def __aenter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory()
        path = Path(self._directory.name) / "peer"
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.peer", str(path), stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"
        _, self._asking = await asyncio.get_running_loop().create_unix_connection(Asking, str(path))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._asking.transport.close()
        self._process.kill()
        await self._process.wait()
        self._directory.cleanup()

    async def ask(self) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asking.waiting.append(answer)
        self._asking.transport.write(b"?")
        await answer


async def serve(path: str) -> None:
    server = await asyncio.get_running_loop().create_unix_server(Answering, path)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
