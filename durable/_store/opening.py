"""The store's door: which implementation stands behind a database URL."""

from __future__ import annotations

from .postgres.outcomes import CONNECTIONS_MAX
from .postgres.store import Store as PostgresStore
from .verbs import Store


async def open_store(
    dsn: str,
    *,
    name: str,
    schema: str,
    transactions_max: int = CONNECTIONS_MAX,
    notify: bool = True,
) -> Store:
    """Connect as ``name``, and see that the schema fits this code. ``transactions_max`` bounds
    the connections of ``ctx.transaction``; without ``notify`` all is found by polling.

    Raises:
        ConfigurationError, StoreUnavailable, SchemaMismatch: what is wrong, in words.
    """
    return await PostgresStore.open(
        dsn, name=name, schema=schema, transactions_max=transactions_max, notify=notify
    )
