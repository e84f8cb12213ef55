"""``check``: what is given, by path or by module, is read, and its workflows are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .bodies import Body
from .findings import Finding, told
from .looks import ending, named, order, shared, verbs
from .looks.found import Found
from .meanings import Function
from .names import Names
from .reach import reached, workflows
from .sources import Library, Module, Trouble, files, has_words

LOOKS: tuple[Callable[[Body], Iterator[Found]], ...] = (
    named.look,
    order.look,
    shared.look,
    verbs.look,
    ending.look,
)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, in the order of paths and lines; what could not be read, in words."""

    findings: list[Finding]
    troubles: list[str]
    files: int
    workflows: int


def check(given: Iterable[str], *, ignore: Iterable[str] = ()) -> Report:
    """Look at the workflows in what is given, and at what they call.

    Args:
        given: paths of files and folders, and dotted names of modules. Nothing of it is imported.
        ignore: codes of rules that do not count.
    """
    library = Library()
    names = Names(library)
    troubles: list[str] = []
    paths: dict[Path, bool] = {}  # whether it was named itself
    for each in given:
        try:
            found = files(each)
        except Trouble as trouble:
            troubles.append(str(trouble))
            continue
        is_named = not Path(each).is_dir()
        paths |= {path: is_named or paths.get(path, False) for path in map(Path.resolve, found)}
    roots = [f for module in _modules(library, paths) for f in workflows(names, module)]
    findings = look(names, roots, ignore=ignore)
    troubles += [str(each) for each in library.troubles]
    return Report(findings, troubles, len(paths), len(roots))


def _modules(library: Library, paths: dict[Path, bool]) -> Iterator[Module]:
    """Those that may have workflows. Others of a folder are not even read as Python, which takes
    time, and which templates and old scripts are not."""
    for path, is_named in paths.items():
        if not is_named and not has_words(path, b"durable", b"workflow"):
            continue
        try:
            yield library.read(path)
        except Trouble:
            continue  # it stands among those of the library


def look(names: Names, roots: list[Function], *, ignore: Iterable[str] = ()) -> list[Finding]:
    """What is found in functions, taken as workflows, and in what they call."""
    ignored = set(ignore)
    findings: dict[tuple[str, int, str], Finding] = {}
    for body in reached(names, roots):
        for each in LOOKS:
            for found in each(body):
                if found.code not in ignored and (finding := told(body, found)) is not None:
                    findings.setdefault((finding.path, finding.line, finding.code), finding)
    return sorted(findings.values(), key=lambda each: (each.path, each.line, each.column))
