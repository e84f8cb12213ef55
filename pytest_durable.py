"""The pytest plugin of Durable: the fixture ``durable``, a ``durable.testing.Environment``.

A module of its own, beside the package: pytest imports its plugins at every start, and must
not import all of Durable (nor asyncpg) where no test asks for it. Nothing is imported, and
nothing happens, before that.

The environment is opened around the test function itself, in whatever event loop it runs: so
it does not matter which plugin runs the coroutine (pytest-asyncio, anyio's, another).
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from durable.testing import Environment

_ENVIRONMENT: pytest.StashKey[Environment] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("durable").addoption(
        "--durable-always-replay",
        action="store_true",
        help="run each workflow again from its journal after every turn, whatever the marks say",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "durable(database=None, at=..., time='auto', replay='always', ...): what the fixture "
        "`durable` is made with; see durable.testing.Environment",
    )


@pytest.fixture(scope="session")
def durable_database_url() -> str | None:
    """The Postgres of the fixture ``durable``; None: everything in memory. Override it, for a
    folder or for all tests, to run them on a real one; each test gets a schema of its own."""
    return None


@pytest.fixture
def durable(request: pytest.FixtureRequest) -> Environment:
    """All of Durable inside one test: ``durable.testing.Environment``.

    It is open while the test runs. A fixture of yours that needs it earlier opens it itself:
    ``async with durable: yield ...``.
    """
    from durable.testing import Environment

    if "anyio_backend" in request.fixturenames:
        backend = request.getfixturevalue("anyio_backend_name")
        if backend != "asyncio":
            pytest.skip(f"Durable runs on asyncio, and this test on {backend}")
    options: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("durable"))):  # the closest wins
        options.update(marker.kwargs)
    if request.config.getoption("--durable-always-replay"):
        options["replay"] = "always"
    if "database" not in options:
        options["database"] = request.getfixturevalue("durable_database_url")
    environment = Environment(**options)
    request.node.stash[_ENVIRONMENT] = environment
    return environment


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    environment = item.stash.get(_ENVIRONMENT, None)
    test: Any = item  # a function's item: `obj` is the function
    function = getattr(test, "obj", None)
    if environment is None or not inspect.iscoroutinefunction(function):
        return (yield)
    test.obj = _inside(environment, function)
    try:
        return (yield)
    finally:
        test.obj = function


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What Durable raises on purpose says itself what is wrong: its own frames are left out."""
    errors, testing = sys.modules.get("durable.errors"), sys.modules.get("durable.testing")
    if call.excinfo is not None and errors is not None:
        kinds = errors.DurableError, *([testing.CrashDifference] if testing else [])
        error = call.excinfo.value
        if isinstance(error, kinds) and not item.config.getoption("fulltrace"):
            error.__traceback__ = _outside(
                error.__traceback__, str(Path(errors.__file__ or "").parent)
            )
            call.excinfo = pytest.ExceptionInfo.from_exception(error)
    return (yield)


def _outside(traceback: TracebackType | None, room: str) -> TracebackType | None:
    """What of a traceback does not lie in a room."""
    if traceback is None:
        return None
    rest = _outside(traceback.tb_next, room)
    if traceback.tb_frame.f_code.co_filename.startswith(room):
        return rest
    return TracebackType(rest, traceback.tb_frame, traceback.tb_lasti, traceback.tb_lineno)


def _inside(environment: Environment, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def inside(*args: Any, **kwargs: Any) -> Any:
        if environment.is_open:  # by a fixture, which closes it
            return await function(*args, **kwargs)
        async with environment:
            return await function(*args, **kwargs)

    return inside
