"""States and streams from outside: while the run goes on, and after."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

import durable
from durable import Client, Context, Durable, Retry, State, Stream, StreamItem, activity, workflow
from durable._codec.values import encode
from durable.errors import DecodeError, InvalidCall, PayloadTooLarge, RunFailed, RunNotFound

from .conftest import WAIT_SECONDS, until

progress = State[int]("streams.progress")
steps = Stream[str]("streams.steps")
tokens = Stream[str]("streams.tokens")
anything = Stream[Any]("streams.anything")

doors: dict[str, asyncio.Event] = {}
failing: list[str] = []


@pytest.fixture(autouse=True)
def _shut() -> None:
    doors.clear()
    failing.clear()


def door(name: str) -> asyncio.Event:
    return doors.setdefault(name, asyncio.Event())


@activity(name="streams.waits")
async def waits(name: str) -> None:
    await door(name).wait()


@activity(name="streams.talks", retry=Retry(attempts=2, delay=0.01))
async def talks(words: list[str]) -> str:
    for n, word in enumerate(words):
        durable.attempt().publish(tokens, word)
        if failing and n == 1:
            raise OSError(failing.pop())
        await asyncio.sleep(0)
    return " ".join(words)


@activity(name="streams.talks_in_threads")
def talks_in_threads(count: int) -> None:
    here = durable.attempt()

    def talk() -> None:
        for n in range(count):
            here.publish(tokens, str(n))

    threads = [threading.Thread(target=talk) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


@workflow(name="streams.imports")
async def imports(ctx: Context, name: str, count: int) -> int:
    for n in range(count):
        ctx.set(progress, -1)  # nobody ever sees it
        ctx.set(progress, n)
        ctx.publish(steps, f"begin {n}")
        await ctx.activity(waits, f"{name} {n}")
        ctx.publish(steps, f"end {n}")
    return count


@workflow(name="streams.chat")
async def chat(ctx: Context, words: list[str]) -> str:
    said = await ctx.activity(talks, words)
    ctx.publish(tokens, "(over)")
    return said


@workflow(name="streams.threads")
async def in_threads(ctx: Context, count: int) -> None:
    await ctx.activity(talks_in_threads, count)


@workflow(name="streams.shows")
async def shows(ctx: Context, value: Any, size: int) -> str:
    try:
        for _ in range(size):
            ctx.publish(anything, value)
    except durable.DurableError as error:
        return type(error).__name__
    return "shown"


@workflow(name="streams.goes_on")
async def goes_on(ctx: Context, part: int) -> int:
    ctx.publish(steps, f"part {part}")
    if part == 1:
        ctx.set(progress, 50)
    if part < 4:
        ctx.continue_as_new(part + 1)
    return part


@workflow(name="streams.lies")
async def lies(ctx: Context) -> str:
    with pytest.raises(InvalidCall, match="does not fit int"):
        ctx.set(progress, "much")  # type: ignore[misc]
    with pytest.raises(InvalidCall, match="State"):
        ctx.set(steps, "x")  # type: ignore[arg-type]
    with pytest.raises(InvalidCall, match="Stream"):
        ctx.publish(progress, 1)  # type: ignore[arg-type]
    return "told"


@pytest.fixture
async def app(dsn: str) -> AsyncIterator[Durable]:
    async with asyncio.timeout(WAIT_SECONDS), Durable(dsn) as app:
        yield app


async def values(items: AsyncIterator[StreamItem[str]]) -> list[str]:
    return [item.value async for item in items]


async def test_a_stream_is_read_while_it_grows_and_ends_with_the_run(
    app: Durable, client: Client
) -> None:
    await app.start(imports, "grows", 3, id="grows")
    read: list[tuple[int, str]] = []
    async for item in client.handle("grows").stream(steps):
        read.append((item.offset, item.value))
        if item.value.startswith("begin"):  # what follows is there only after this was read
            door(f"grows {item.value[-1]}").set()
    assert read == [(1, "begin 0"), (2, "end 0"), (3, "begin 1"), (4, "end 1"), (5, "begin 2"),
                    (6, "end 2")]  # fmt: skip
    handle = client.handle("grows")
    assert await values(handle.stream(steps, after=4)) == ["begin 2", "end 2"]
    assert await values(handle.stream(steps, after=1_000)) == []


async def test_of_a_state_the_changes_come_and_the_last_value_stays(
    app: Durable, client: Client
) -> None:
    handle = client.handle("state")
    await app.start(imports, "state", 3, id="state")
    seen = []
    async for n in handle.changes(progress):
        seen.append(n)
        door(f"state {n}").set()
    assert seen == [0, 1, 2]
    assert await handle.state(progress) == 2
    assert [n async for n in handle.changes(progress)] == [2]
    assert await handle.state(State[int]("streams.never shown")) is None


async def test_runs_that_go_on_as_new_ones_are_one_stream(app: Durable, client: Client) -> None:
    first = await app.start(goes_on, 0, id="on")
    parts = [f"part {n}" for n in range(5)]
    assert await values(first.stream(steps)) == parts
    assert await first.result() == 4
    for handle in (first, client.handle("on")):
        for after in range(6):
            items = [item async for item in handle.stream(steps, after=after)]
            assert [item.value for item in items] == parts[after:]
            assert [item.offset for item in items] == [*range(after + 1, 6)]
        assert await handle.state(progress) == 50


async def test_views_show_them(app: Durable, database: Any) -> None:
    door("views 0").set()
    await app.run(imports, "views", 1, id="views")
    (state,) = await database.fetch("select * from durable.states")
    assert (state["id"], state["name"], state["value"]) == ("views", progress.name, "0")
    rows = await database.fetch('select "offset", value, is_reset from durable.streams order by 1')
    assert [tuple(row) for row in rows] == [(1, '"begin 0"', False), (2, '"end 0"', False)]


async def test_activities_publish_and_a_retry_resets(app: Durable, client: Client) -> None:
    failing.append("the model is away")
    handle = await app.start(chat, ["one", "two", "three"], id="chat")
    items = [item async for item in client.handle("chat").stream(tokens)]
    assert await handle.result() == "one two three"

    told = [(each.attempt, "reset" if each.is_reset else each.value) for each in items]
    assert told == [(1, "one"), (1, "two"), (2, "reset"), (2, "one"), (2, "two"), (2, "three"),
                    (None, "(over)")]  # fmt: skip
    assert [each.offset for each in items] == [1, 2, 3, 4, 5, 6, 7]
    assert {each.op for each in items[:-1]} == {items[0].op}
    with pytest.raises(InvalidCall, match="is a reset"):
        print(items[2].value)


async def test_threads_publish_too_each_in_its_order(app: Durable, client: Client) -> None:
    count = 700  # more than a page
    await app.start(in_threads, count, id="threads")
    read = await values(client.handle("threads").stream(tokens))
    assert sorted(read, key=int) == sorted(3 * [str(n) for n in range(count)], key=int)


async def test_many_readers_are_one_statement(
    app: Durable, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    streams = client.store.streams
    news = streams.news

    async def counted(watched: Any) -> Any:
        asked.append(len(watched))
        return await news(watched)

    monkeypatch.setattr(client.waits.news, "_ask", counted)
    await app.start(imports, "many", 1, id="many")
    handle = client.handle("many")
    readers = [asyncio.create_task(values(handle.stream(steps, after=n % 2))) for n in range(50)]

    async def all_wait() -> bool:
        return bool(asked) and max(asked) >= 1 and len(client.waits.news._waiters) == 1

    await until(all_wait)
    door("many 0").set()
    read = await asyncio.gather(*readers)
    assert read == [["begin 0", "end 0"] if n % 2 == 0 else ["end 0"] for n in range(50)]
    assert max(asked) <= 2  # equal wishes are one


async def test_what_is_too_large_is_refused_and_costs_nothing(app: Durable) -> None:
    assert await app.run(shows, "x" * 300_000, 1) == "PayloadTooLarge"
    assert await app.run(shows, "x" * 200_000, 50) == "PayloadTooLarge"
    assert await app.run(shows, "x" * 200_000, 5) == "shown"


async def test_values_of_another_type_are_refused_where_they_are_shown(app: Durable) -> None:
    assert await app.run(lies) == "told"


async def test_a_reader_with_another_type_is_told(app: Durable) -> None:
    handle = await app.start(shows, [1, 2], 1)
    assert await handle.result() == "shown"
    other = Stream[dict[str, int]]("streams.anything.read")
    other.name = anything.name
    with pytest.raises(DecodeError, match="dict"):
        await values(handle.stream(other))  # type: ignore[arg-type]


async def test_mistakes_of_readers_are_told(app: Durable, client: Client) -> None:
    with pytest.raises(RunNotFound):
        await client.handle("nobody").state(progress)
    with pytest.raises(RunNotFound):
        await values(client.handle("nobody").stream(steps))
    await app.run(shows, 1, 1, id="mistakes")
    handle = client.handle("mistakes")
    for after in (-1, "1", True, 2**63):
        with pytest.raises(InvalidCall, match="offset"):
            await values(handle.stream(steps, after=after))  # type: ignore[arg-type]
    with pytest.raises(InvalidCall, match="State"):
        await handle.state(steps)  # type: ignore[arg-type]
    with pytest.raises(InvalidCall, match="Stream"):
        await values(handle.stream(progress))  # type: ignore[arg-type]


async def test_an_attempt_is_told_when_nothing_is_written(
    app: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable._runtime.streaming.UNWRITTEN_BYTES_MAX", 5_000)
    words = ["x" * 1_000] * 10
    with pytest.raises(RunFailed, match="wait to be written"):
        await app.run(rushes, words)


@activity(name="streams.rushes", retry=Retry(attempts=1))
async def rush(words: list[str]) -> None:
    for word in words:  # without ever letting the loop go on
        durable.attempt().publish(tokens, word)


@workflow(name="streams.rushing")
async def rushes(ctx: Context, words: list[str]) -> None:
    await ctx.activity(rush, words)


def test_only_streams_take_what_an_attempt_publishes() -> None:
    with pytest.raises(PayloadTooLarge):
        tokens.encode("x" * 300_000)
    assert tokens.encode("x") == encode("x")
    with pytest.raises(InvalidCall):
        tokens.encode(7)
