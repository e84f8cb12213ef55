"""What comes from outside the program: arguments first, then the environment, then a default.

There is no configuration file: what a process may do is said where it is started, and what
concerns all of them stands in the database. Nothing else reads ``DURABLE_`` variables, but for
the launcher of the embedded Postgres, which has its own (``DURABLE_HOME``, ``DURABLE_PG_BIN``,
``DURABLE_PG_USER``, ``DURABLE_PG_CACHE``).
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import ConfigurationError

if TYPE_CHECKING:
    from .embedded import EmbeddedPostgres

log = logging.getLogger("durable")

_SWITCH = {"on": True, "off": False}


@dataclass(frozen=True, slots=True)
class Place:
    """The database to use, and the server that was started for it, if it is the embedded one."""

    dsn: str
    server: EmbeddedPostgres | None = None

    def leave(self) -> None:
        """Stop using the embedded server. Blocks."""
        if self.server is not None:
            self.server.stop()


def find_place(dsn: str | None, *, only_looks: bool = False) -> Place:
    """Where the database is: ``dsn``, else ``DURABLE_DATABASE_URL``, else the embedded Postgres,
    with a warning that names its directory. Blocks. Who ``only_looks`` makes no new one, and
    needs no warning.

    Raises:
        ConfigurationError: there is none, and why.
    """
    dsn = dsn or os.environ.get("DURABLE_DATABASE_URL")
    if dsn:
        return Place(dsn)
    if os.environ.get("DURABLE_EMBEDDED") == "never":
        raise ConfigurationError(
            "No database is given, and DURABLE_EMBEDDED=never forbids the embedded one: pass a "
            "URL, or set DURABLE_DATABASE_URL."
        )
    from .embedded import EmbeddedPostgres, default_directory  # not needed where a URL is given

    directory = default_directory()
    if only_looks and not directory.exists():
        raise ConfigurationError(
            f"No database is given, and there is no embedded one in {directory}: pass a URL, set "
            "DURABLE_DATABASE_URL, or go to the directory of your program."
        )
    server = EmbeddedPostgres(directory)
    server.start()
    if not only_looks:
        _speak_up()
        log.warning(
            "no database is given: using the embedded Postgres in %s. Set DURABLE_DATABASE_URL "
            "for anything that matters.",
            directory,
        )
    return Place(server.url(), server)


def notifies(chosen: bool | None) -> bool:
    """Whether to use LISTEN and NOTIFY: as ``chosen``, else ``DURABLE_NOTIFY`` (on or off), else
    yes.

    Raises:
        ConfigurationError: the variable is neither.
    """
    if chosen is not None:
        return chosen
    said = os.environ.get("DURABLE_NOTIFY", "on")
    if said not in _SWITCH:
        raise ConfigurationError(f"DURABLE_NOTIFY={said!r}: it is on or off.")
    return _SWITCH[said]


def _speak_up() -> None:
    """With the embedded Postgres somebody is trying things out: show what happens, unless the
    program has set up logging itself."""
    root = logging.getLogger()
    if not root.handlers and not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("durable: %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
