"""Durable execution for Python on nothing but Postgres.

    from durable import Context, Durable, activity, workflow

Write plain ``async def`` workflows; every result is recorded in Postgres; after any crash the
code is run again, is fed what was recorded, and goes on where it stood.
"""

from ._app import Durable, Worker
from ._authoring.attempts import Attempt, attempt
from ._authoring.channels import Message, Query, Signal, Update
from ._authoring.children import Child
from ._authoring.compensation import Compensation
from ._authoring.context import Context, current
from ._authoring.definitions import activity, workflow
from ._authoring.streams import Promise, State, Stream
from ._changing import Client, Done
from ._client.handle import Description, Handle
from ._client.reading import StreamItem
from ._client.starting import Start, Started
from ._core.operation import Operation
from ._core.retries import Retry
from ._core.statuses import Status
from ._runtime.metrics import Metrics
from ._runtime.options import Health, WorkerOptions
from .errors import (
    ActivityError,
    ActivityTimedOut,
    ChildError,
    ChildRefused,
    DurableError,
    OutcomeUnknown,
    PromiseRejected,
    RunCancelled,
    RunClosed,
    RunError,
    RunFailed,
    RunStuck,
    RunTerminated,
    UpdateFailed,
    UpdateRejected,
)

__version__ = "0.1.0"

__all__ = [
    "ActivityError",
    "ActivityTimedOut",
    "Attempt",
    "Child",
    "ChildError",
    "ChildRefused",
    "Client",
    "Compensation",
    "Context",
    "Description",
    "Done",
    "Durable",
    "DurableError",
    "Handle",
    "Health",
    "Message",
    "Metrics",
    "Operation",
    "OutcomeUnknown",
    "Promise",
    "PromiseRejected",
    "Query",
    "Retry",
    "RunCancelled",
    "RunClosed",
    "RunError",
    "RunFailed",
    "RunStuck",
    "RunTerminated",
    "Signal",
    "Start",
    "Started",
    "State",
    "Status",
    "Stream",
    "StreamItem",
    "Update",
    "UpdateFailed",
    "UpdateRejected",
    "Worker",
    "WorkerOptions",
    "activity",
    "attempt",
    "current",
    "workflow",
]
