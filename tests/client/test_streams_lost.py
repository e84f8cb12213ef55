"""What activities publish when their worker, or only their run, is lost meanwhile."""

from __future__ import annotations

import asyncio

import pytest

import durable
from durable import Client, Context, Durable, Stream, activity, workflow
from durable._runtime.streaming import Publisher
from tests.runtime.takeovers import evict, fall_silent

from .conftest import WAIT_SECONDS

words = Stream[str]("lost.words")

doors: dict[int, asyncio.Event] = {}
begun: list[bool] = []


@pytest.fixture(autouse=True)
def _anew() -> None:
    doors.clear()
    begun.clear()


@activity(name="lost.lingers")
async def lingers() -> None:
    here = durable.attempt()
    begun.append(here.may_have_run)
    here.publish(words, f"begun {len(begun)}")
    await doors.setdefault(len(begun), asyncio.Event()).wait()
    here.publish(words, "over")


@workflow(name="lost.story")
async def story(ctx: Context) -> None:
    await ctx.activity(lingers)


async def test_a_takeover_resets_the_stream(dsn: str, client: Client) -> None:
    async with asyncio.timeout(WAIT_SECONDS), Durable(dsn, grace=0.05) as first:
        await first.start(story, id="a")
        items = client.handle("a").stream(words)
        assert (await anext(items)).value == "begun 1"
        await fall_silent(first)
        async with Durable(dsn, grace=0.05):
            again, value = await anext(items), await anext(items)
            assert (again.is_reset, again.attempt) == (True, 1)
            assert value.value == "begun 2"
            doors[2].set()
            assert [item.value async for item in items] == ["over"]
    assert begun == [False, True]


async def test_an_attempt_that_outlives_its_instance_goes_on_publishing(
    dsn: str, client: Client
) -> None:
    async with asyncio.timeout(WAIT_SECONDS), Durable(dsn) as app:
        await app.start(story, id="b")
        items = client.handle("b").stream(words)
        assert (await anext(items)).value == "begun 1"
        await evict(app)
        doors[1].set()
        # What the commit before had taken comes once more: it might have been lost.
        assert [item.value async for item in items][-1] == "over"
    assert begun == [False]


def test_a_publisher_marks_each_stream_where_another_attempt_begins() -> None:
    publisher = Publisher(lambda: None, number=2, may_have_run=True)
    publisher.publish("a", b"1")
    publisher.publish("a", b"2")
    assert [each[1:] for each in publisher.take()] == [(None, 2), (b"1", 2), (b"2", 2)]
    publisher.begin(3)
    publisher.publish("b", b"3")
    assert list(publisher.take()) == [("a", None, 3), ("b", None, 3), ("b", b"3", 3)]
    assert not list(publisher.take())


def test_what_a_commit_took_is_published_again_if_that_may_be_lost() -> None:
    publisher = Publisher(lambda: None, number=1, may_have_run=False)
    publisher.publish("a", b"1")
    assert len(list(publisher.take())) == 1
    publisher.publish("a", b"2")
    assert publisher.again()
    assert [each.value for each in publisher.take()] == [b"1", b"2"]
    list(publisher.take())
    assert not publisher.again()
