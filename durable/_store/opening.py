"""The store's door: which implementation stands behind a database URL."""

from __future__ import annotations

from .postgres.store import Store

open_store = Store.open
