"""Files and modules: what is to be checked, and what its imports lead to.

Nothing is imported and no code is run: a module is found as Python would find it, and read. What
counts as the project are the packages of the files given, what stands beside them, and the current
directory; the standard library and installed packages are never followed.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from functools import cached_property
from importlib.machinery import PathFinder
from pathlib import Path

# Folders of tools, and of other people's code.
_FOREIGN = {"__pycache__", "node_modules", "site-packages", "dist-packages"}
_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()


class Trouble(Exception):
    """Something that was given cannot be checked; says why."""


class Module:
    """A file of source text. ``name`` is the dotted one under ``root``, from which it is found."""

    def __init__(self, path: Path, root: Path, name: str, text: str, tree: ast.Module) -> None:
        self.path = path
        self.root = root
        self.name = name
        self.text = text
        self.tree = tree

    def __repr__(self) -> str:
        return f"<Module {self.name}>"

    @property
    def package(self) -> str:
        """What relative imports begin with."""
        return self.name if self.path.stem == "__init__" else self.name.rpartition(".")[0]

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")  # as the parser counts them: form feeds end no line


class Library:
    """All modules that were read, by path; each once."""

    def __init__(self) -> None:
        here = Path.cwd()
        installed = [Path(each) for each in sys.path if each]  # as by `pip install -e`
        own = [each for each in installed if each.is_dir() and not _is_foreign(each)]
        self._roots = [here, here / "src", *own]
        self._read: dict[Path, Module | Trouble] = {}
        self._found: dict[tuple[Path, str], Module | None] = {}
        self.troubles: list[Trouble] = []

    def read(self, path: Path) -> Module:
        """
        Raises:
            Trouble: it cannot be read as Python.
        """
        path = path.resolve()
        known = self._read.get(path)
        if known is None:
            try:
                known = _parsed(path)
            except Trouble as trouble:
                known = trouble
                self.troubles.append(trouble)
            self._read[path] = known
        if isinstance(known, Trouble):
            raise known
        return known

    def find(self, name: str, near: Module) -> Module | None:
        """The module of the project with this dotted name, if it is one."""
        key = near.root, name
        if key not in self._found:
            self._found[key] = self._search(name, near.root)
        return self._found[key]

    def _search(self, name: str, root: Path) -> Module | None:
        parts = name.split(".")
        if not all(parts):  # a relative import from outside of any package
            return None
        if parts[0] in sys.stdlib_module_names or parts[0] == "durable":
            return None
        for each in dict.fromkeys([root, *self._roots]):
            base = each.joinpath(*parts)
            for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
                if path.is_file() and not _is_foreign(path):
                    try:
                        return self.read(path)
                    except Trouble:
                        return None
        return None


def _is_foreign(path: Path) -> bool:
    return not _FOREIGN.isdisjoint(path.parts) or _STDLIB in path.parents


def _parsed(path: Path) -> Module:
    try:
        raw = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes and the like: others tell
            tree = ast.parse(raw, str(path))
        text = importlib.util.decode_source(raw)
    except OSError as error:
        raise Trouble(f"{shown(path)} cannot be read: {error.strerror or error}.") from None
    except SyntaxError as error:
        line = f":{error.lineno}" if error.lineno else ""
        raise Trouble(
            f"{shown(path)}{line} is no Python {sys.version_info[0]}.{sys.version_info[1]}: "
            f"{error.msg}."
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        why = str(error) or "it is nested too deep"
        raise Trouble(f"{shown(path)} cannot be read as Python: {why}.") from None
    root, name = _place(path)
    return Module(path, root, name, text, tree)


def _place(path: Path) -> tuple[Path, str]:
    """Where the search for its package begins, and its dotted name there."""
    parts = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts) or folder.name


def shown(path: Path) -> str:
    """As short as it can be written from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def has_words(path: Path, *words: bytes) -> bool:
    """Whether all of them stand in a file. One that cannot be read may have them."""
    try:
        text = path.read_bytes()
    except OSError:
        return True
    return all(word in text for word in words)


def files(given: str) -> list[Path]:
    """The files that a path or a dotted module name stands for.

    Raises:
        Trouble: there is nothing of that name.
    """
    path = Path(given)
    if path.is_dir():
        return sorted(_walk(path))
    if path.is_file():
        return [path]
    if path.exists():
        raise Trouble(f"{given} is no file.")
    if os.sep in given or "/" in given or given.endswith(".py"):
        raise Trouble(f"{given} does not exist.")
    return _of_module(given)


def _walk(folder: Path) -> Iterator[Path]:
    """All Python files under a folder, but for hidden ones, environments and installed packages."""
    for here, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _FOREIGN
            and not os.path.exists(os.path.join(here, name, "pyvenv.cfg"))  # noqa: PTH110, PTH118
        ]
        # No pipe, which would be waited for; no link that leads nowhere, as editors make them.
        paths = (Path(here, name) for name in names if name.endswith(".py"))
        yield from (path for path in paths if path.is_file())


def _of_module(name: str) -> list[Path]:
    unknown = (
        f"There is no module {name!r} here, and no such file. Give paths, or modules by their "
        "dotted names where `python -c 'import ...'` finds them."
    )
    if not all(part.isidentifier() for part in name.split(".")):
        raise Trouble(unknown)
    search: Iterable[str] | None = [str(Path.cwd()), *sys.path]
    whole, origin = "", None
    for part in name.split("."):
        whole = f"{whole}.{part}" if whole else part
        if search is None:
            raise Trouble(unknown)
        try:
            spec = PathFinder.find_spec(whole, [*search]) or (
                importlib.util.find_spec(whole) if whole == part else None
            )
        except (ImportError, ValueError, AttributeError):
            spec = None
        if spec is None:
            raise Trouble(unknown)
        search, origin = spec.submodule_search_locations, spec.origin
    if search is not None:
        return sorted(path for each in search for path in _walk(Path(each)))
    if origin is None or not origin.endswith(".py"):
        raise Trouble(f"Module {name!r} has no Python source that could be read.")
    return [Path(origin)]
