"""Whom Postgres runs as. It refuses to be root; so when we are, another account runs it."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import subprocess
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


# Root here, nobody there: for rootless containers, where no other account can own files.
NAMESPACE = ("unshare", "-U", "--map-user=65534", "--map-group=65534")


def unprivileged() -> Account:
    """Our own account, unless that is root: then ``DURABLE_PG_USER``, postgres, nobody or
    daemon. In a rootless container, where no other account can own files, a user namespace in
    which we are nobody.

    Raises:
        ConfigurationError: root, and neither can be had.
    """
    if os.geteuid() != 0:
        return Account()
    entry = _entry()
    if _can_give_away(entry.pw_uid, entry.pw_gid):
        return Account(entry.pw_uid, entry.pw_gid)
    try:
        tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise _refused(f"give files to {entry.pw_name}, and there is no unshare here") from missing
    if tried.returncode:
        raise _refused(f"give files to {entry.pw_name}; {tried.stderr.strip()}")
    return Account(prefix=NAMESPACE)


def _refused(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"Postgres refuses to run as root, and this process cannot {why}. Set DURABLE_PG_USER to "
        "the name of an account that can own files here, run as an ordinary user, or set "
        "DURABLE_DATABASE_URL."
    )


def _entry() -> pwd.struct_passwd:
    """The account to run as; initdb asks for no more of it than an entry in passwd."""
    chosen = os.environ.get("DURABLE_PG_USER")
    for name in (chosen,) if chosen else ("postgres", "nobody", "daemon"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid != 0:
                return entry
    raise _refused(
        f"become DURABLE_PG_USER={chosen}: there is no such account, or it is root again"
        if chosen
        else "become another: none of postgres, nobody and daemon is an account here"
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
