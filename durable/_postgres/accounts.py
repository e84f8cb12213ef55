"""Whom Postgres runs as. It refuses to be root; so when we are, another account runs it."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Account:
    """``uid`` None: our own. ``prefix`` goes before each command."""

    uid: int | None = None
    gid: int | None = None
    prefix: tuple[str, ...] = ()

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def as_popen(self) -> dict[str, Any]:
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def unprivileged() -> Account:
    """Our own account, unless that is root: then ``DURABLE_PG_USER``, postgres, nobody or
    daemon. In a rootless container, where no other account can own files, a user namespace in
    which we are nobody.

    Raises:
        ConfigurationError: root, and no other account.
    """
    if os.geteuid() != 0:
        return Account()
    for name in (os.environ.get("DURABLE_PG_USER"), "postgres", "nobody", "daemon"):
        try:
            entry = pwd.getpwnam(name) if name else None
        except KeyError:
            continue
        if entry is not None and entry.pw_uid != 0:
            if _can_give_away(entry.pw_uid, entry.pw_gid):
                return Account(entry.pw_uid, entry.pw_gid)
            namespace = ("unshare", "-U", "--map-user=65534", "--map-group=65534")
            return Account(prefix=namespace)
    raise ConfigurationError(
        "Postgres refuses to run as root, and there is no other account here: set "
        "DURABLE_PG_USER to the name of one."
    )


def _can_give_away(uid: int, gid: int) -> bool:
    directory = Path(tempfile.mkdtemp())
    try:
        os.chown(directory, uid, gid)
    except OSError:
        return False
    finally:
        directory.rmdir()
    return True


def is_reachable(path: Path) -> bool:
    """Whether any account can get to ``path``."""
    return all(each.stat().st_mode & stat.S_IXOTH for each in (path, *path.parents))


def check_reachable(directory: Path, account: Account) -> None:
    if account.uid is not None and not is_reachable(directory.resolve()):
        raise ConfigurationError(
            f"Postgres cannot run as root, and the account it runs as cannot enter {directory}. "
            "Run as an ordinary user, set DURABLE_HOME to an open directory, or set "
            "DURABLE_DATABASE_URL."
        )


def check_trusted(path: Path, account: Account) -> None:
    """Names in /tmp can be guessed: refuse what somebody else has made there."""
    found = path.lstat()
    ours = {0, os.geteuid(), account.uid}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours or found.st_mode & 0o022:
        raise ConfigurationError(
            f"{path} was not made by us (owner {found.st_uid}, mode {found.st_mode:o}): remove it."
        )
