"""Whatever the pauses: each timer fires at its very time, once, and all of them in time order."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from durable import Context, activity, workflow
from durable.testing import Environment

from .conftest import BEGIN

MICROSECOND = timedelta(microseconds=1)
rung: list[int] = []


@activity(name="testing/strikes")
async def strikes(at: int) -> None:
    rung.append(at)


@workflow(name="testing/clockwork")
async def clockwork(ctx: Context, pauses: list[int]) -> list[int]:
    """Pauses and times in microseconds."""
    times: list[int] = []
    for pause in pauses:
        await ctx.sleep(timedelta(microseconds=pause))
        times.append((ctx.now() - BEGIN) // MICROSECOND)
        await ctx.activity(strikes, times[-1])
    return times


# Around the five seconds below which a run stays in memory, and far beyond; ties are likely.
pauses = st.one_of(
    st.sampled_from([0, 1, 1_000_000, 4_999_999, 5_000_000, 5_000_001]),
    st.integers(0, 10**14),
)


@settings(max_examples=40, deadline=None, database=None)
@given(
    st.lists(st.lists(pauses, min_size=1, max_size=5), min_size=1, max_size=6),
    st.lists(st.integers(0, 10**14), max_size=4),
    st.sampled_from(["always", "never"]),
)
def test_timers_are_exact(runs: list[list[int]], advances: list[int], replay: str) -> None:
    async def story() -> list[list[int]]:
        async with Environment(at=BEGIN, replay=replay) as env:  # type: ignore[arg-type]
            handles = [await env.start(clockwork, each) for each in runs]
            for length in advances:
                await env.advance(timedelta(microseconds=length))
            return [await handle.result() for handle in handles]

    rung.clear()
    told = asyncio.run(story())
    assert told == [list(accumulate(each)) for each in runs]
    assert rung == sorted(at for each in told for at in each)
