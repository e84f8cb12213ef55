"""A role that owns one schema and may do nothing else; and, under one, roles that own nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio

from durable import Client
from durable._migrating import migrate
from durable._store.postgres.store import Store
from durable.cli import cli
from durable.cli.output import told
from durable.errors import LeaseLost, SchemaMismatch
from durable.testing import History, replay
from tests.end_to_end import shop
from tests.end_to_end.processes import ROOT, Workers, check_promises, count, make_world, until
from tests.store.stage import Stage, turn

OPERATIONS = Path(ROOT) / "docs" / "operations.md"
DEPLOYING = Path(ROOT) / "docs" / "deploying.md"


assert shop  # its workflows are replayed


class Roles(NamedTuple):
    """URLs of one database for its administrator and for three roles of its own."""

    admin: str
    owner: str
    app: str
    viewer: str


@pytest_asyncio.fixture
async def roles(empty_dsn: str) -> AsyncIterator[Roles]:
    """Roles are the server's, so their names are made from the database's."""
    database = urlsplit(empty_dsn).path[1:]
    names = [f"{database}_{each}" for each in ("owner", "app", "viewer")]
    admin = await asyncpg.connect(empty_dsn)
    await admin.execute(f"revoke all on database {database} from public")
    await admin.execute("revoke all on schema public from public")
    for name in names:
        await admin.execute(f"create role {name} login password 'secret' noinherit")
        await admin.execute(f"grant connect on database {database} to {name}")
    await admin.execute(f"create schema durable authorization {names[0]}")
    try:
        yield Roles(empty_dsn, *(as_role(empty_dsn, name) for name in names))
    finally:
        for name in names:
            await admin.execute(f"drop owned by {name} cascade; drop role {name}")
        await admin.close()


def as_role(url: str, name: str) -> str:
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{name}:secret@{where}"))


def user(url: str) -> str:
    return str(urlsplit(url).username)


async def grant(roles: Roles) -> None:
    """The script of docs/operations.md, with our names, run by the owner."""
    script = re.search(r"```sql\n(-- as the owner.*?)```", OPERATIONS.read_text(), re.DOTALL)
    assert script is not None
    text = script[1].replace("shop_app", user(roles.app)).replace("shop_viewer", user(roles.viewer))
    await by_owner(roles, text)


async def by_owner(roles: Roles, text: str) -> None:
    owner = await asyncpg.connect(roles.owner)
    await owner.execute(text)
    await owner.close()


async def live_and_die(roles: Roles, url: str) -> None:
    """Workers under one role: one is killed, another takes its runs over."""
    await make_world(roles.admin)
    admin = await asyncpg.connect(roles.admin)
    await admin.execute(
        f"grant usage on schema world to {user(url)}; grant all on world.booking to {user(url)}"
    )
    await admin.close()
    workers = Workers(url, world=roles.admin)
    names = [f"g{i}" for i in range(12)]
    try:
        async with Client(url) as client:
            killed = workers.start()
            await asyncio.gather(*(client.start("order", name, id=name) for name in names))

            async def some_completed(number: int = 1) -> bool:
                return await count(client, "completed") >= number

            await until(some_completed, workers)
            killed.kill()
            killed.wait()
            workers.start()
            await until(lambda: some_completed(len(names)), workers)
        await check_promises(roles.admin, names)
    finally:
        workers.end()


async def test_a_role_that_owns_one_schema_and_nothing_else_is_enough(roles: Roles) -> None:
    owner = await asyncpg.connect(roles.owner)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await owner.execute("create schema another")
    await owner.close()
    await migrate(roles.owner)
    await migrate(roles.owner)
    await live_and_die(roles, roles.owner)


async def test_roles_of_the_documented_grants_work_and_see_and_no_more(roles: Roles) -> None:
    with pytest.raises(SchemaMismatch, match="Run `durable migrate`"):
        await Store.open(roles.app, name="test")
    await migrate(roles.owner)
    await grant(roles)
    await live_and_die(roles, roles.app)

    app, viewer = await asyncpg.connect(roles.app), await asyncpg.connect(roles.viewer)
    seen = await viewer.fetch("select id, status from durable.runs where result is not null")
    assert len(seen) == 12
    assert len(await viewer.fetch("select site from durable.history")) > 12
    for forbidden in ("select args from durable.input", "update durable.run set status = 'x'"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await viewer.execute(forbidden)
    for forbidden in ("update durable.journal set op = 1", "create table durable.mine (x int)",
                      "truncate durable.journal"):  # fmt: skip
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(forbidden)
    await app.close()
    await viewer.close()


async def test_a_role_that_may_only_look_replays_what_is_recorded(
    roles: Roles, capsys: pytest.CaptureFixture[str]
) -> None:
    await migrate(roles.owner)
    async with Client(roles.owner) as client:
        await client.start("order", "a", id="a")
    (script,) = re.findall(r"```sql\n(.*?)```", DEPLOYING.read_text(), re.DOTALL)
    await by_owner(roles, script.replace("shop_ci", user(roles.viewer)))
    async with Client(roles.viewer) as looks:
        histories = [each async for each in History.all(looks)]
        assert [replay(each).position for each in histories] == [0]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await looks.handle("a").cancel()
    command = ["pin", "a", "--database", roles.viewer]
    code = await asyncio.to_thread(told, lambda: cli.main(command, standalone_mode=False))
    assert (code, capsys.readouterr().err) == (
        8, "durable: The database refuses: permission denied for table run\n")  # fmt: skip


async def zombie_of(stage: Stage, url: str) -> tuple[Any, Any, int]:
    """A worker one of whose sessions sits in a transaction that has taken its fence."""
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    settings = {"application_name": "durable:zombie"}
    zombie = await asyncpg.connect(url, server_settings=settings)
    await zombie.execute("begin")
    await stage.commit_on(zombie, worker, turn(run, 1))
    await stage.observer.execute(
        "update durable.worker set backend_pids = array[$2::int], backend_starts = array["
        "(select backend_start from pg_stat_activity where pid = $2)] where worker = $1",
        worker,
        zombie.get_server_pid(),
    )
    return worker, zombie, run


async def test_it_may_end_the_sessions_of_its_own_dead(roles: Roles) -> None:
    await migrate(roles.owner)
    async with Stage(roles.owner) as stage:
        worker, zombie, run = await zombie_of(stage, roles.owner)

        assert await stage.store.workers.take_over(worker) == 1

        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await zombie.execute("commit")
        assert await stage.kinds(run) == ["started"]
        with pytest.raises(LeaseLost):
            await stage.commit(worker, turn(run, 1))


async def test_sessions_of_another_role_end_by_themselves_and_the_log_names_the_grants(
    roles: Roles, caplog: pytest.LogCaptureFixture
) -> None:
    await migrate(roles.owner)
    await grant(roles)
    async with Stage(roles.owner) as dead, Stage(roles.app) as judge:
        worker, zombie, run = await zombie_of(dead, roles.owner)
        taking = asyncio.create_task(judge.store.workers.take_over(worker))
        while "pg_signal_backend and pg_read_all_stats" not in caplog.text:
            assert not taking.done()
            await asyncio.sleep(0.01)

        await zombie.execute("commit")

        assert await taking == 1
        assert await judge.kinds(run) == ["started", "activity"]
        zombie.terminate()
