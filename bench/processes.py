"""Worker processes of a benchmark, as anybody would start them: ``durable worker bench.served``."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence

import click

MODULE = "bench.served"


@contextlib.asynccontextmanager
async def workers(dsn: str, count: int, *options: str) -> AsyncGenerator[Sequence[int], None]:
    """Process ids of so many workers that have begun; on leaving they are told to drain."""
    alive: list[asyncio.subprocess.Process] = []
    command = [
        sys.executable, "-m", "durable", "worker", MODULE, "--database", dsn,
        "--runs-max", "2000", "--activities-max", "2000", *options,
    ]  # fmt: skip
    with tempfile.TemporaryFile() as log:
        try:
            for _ in range(count):
                each = await asyncio.create_subprocess_exec(
                    *command, stdout=asyncio.subprocess.PIPE, stderr=log
                )
                alive.append(each)
            for each in alive:
                assert each.stdout is not None
                if not await each.stdout.readline():
                    log.seek(0)
                    raise click.ClickException(f"a worker did not begin: {log.read().decode()}")
            yield [each.pid for each in alive]
        finally:
            for each in alive:
                with contextlib.suppress(ProcessLookupError):
                    each.terminate()
            for each in alive:
                await each.wait()
