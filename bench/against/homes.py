"""Where each peer is installed: a virtual environment of its own, made when it is missing.

``requirements/NAME.txt`` pins every package of it, ``requirements/NAME.npm.txt`` what comes from
npm. A copy of both lies in the environment once it is whole, so that a changed pin makes it
anew. Ours is one, too: the packages it needs, pinned, and the code of this checkout.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
MADE = "made.txt"


class NotInstalled(Exception):
    """An environment could not be made; says why."""


def is_made(home: Path, name: str) -> bool:
    made = home / name / MADE
    return made.exists() and made.read_text() == _pins(name)


def make(home: Path, name: str, python: str) -> None:
    """Make the environment of a peer, unless it is there.

    Raises:
        NotInstalled: a package cannot be had here.
    """
    if is_made(home, name):
        return
    place = home / name
    shutil.rmtree(place, ignore_errors=True)
    _run(python, "-m", "venv", str(place))
    _run(
        str(place / "bin" / "python"), "-m", "pip", "install", "--quiet",
        "--disable-pip-version-check", "-r", str(_pip(name)),
    )  # fmt: skip
    if _npm(name).exists():
        npm = shutil.which("npm")
        if npm is None:
            raise NotInstalled(f"{name} comes from npm, and there is no npm here")
        packages = _npm(name).read_text().split()
        _run(npm, "install", "--silent", "--prefix", str(place / "npm"), *packages)
    (place / MADE).write_text(_pins(name))


def compile_checkout(python: str, root: Path) -> None:
    """As pip compiles what it installs: else each process of ours would compile all of it anew
    where Python is told to leave no bytecode."""
    _run(python, "-m", "compileall", "-q", str(root / "durable"), str(root / "bench"))


def python_of(home: Path, name: str) -> str:
    return str(home / name / "bin" / "python")


def pins(name: str) -> dict[str, str]:
    """The version of each package of a peer."""
    return dict(line.rsplit("@" if "@" in line[1:] else "==", 1) for line in _pins(name).split())


def _pip(name: str) -> Path:
    return REQUIREMENTS / f"{name}.txt"


def _npm(name: str) -> Path:
    return REQUIREMENTS / f"{name}.npm.txt"


def _pins(name: str) -> str:
    return "".join(path.read_text() for path in (_pip(name), _npm(name)) if path.exists())


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise NotInstalled(f"`{' '.join(command)}` failed: {said}")
