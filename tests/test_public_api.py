"""The public names are a list, and so are those of the errors."""

from __future__ import annotations

import inspect

import durable
from durable import errors, testing
from durable._core.statuses import CLOSED, NEXT, OPEN, Status, may_become

NAMES = """
ActivityError ActivityTimedOut Attempt Child ChildError ChildRefused Client Compensation Context
Description Done Durable DurableError
Handle Health Message Metrics Operation OutcomeUnknown Promise PromiseRejected Query Retry
RunCancelled RunClosed
RunError RunFailed
RunStuck RunTerminated Signal Start Started State Status Stream StreamItem Update UpdateFailed
UpdateRejected Worker WorkerOptions
activity attempt current
workflow
"""

ERRORS = """
ActivityError ActivityTimedOut CalledDirectly ChildError ChildRefused CodecError
ConfigurationError DecodeError
DefinitionError Divergence DurableError EncodeError ForkRefused HistoryUnreadable IdReused
InternalError InvalidCall LeaseLost
NotInWorkflow NotRegistered OutcomeUnknown PayloadTooLarge PromiseRejected RetryRefused RunCancelled
RunClosed
RunError RunExists RunFailed RunNotFound RunStuck RunTerminated SchemaMismatch StoreError
StoreUnavailable TokenRefused UpdateFailed UpdateRejected
"""


def test_the_public_names_are_these() -> None:
    assert sorted(durable.__all__) == sorted(NAMES.split())
    for name in durable.__all__:
        assert inspect.getdoc(getattr(durable, name)), f"{name} has no docstring"


def test_so_are_those_for_tests() -> None:
    names = ["Call", "CrashDifference", "Environment", "History", "Recording",
             "Replayed", "Stalled", "Survived", "assert_replays", "replay"]  # fmt: skip
    assert sorted(testing.__all__) == names
    for name in testing.__all__:
        assert inspect.getdoc(getattr(testing, name)), f"{name} has no docstring"


def test_every_public_method_says_what_it_does() -> None:
    for cls in (durable.Durable, durable.Client, durable.Worker, durable.Handle, durable.Context,
                testing.Environment):  # fmt: skip
        for name, member in inspect.getmembers(cls, inspect.isfunction):
            if not name.startswith("_"):
                assert inspect.getdoc(member), f"{cls.__name__}.{name}"


def test_all_errors_hang_on_one_tree() -> None:
    found = {
        name
        for name, each in vars(errors).items()
        if inspect.isclass(each) and each.__module__ == errors.__name__
    }
    assert found == {*ERRORS.split(), "Evicted", "WorkflowWarning"}
    assert not issubclass(errors.Evicted, Exception)
    assert all(issubclass(getattr(errors, name), errors.DurableError) for name in ERRORS.split())


def test_the_table_of_statuses_is_whole() -> None:
    assert set(NEXT) == set(Status)
    assert set(Status) == OPEN | CLOSED
    for status in CLOSED:
        assert NEXT[status] <= {Status.PENDING}, "only a retry opens what is closed"
    assert may_become(Status.FAILED, Status.PENDING)
    assert not may_become(Status.COMPLETED, Status.RUNNING)
