"""What holds inside a workflow, whatever was imported first; and nothing of it outside."""

from __future__ import annotations

import asyncio
import asyncio.tasks
import random
import time
import warnings
from asyncio import all_tasks, as_completed, wait, wait_for, wrap_future
from collections.abc import AsyncIterator
from concurrent.futures import Future as ThreadFuture
from typing import Any

import anyio
import anyio.to_thread
import pytest

from durable import Context
from durable import _selftest as selftest
from durable._authoring import guards
from durable._core import loop as loop_room
from durable._core import shims
from durable.errors import ConfigurationError, Evicted, InvalidCall, WorkflowWarning
from tests.core.story import Ctx, Story, fresh

# Inside


def test_names_that_were_imported_earlier_hold() -> None:
    """The functions themselves got other code, so it does not matter who imported when."""
    assert wait.__code__ is asyncio.wait.__code__ is not shims.originals["wait"].__code__

    async def race(ctx: Ctx) -> list[Any]:
        operations = [ctx.activity(f"n{i}") for i in range(3)]
        done, _ = await wait(operations, return_when=asyncio.FIRST_COMPLETED)
        late = [await each for each in as_completed([ctx.activity("x"), *done])]
        return [*late, await wait_for(ctx.activity("y"), 5), len(all_tasks())]

    story = Story(race)
    story.returns("n1", 1)
    story.returns("x", 2)
    assert story.returns("y", 3)[-1] == "complete [1, 2, 3, 1]"
    story.replays()


def test_a_cancelled_scope_beside_a_shielded_wait_ends_its_turn() -> None:
    async def careful(ctx: Ctx) -> str:
        async def work() -> None:
            try:
                await ctx.activity("work")
            finally:
                with anyio.CancelScope(shield=True):
                    await ctx.activity("undo")

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(work)
            await ctx.activity("go")
            tasks.cancel_scope.cancel()
        return "undone"

    story = Story(careful)
    assert story.returns("go")[:3] == ("#2 drop", "#3 drop", "#4 drop")
    story.returns("undo")
    story.returns("undo")
    assert story.returns("undo") == ("complete 'undone'",)
    story.replays()


def test_a_deadline_of_a_fraction_of_a_second_fires_once_and_for_ever_is_no_timer() -> None:
    async def short(ctx: Ctx) -> bool:
        with anyio.move_on_after(0.1234567) as scope:
            await anyio.sleep_forever()
        return scope.cancelled_caught

    story = Story(short)
    assert story.last == ("#1 wait 0.123457",)
    assert story.time_comes() == ("complete True",)
    story.replays()


def test_many_timers_of_one_moment_are_told_apart() -> None:
    async def twins(ctx: Ctx) -> None:
        loop = asyncio.get_running_loop()
        one, two = loop.call_later(5, print), loop.call_later(5, print)
        two.cancel()
        one.cancel()
        await ctx.activity("next")

    story = Story(twins)
    assert story.last == (
        "#1 wait 5", "#2 wait 5", "#2 drop", "#1 drop", "#3 activity next()",
    )  # fmt: skip


def test_a_dropped_generator_is_closed_in_its_turn() -> None:
    async def half(ctx: Ctx) -> str:
        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                await ctx.activity("close")

        async for _ in numbers():
            break
        await ctx.activity("work")
        return "done"

    story = Story(half)
    assert story.last == ("#1 activity work()", "#2 activity close()")
    story.returns("close")
    assert story.returns("work") == ("complete 'done'",)
    story.replays()


@pytest.mark.parametrize("how", ["to_thread", "anyio", "wrap", "factory", "close", "future"])
def test_what_cannot_be_replayed_is_refused_in_words(how: str) -> None:
    async def leaves(ctx: Ctx) -> None:
        loop = asyncio.get_running_loop()
        if how == "to_thread":
            await asyncio.to_thread(print)
        elif how == "anyio":
            await anyio.to_thread.run_sync(print)
        elif how == "wrap":
            await wrap_future(ThreadFuture[None]())
        elif how == "factory":
            loop.set_task_factory(None)
        elif how == "close":
            loop.close()
        else:
            await asyncio.wait([asyncio.Future()])

    assert Story(leaves).last == ("fail NotInWorkflow at None",)


def test_a_loop_of_ones_own_is_refused() -> None:
    async def nests(ctx: Ctx) -> None:
        coro = asyncio.sleep(0)
        try:
            asyncio.run(coro)
        finally:
            coro.close()

    assert Story(nests).last == ("fail RuntimeError at None",)


def test_code_that_goes_in_circles_and_asks_each_time_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop_room, "CALLBACKS_MAX", 500)
    monkeypatch.setattr(loop_room, "TURN_MAX", 2_000)

    async def stubborn(ctx: Ctx) -> None:
        task = asyncio.current_task()
        assert task is not None
        while True:
            try:
                task.cancel()
                await ctx.activity("again")
            except asyncio.CancelledError:
                pass

    with pytest.raises(Exception, match="yield to each other"):
        Story(stubborn)


# From outside


def test_what_belongs_to_a_workflow_is_refused_to_everybody_else() -> None:
    kept: list[Any] = []

    async def leaks(ctx: Ctx) -> None:
        event = asyncio.Event()
        waiting = asyncio.create_task(event.wait())
        kept.extend([ctx, ctx.activity("a"), event, Context(ctx.replayer, id="x", workflow="x")])
        await waiting

    story = Story(leaks)
    ctx, operation, event, whole = kept
    for touch in (
        lambda: ctx.activity("b"),
        lambda: ctx.sleep(1),
        lambda: whole.random,
        lambda: whole.log.info("x"),
        whole.uuid4,
        operation.cancel,
        event.set,
    ):
        with pytest.raises(InvalidCall, match="outside of a workflow's turn"):
            touch()
    assert list(story.replayer.open) == [1]


async def test_an_operation_awaited_in_the_hosts_loop_says_whose_it_is() -> None:
    kept: list[Any] = []

    async def leaks(ctx: Ctx) -> None:
        kept.append(ctx.activity("a"))
        await kept[0]

    Story(leaks)
    with pytest.raises(RuntimeError, match="only the workflow's own code can await"):
        await kept[0]


# The end


def test_a_failure_at_which_nobody_looked_is_told_with_its_line() -> None:
    async def careless(ctx: Ctx) -> None:
        ctx.activity("lost")

        async def inner() -> None:
            await ctx.activity("inner")

        task = asyncio.create_task(inner(), name="mine")
        await ctx.activity("main")
        del task

    story = Story(careless)
    story.fails("lost", ValueError("no"))
    story.fails("inner", ValueError("no"))
    told = story.returns("main")
    assert told[0].startswith("say activity 'lost', asked for at story.py:"), told
    assert told[1].startswith("say the task 'mine' failed (ValueError('no'))"), told
    assert told[2:] == ("complete None",)
    story.replays()


def test_a_sleep_without_await_is_told() -> None:
    async def forgets(ctx: Ctx) -> None:
        ctx.sleep(5)

    assert "was never awaited" in Story(forgets).last[1]


def test_an_eviction_passes_all_handlers_however_deep_the_clean_up_awaits() -> None:
    seen: list[str] = []

    async def held(ctx: Ctx) -> None:
        async def inner() -> None:
            try:
                await ctx.activity("work")
            finally:
                seen.append("inner")
                await ctx.activity("never")

        try:
            with anyio.move_on_after(60):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(ctx.activity("beside"))
                    await inner()
        except Exception:
            seen.append("except Exception")
        except asyncio.CancelledError:
            seen.append("except CancelledError")
        except BaseException as error:
            seen.append(type(error).__name__)
            raise
        finally:
            asyncio.create_task(ctx.activity("late"))  # noqa: RUF006 - never begins
            seen.append("finally")

    story = Story(held)
    story.replayer.close()
    assert seen == ["inner", Evicted.__name__, "finally"]


# Outside of workflows


async def test_the_patches_are_inert_in_every_other_loop() -> None:
    async def one() -> int:
        return 1

    tasks = [asyncio.create_task(one()) for _ in range(3)]
    for function in (asyncio.wait, shims.originals["wait"]):
        done, pending = await function(tasks)
        assert done == set(tasks)
        assert not pending
        with pytest.raises((TypeError, ValueError)):
            await function([])
    for function in (asyncio.as_completed, shims.originals["as_completed"]):
        assert [await each for each in function([one(), one()])] == [1, 1]
    for function in (asyncio.all_tasks, shims.originals["all_tasks"]):
        assert function() == {asyncio.current_task()}
    assert await asyncio.wait_for(one(), 1) == 1
    thread: ThreadFuture[int] = ThreadFuture()
    thread.set_result(2)
    assert await asyncio.wrap_future(thread) == 2
    gathered = asyncio.gather(one())
    assert hash(gathered) == object.__hash__(gathered)
    await gathered
    assert type(anyio.CancelScope()).__name__ == "CancelScope"
    assert await anyio.to_thread.run_sync(one.__name__.upper) == "ONE"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert time.time() > 0
        assert 0 <= random.random() < 1


def test_a_clock_in_the_body_of_a_class_is_no_method() -> None:
    class Stamp:
        clock: Any = time.time

    assert Stamp().clock() > 0


# Warnings and the self-test


def test_a_clock_is_told_once_at_its_line_and_does_not_fail() -> None:
    async def clocks(ctx: Ctx) -> None:
        for _ in range(2):
            time.time()
            await ctx.activity("a")

    guards._told.clear()
    with pytest.warns(WorkflowWarning, match=r"time\.time\(\).*test_determinism.*ctx\.now") as told:
        story = Story(clocks)
        story.returns("a")
        assert story.returns("a") == ("complete None",)
    assert len(told) == 1
    assert told[0].filename == __file__


def test_what_a_workflow_function_names_is_read_once() -> None:
    from datetime import datetime

    async def reads(ctx: Ctx) -> Any:
        return [time.monotonic() for _ in range(2)]

    guards._told.clear()
    with pytest.warns(WorkflowWarning, match=r"time\.monotonic\(\) in a workflow"):
        guards.read(reads)
    guards.read(reads)  # once
    assert guards._READ_FOR[datetime.now] == "datetime.now"


def test_a_loop_that_orders_differently_fails_the_self_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert selftest.check_python() is None
    monkeypatch.setattr(loop_room.OrderedTask, "__hash__", lambda task: -task._birth)
    with pytest.raises(ConfigurationError, match="self-test of replay failed"):
        selftest.check_python()


def test_a_python_that_nobody_proved_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "PROVED", ())
    assert "newer than what replay has been proved on" in str(selftest.check_python())


def test_two_replays_of_chance_agree() -> None:
    async def chance(ctx: Ctx) -> tuple[int, str]:
        return len(asyncio.all_tasks()), asyncio.current_task().get_name()  # type: ignore[union-attr]

    assert Story(chance).last == Story(chance).last == ("complete (1, 'Task-1')",)
    assert fresh(chance).seed


def test_the_streams_of_chance_do_not_move_each_other() -> None:
    def drawn(*, with_uuids: bool) -> tuple[str, ...]:
        async def draws(ctx: Ctx) -> list[float]:
            durable = Context(ctx.replayer, id="x", workflow="x")
            numbers = []
            for _ in range(3):
                if with_uuids:
                    durable.uuid4()
                numbers.append(durable.random.random())
            return numbers

        return Story(draws).last

    assert drawn(with_uuids=True) == drawn(with_uuids=False)
