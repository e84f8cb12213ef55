"""Opening a connection: how our sessions are set, and what a failure to connect means."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Protocol
from urllib.parse import urlsplit

import asyncpg

from ...errors import ConfigurationError, StoreError, StoreUnavailable

CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 2.0

POSTGRES_MIN = 14

# A lost peer is noticed after about 11 s without an answer, on both sides of the line.
_KEEPALIVE_IDLE, _KEEPALIVE_INTERVAL, _KEEPALIVE_COUNT = 5, 2, 3
_USER_TIMEOUT_MS = 10_000

# For each read asyncio makes room for 256 KiB, which the C library maps and unmaps each time: a
# fourth of Python's time for a lone step. Room of this size is had out of what is there.
_READ_BYTES = 64 * 1024

# The last argument: behind a pooler nothing may outlast the statement, for the next one may run
# in another session, and this session is another client's next.
_SETTINGS = """/* durable: connect */
select pg_is_in_recovery() as replica,
    current_setting('server_version_num')::int as version,
    pg_backend_pid() as pid,
    coalesce((select backend_start from pg_stat_get_activity(pg_backend_pid())),
        clock_timestamp()) as started,
    set_config('default_transaction_isolation', 'read committed', $7),
    set_config('idle_in_transaction_session_timeout', $1, $7),
    set_config('lock_timeout', $2, $7),
    set_config('jit', 'off', $7),
    set_config('tcp_keepalives_idle', $3, $7),
    set_config('tcp_keepalives_interval', $4, $7),
    set_config('tcp_keepalives_count', $5, $7),
    set_config('tcp_user_timeout', $6, $7)"""

# The same, of one transaction.
_LOCAL = """set local lock_timeout = '{lock}ms';
set local idle_in_transaction_session_timeout = '{idle}ms'; set local jit = 'off'"""

# A pooler tells its clients a process id of its own. Asked by the simple protocol, which keeps
# no statement; its answer is how many rows there are.
_DIRECT = "/* durable: direct */ select where pg_backend_pid() = {pid}"

# Arrays of boolean, bytea, int, bigint, timestamptz, interval, record, uuid: the numbers of these
# types and of their elements are the same in every Postgres.
_ARRAYS = {1000: 16, 1001: 17, 1007: 23, 1016: 20, 1185: 1184, 1187: 1186, 2287: 2249, 2951: 2950}
_NO_MORE = dict.fromkeys(("range_subtype", "attrtypoids", "basetype"))

Do = Callable[["asyncpg.Connection[Any]"], Awaitable[Any]]


class _Connection(asyncpg.Connection):
    """asyncpg would ask the catalogs about each array type that it meets, once per connection: 5 to
    15 ms. Of those above it is told. (An asyncpg that does not ask in this way asks them again.)"""

    async def _introspect_types(self, typeoids: Collection[int], *how: Any) -> Any:
        if not _ARRAYS.keys() >= set(typeoids):
            return await super()._introspect_types(typeoids, *how)  # type: ignore[misc]
        told = {"ns": "pg_catalog", "kind": b"b", "elemdelim": b",", **_NO_MORE}
        known = ((oid, _ARRAYS[oid]) for oid in typeoids)
        arrays = [{**told, "oid": oid, "name": f"_{of}", "elemtype": of} for oid, of in known]
        return arrays, SimpleNamespace(name="known")  # no unnamed statement has lost its place


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """An open connection, and who it is on the server.

    Behind a pooler (``pooled``) each transaction may run in another session of the server: what
    is set, locked, prepared or listened to there is gone with it, or is another client's. So
    each call is a transaction with settings of its own, and ``pid`` names nobody."""

    connection: asyncpg.Connection[Any]
    pid: int
    started: datetime
    pooled: bool
    local: str  # sets a transaction as the session would be, were it ours

    async def use(self, do: Do) -> Any:
        """One call, which holds no transaction open."""
        connection = self.connection
        if not self.pooled:
            return await do(connection)
        await connection.execute(
            f"/* durable: begin */ begin isolation level read committed; {self.local}"
        )
        try:
            result = await do(connection)
        except (asyncpg.PostgresError, ValueError):
            if not connection.is_closed():  # else the error is that it was ended
                await connection.execute("/* durable: rollback */ rollback")
            raise
        await connection.execute("/* durable: commit */ commit")
        return result

    async def close(self) -> None:
        """Say goodbye, or leave without; bounded."""
        try:
            await self.connection.close(timeout=CLOSE_SECONDS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self.connection.terminate()


class Seat(Protocol):
    """An open connection for transactions of users, and who it is on the server."""

    @property
    def connection(self) -> Any: ...
    @property
    def pid(self) -> int: ...
    @property
    def started(self) -> datetime: ...
    @property
    def pooled(self) -> bool: ...
    @property
    def local(self) -> str: ...
    async def close(self) -> None: ...


class Sessions:
    """Those that are open under one name, so that a takeover can end them. Also used in the
    heartbeat's thread: single operations on a dict are safe."""

    def __init__(self, dsn: str, name: str) -> None:
        self.dsn = dsn
        self.name = name
        self._open: dict[int, datetime] = {}

    def opened(self, session: Seat) -> None:
        if not session.pooled:
            self._open[session.pid] = session.started

    def closed(self, session: Seat) -> None:
        self._open.pop(session.pid, None)

    def backends(self) -> list[tuple[int, datetime]]:
        return list(self._open.copy().items())


async def connect(
    dsn: str, *, application: str, lock_timeout: float, idle_in_transaction: float = 10.0
) -> Session:
    """Open and prepare a connection; bounded in time.

    Raises:
        ConfigurationError: something must be changed before this can work.
        StoreUnavailable: it may work later.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await _opened(dsn, application, lock_timeout, idle_in_transaction)
    except asyncpg.InternalClientError as error:
        raise explained(ConnectionError(str(error)), dsn) from error
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise explained(error, dsn) from error


async def _opened(dsn: str, application: str, lock_timeout: float, idle: float) -> Session:
    caching: dict[str, Any] = {"max_cached_statement_lifetime": 0}
    while True:
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            server_settings={"application_name": application_name(application)},
            connection_class=_Connection,
            **caching,
        )
        try:
            direct = _DIRECT.format(pid=connection.get_server_pid())
            pooled = await connection.execute(direct) == "SELECT 0"
            if not pooled or "statement_cache_size" in caching:
                return await _prepared(connection, lock_timeout, idle, pooled=pooled)
        except asyncpg.InterfaceError as error:  # it was open, and was lost since
            connection.terminate()
            raise ConnectionError(str(error)) from error
        except BaseException:
            connection.terminate()
            raise
        connection.terminate()
        caching = {"statement_cache_size": 0}  # names of prepared statements would clash


@dataclass(frozen=True, slots=True)
class Settings:
    """How a session of ours is set: the statement, all its arguments but the last (see there), and
    the same for one transaction."""

    query: str
    arguments: tuple[str, ...]
    local: str


def settings(*, lock_timeout: float, idle: float) -> Settings:
    lock_ms, idle_ms = round(lock_timeout * 1000), round(idle * 1000)
    numbers = (_KEEPALIVE_IDLE, _KEEPALIVE_INTERVAL, _KEEPALIVE_COUNT, _USER_TIMEOUT_MS)
    return Settings(_SETTINGS, (f"{idle_ms}ms", f"{lock_ms}ms", *map(str, numbers)),
                    _LOCAL.format(lock=lock_ms, idle=idle_ms))  # fmt: skip


def application_name(name: str) -> str:
    """What sessions are called. The end of a name is what tells it from its neighbours'."""
    return f"durable:{name[-55:]}"


async def _prepared(
    connection: asyncpg.Connection[Any], lock_timeout: float, idle: float, *, pooled: bool
) -> Session:
    _keep_alive(connection)
    told = settings(lock_timeout=lock_timeout, idle=idle)
    row = await connection.fetchrow(told.query, *told.arguments, pooled)
    assert row is not None
    if row["replica"]:
        raise ConfigurationError(
            "This Postgres is a read-only replica. Durable writes: give it the primary "
            "(with several hosts in the URL, add target_session_attrs=primary)."
        )
    if row["version"] < POSTGRES_MIN * 10_000:
        raise ConfigurationError(
            f"This is Postgres {row['version'] // 10_000}; Durable needs {POSTGRES_MIN} or newer."
        )
    return Session(connection, row["pid"], row["started"], pooled, told.local)


def _keep_alive(connection: asyncpg.Connection[Any]) -> None:
    """Notice a peer that is gone without a word, and read in small pieces. asyncpg sets no option
    of its own, and has no public way to its socket."""
    transport = connection._transport  # type: ignore[attr-defined]
    if hasattr(transport, "max_size"):  # asyncio's own, not uvloop's
        transport.max_size = _READ_BYTES
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    options = [
        ("SO_KEEPALIVE", socket.SOL_SOCKET, 1),
        ("TCP_KEEPIDLE", socket.IPPROTO_TCP, _KEEPALIVE_IDLE),
        ("TCP_KEEPINTVL", socket.IPPROTO_TCP, _KEEPALIVE_INTERVAL),
        ("TCP_KEEPCNT", socket.IPPROTO_TCP, _KEEPALIVE_COUNT),
        ("TCP_USER_TIMEOUT", socket.IPPROTO_TCP, _USER_TIMEOUT_MS),
    ]
    for name, level, value in options:
        if hasattr(socket, name):  # not every platform has all of them
            sock.setsockopt(level, getattr(socket, name), value)


_UNSHOWN = "(not shown here)"
_MEND = "Mend the URL, or what it names on the server."


def shown(dsn: str) -> str:
    """The URL without its password, for error texts."""
    try:
        parts = urlsplit(dsn)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return _UNSHOWN
    if not parts.scheme:  # no URL at all: nobody knows where its password stands
        return _UNSHOWN
    user = f"{parts.username}@" if parts.username else ""
    where = f"{user}{host}{f':{port}' if port else ''}"
    return f"{parts.scheme}://{where}{parts.path}"


def explained(error: BaseException, dsn: str) -> StoreError:
    """What a failure to connect means, in words."""
    where = shown(dsn)
    if isinstance(error, asyncpg.PostgresError):
        return _refused(error, where)
    if isinstance(error, OSError):  # TimeoutError is one
        if isinstance(error, TimeoutError):
            why = f"no answer within {CONNECT_SECONDS:g} s"
        else:
            why = str(error) or type(error).__name__
        return StoreUnavailable(
            f"Postgres at {where} cannot be reached: {why}. Is it running, and is the host right?"
        )
    return ConfigurationError(
        f"The database URL {where} cannot be used: {error}. It looks like "
        "postgresql://user:password@host:5432/database."
    )


# By SQLSTATE.
_REFUSALS = {
    "28P01": f"refuses the password: {{}}. {_MEND}",
    "28000": f"does not let this user in: {{}}. {_MEND}",
    "3D000": f"has no such database: {{}}. {_MEND}",
    "25006": "is read-only: {}. Use the primary.",
}


def _refused(error: asyncpg.PostgresError, where: str) -> StoreError:
    state = error.sqlstate or ""
    if state[:2] in ("53", "57", "08"):
        return StoreUnavailable(f"Postgres at {where} does not take connections now: {error}.")
    told = _REFUSALS.get(state, f"cannot be used: {{}} (SQLSTATE {state}).")
    return ConfigurationError(f"Postgres at {where} {told.format(error)}")
