"""Who is tried for the deaths of its workers, and how many at a time."""

from __future__ import annotations

from typing import Any

from durable._runtime.doubtful import TOGETHER_MAX, Doubtful
from durable._runtime.instance import Instance

from .test_runs import doubles


async def test_more_are_tried_after_each_that_moved_but_never_too_many() -> None:
    definition: Any = doubles.__durable__[1]  # type: ignore[attr-defined]
    payload = definition.signature.encode_call((1,), {})
    instance = Instance(1, id="a", claim=1, seed=bytes(16), definition=definition, input=payload)
    doubtful, rooms = Doubtful(), list[int]()
    for _ in range(100):  # a worker that lives for months, beside others that do not
        rooms.append(doubtful.room)
        doubtful.hold(instance)
        assert doubtful.room == 0
        instance.position += 1
        assert doubtful.review() == []
    assert rooms[:4] == [1, 2, 4, 8]
    assert max(rooms) == TOGETHER_MAX
    doubtful.review()
    assert doubtful.room == 1, "the next wave is met with as much care"
    instance.replayer.close()
