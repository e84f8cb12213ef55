"""Do deploys lose anything? Old and new workflow code side by side for minutes, forwards and back.

Workers of two versions (real processes) come and go under load, some by SIGTERM, some by SIGKILL;
the mixture moves from old to new and back again, and ends with new code alone. Every order must
end as it must, on whatever code it was begun; none may be stuck but those that the old code cannot
read, for as long as the new one is away.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import asyncpg
import click

from durable import Client
from durable._migrating import migrate
from durable.embedded import FAST_AND_FORGETFUL, EmbeddedPostgres
from tests.end_to_end.rollout.driver import AFTER, BEFORE, Rollout

# How many workers of each version there are, phase by phase, over and over, and for how long. The
# last is long enough that nobody may be stuck beside new code.
PHASES = (((2, 0), 3.0), ((1, 1), 3.0), ((0, 2), 3.0), ((1, 1), 18.0))
ORDERS_OPEN = 30
KILLED = 0.3  # of the workers that leave


async def campaign(dsn: str, *, seconds: float, seed: int) -> dict[str, Any]:
    """
    Raises:
        Broken: what must not be.
    """
    rollout = Rollout(dsn, seed=seed)
    connection = await asyncpg.connect(dsn)
    deploys = 0
    try:
        async with Client(dsn) as client:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                wanted, lasts = PHASES[deploys % len(PHASES)]
                await _deploy(rollout, wanted)
                deploys += 1
                phase_until = time.monotonic() + lasts * rollout.chance.uniform(0.7, 1.3)
                while time.monotonic() < phase_until:
                    counts = await rollout.look(connection)
                    for _ in range(len(rollout.ids) - counts["ended"], ORDERS_OPEN):
                        rollout.order(client)
                    await asyncio.sleep(0.1)
            await _deploy(rollout, (0, 2))
            counts = await rollout.finish(client, connection)
            return {"deploys": deploys, "orders": len(rollout.ids), **counts,
                    "stuck_meanwhile": rollout.stuck_most}  # fmt: skip
    finally:
        rollout.end()
        await connection.close()


async def _deploy(rollout: Rollout, wanted: tuple[int, int]) -> None:
    """What is new comes before what is old goes."""
    for version, count in zip((BEFORE, AFTER), wanted, strict=True):
        for _ in range(len(rollout.live(version)), count):
            rollout.start(version)
    await asyncio.sleep(1.0)
    for version, count in zip((BEFORE, AFTER), wanted, strict=True):
        for process in rollout.live(version)[count:]:
            await rollout.stop(process, kill=rollout.chance.random() < KILLED)


@click.command()
@click.option("--minutes", default=5.0, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--database", "dsn", metavar="URL", help="an embedded one if left out")
@click.option("--json", "as_json", is_flag=True)
def main(minutes: float, seed: int, dsn: str | None, as_json: bool) -> None:
    async def run(url: str) -> dict[str, Any]:
        await migrate(url)
        return await campaign(url, seconds=minutes * 60, seed=seed)

    if dsn is None:
        with EmbeddedPostgres(settings=FAST_AND_FORGETFUL) as server:
            told = asyncio.run(run(server.url()))
    else:
        told = asyncio.run(run(dsn))
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(
        f"{told['deploys']} deploys, {told['orders']} orders, all ended as they must: "
        f"{told['patched']} took the patch, {told['crossed']} of them begun on old code; at most "
        f"{told['stuck_meanwhile']} waited at a time for the new code."
    )


if __name__ == "__main__":
    main()
