"""The core, told as stories: what arrives, what the workflow asks then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable._core import events
from durable.errors import Divergence, InvalidCall, NotInWorkflow
from tests.core.story import START, Ctx, Story, fresh


def test_steps_are_asked_for_one_after_another() -> None:
    async def order(ctx: Ctx) -> str:
        a = await ctx.activity("charge", 5)
        b = await ctx.activity("ship", a)
        return f"{a}+{b}"

    story = Story(order)
    assert story.last == ("#1 activity charge(5,)",)
    assert story.returns("charge", "paid") == ("#2 activity ship('paid',)",)
    assert story.returns("ship", "sent") == ("complete 'paid+sent'",)
    story.replays()


def test_nothing_runs_before_a_sleep_is_over() -> None:
    async def reminder(ctx: Ctx) -> None:
        await ctx.sleep(86_400)
        await ctx.activity("remind")

    story = Story(reminder)
    assert story.last == ("#1 wait 86400",)
    assert story.time_comes() == ("#2 activity remind()",)
    assert story.returns("remind") == ("complete None",)
    story.replays()


def test_a_gather_asks_for_all_and_keeps_the_order_of_its_results() -> None:
    async def both(ctx: Ctx) -> list[Any]:
        return list(await asyncio.gather(ctx.activity("a"), ctx.activity("b")))

    story = Story(both)
    assert story.last == ("#1 activity a()", "#2 activity b()")
    assert story.returns("b", 2) == ()
    assert story.returns("a", 1) == ("complete [1, 2]",)
    story.replays()


def test_a_timeout_takes_back_what_it_waited_for() -> None:
    async def impatient(ctx: Ctx) -> str:
        try:
            async with asyncio.timeout(10):
                return str(await ctx.activity("slow"))
        except TimeoutError:
            return "too slow"

    story = Story(impatient)
    assert story.last == ("#1 wait 10", "#2 activity slow()")
    assert story.time_comes() == ("#2 drop", "complete 'too slow'")
    story.replays()


def test_a_timely_answer_takes_back_the_timer() -> None:
    async def impatient(ctx: Ctx) -> Any:
        return await asyncio.wait_for(ctx.activity("quick"), 10)

    story = Story(impatient)
    assert story.returns("quick", 1) == ("#2 drop", "complete 1")
    story.replays()


def test_a_task_group_cancels_the_siblings_of_the_one_that_failed() -> None:
    async def group(ctx: Ctx) -> str:
        outcome = "fine"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(ctx.activity("a"))
                tasks.create_task(ctx.activity("b"))
        except* ValueError:
            outcome = "mended"
        return outcome

    story = Story(group)
    assert story.fails("b", ValueError("no")) == ("#1 drop", "complete 'mended'")
    story.replays()


def test_a_cancel_reaches_the_innermost_await_and_lets_clean_up_run() -> None:
    async def careful(ctx: Ctx) -> None:
        try:
            await ctx.activity("work")
        finally:
            await ctx.activity("clean up")

    story = Story(careful)
    assert story.is_cancelled() == ("#1 drop", "#2 activity clean up()")
    assert story.returns("clean up") == ("stop",)
    story.replays()


def test_a_shield_keeps_what_it_covers() -> None:
    async def shielded(ctx: Ctx) -> Any:
        inner = ctx.activity("commit")
        try:
            async with asyncio.timeout(1):
                await asyncio.shield(inner)
        except TimeoutError:
            pass
        return await inner

    story = Story(shielded)
    assert story.time_comes() == ()
    assert story.returns("commit", "late") == ("complete 'late'",)
    story.replays()


def test_the_first_of_several_wins_and_the_others_are_cancelled_in_order() -> None:
    async def race(ctx: Ctx) -> Any:
        tasks = [asyncio.ensure_future(ctx.activity(f"n{i}")) for i in range(5)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in pending:
            each.cancel()
        return [each.result() for each in done]

    story = Story(race)
    assert story.returns("n3", "x") == (
        "#1 drop", "#2 drop", "#3 drop", "#5 drop", "complete ['x']",
    )  # fmt: skip
    story.replays()


def test_as_completed_yields_in_the_order_of_the_journal() -> None:
    async def gather_news(ctx: Ctx) -> list[Any]:
        async def ask(name: str) -> Any:
            return await ctx.activity(name)

        return [await each for each in asyncio.as_completed([ask("a"), ask("b"), ask("c")])]

    story = Story(gather_news)
    assert story.last == ("#1 activity a()", "#2 activity b()", "#3 activity c()")
    story.returns("c", "C")
    story.returns("a", "A")
    assert story.returns("b", "B") == ("complete ['C', 'A', 'B']",)
    story.replays()


def test_queues_events_locks_and_semaphores_are_plain_asyncio() -> None:
    async def pipeline(ctx: Ctx) -> list[Any]:
        queue: asyncio.Queue[Any] = asyncio.Queue(1)
        ready, lock, two = asyncio.Event(), asyncio.Lock(), asyncio.Semaphore(2)

        async def produce() -> None:
            await ready.wait()
            for i in range(2):
                async with lock, two:
                    await queue.put(await ctx.activity("make", i))
            await queue.put(None)

        producing = asyncio.create_task(produce())
        await ctx.activity("prepare")
        ready.set()
        made = []
        while (each := await queue.get()) is not None:
            made.append(each)
        await producing
        return made

    story = Story(pipeline)
    assert story.returns("prepare") == ("#2 activity make(0,)",)
    story.returns("make", "m0")
    assert story.returns("make", "m1") == ("complete ['m0', 'm1']",)
    story.replays()


def test_time_stands_still_between_events_and_never_goes_back() -> None:
    async def clock(ctx: Ctx) -> list[float]:
        seen = [asyncio.get_running_loop().time()]
        await ctx.activity("a")
        seen.append(asyncio.get_running_loop().time())
        await asyncio.sleep(60)
        seen.append(asyncio.get_running_loop().time())
        return [each - START.timestamp() for each in seen]

    story = Story(clock)
    story.returns("a", after=5)
    assert story.time_comes() == ("complete [0.0, 5.0, 65.0]",)
    story.replays()


def test_tasks_left_running_are_cancelled_when_the_function_returns() -> None:
    async def careless(ctx: Ctx) -> str:
        async def background() -> None:
            try:
                await ctx.activity("endless")
            finally:
                await ctx.activity("last words")

        asyncio.create_task(background())  # noqa: RUF006 - that is what it tests
        await ctx.activity("work")
        return "done"

    story = Story(careless)
    assert story.last == ("#1 activity work()", "#2 activity endless()")
    assert story.returns("work") == ("#2 drop", "#3 activity last words()")
    assert story.returns("last words") == ("complete 'done'",)
    story.replays()


def test_an_operation_still_pending_at_the_end_is_cancelled_and_named() -> None:
    async def forgetful(ctx: Ctx) -> str:
        ctx.activity("forgotten")
        return "done"

    story = Story(forgetful)
    assert story.last[0] == "#1 activity forgotten()"
    assert "'forgotten', asked for at story.py:" in story.last[1]
    assert "was still pending" in story.last[1]
    assert story.last[2:] == ("#1 drop", "complete 'done'")


def test_a_failure_names_the_event_it_rests_on() -> None:
    async def chained(ctx: Ctx) -> None:
        try:
            await ctx.activity("charge")
        except KeyError as error:
            raise RuntimeError("no money") from error

    story = Story(chained)
    assert story.fails("charge", KeyError("card")) == ("fail RuntimeError at 1",)


def test_a_failure_of_the_code_alone_rests_on_nothing() -> None:
    async def broken(ctx: Ctx) -> None:
        await ctx.activity("charge")
        raise RuntimeError("a bug")

    story = Story(broken)
    assert story.returns("charge") == ("fail RuntimeError at None",)


def test_a_voided_failure_is_asked_for_again_and_numbers_are_not_reused() -> None:
    async def order(ctx: Ctx) -> Any:
        try:
            return await ctx.activity("charge")
        except ValueError:
            await ctx.activity("refund")
            raise

    story = Story(order)
    assert story.fails("charge", ValueError()) == ("#2 activity refund()",)
    replayer = fresh(order)
    replayer.feed(story.journal[0].event)
    replayer.feed(events.Voided(2, next_op=3))
    assert list(replayer.open) == [1]
    replayer.feed(events.Failed(3, START, 1, "activity", "charge", b"()", ValueError()))
    assert list(replayer.open) == [3]


def test_code_that_asks_for_something_else_diverges_in_words() -> None:
    async def old(ctx: Ctx) -> None:
        await ctx.activity("charge", 1)

    async def new(ctx: Ctx) -> None:
        await ctx.activity("ship", 1)

    async def other_arguments(ctx: Ctx) -> None:
        await ctx.activity("charge", 2)

    async def nothing(ctx: Ctx) -> None:
        return

    story = Story(old)
    story.returns("charge")
    for code, words in (
        (new, "now asks for activity 'ship'"),
        (other_arguments, "with other arguments"),
        (nothing, "it has returned already"),
    ):
        replayer = fresh(code)
        replayer.feed(story.journal[0].event)
        with pytest.raises(Divergence, match=words) as caught:
            replayer.feed(story.journal[1].event)
        assert caught.value.position == 1


def test_a_timer_of_another_length_diverges() -> None:
    async def old(ctx: Ctx) -> None:
        await ctx.sleep(60)

    async def new(ctx: Ctx) -> None:
        await ctx.sleep(90)

    story = Story(old)
    story.time_comes()
    replayer = fresh(new)
    replayer.feed(story.journal[0].event)
    with pytest.raises(Divergence, match="due at 2026-01-01 00:01:00"):
        replayer.feed(story.journal[1].event)


def test_eviction_runs_finally_but_neither_except_nor_commands() -> None:
    seen: list[str] = []

    async def held(ctx: Ctx) -> None:
        try:
            await ctx.activity("work")
        except Exception:
            seen.append("except Exception")
        except asyncio.CancelledError:
            seen.append("except CancelledError")
        finally:
            seen.append("finally")
            await ctx.activity("never")
            seen.append("after")

    story = Story(held)
    story.replayer.close()
    assert seen == ["finally"]
    assert [each for each in story.replayer.open if each != 1] == []


def test_a_context_kept_after_the_end_is_refused() -> None:
    kept: list[Ctx] = []

    async def leaky(ctx: Ctx) -> None:
        kept.append(ctx)

    Story(leaky)
    with pytest.raises(InvalidCall, match="after its run had ended"):
        kept[0].activity("late")


async def test_threads_and_sockets_are_refused_with_advice() -> None:
    async def threads(ctx: Ctx) -> None:
        await asyncio.to_thread(print)

    async def sockets(ctx: Ctx) -> None:
        await asyncio.open_connection("127.0.0.1", 1)

    async def processes(ctx: Ctx) -> None:
        await asyncio.create_subprocess_exec("true")

    for code in (threads, sockets, processes):
        story = Story(code)
        assert story.last == ("fail NotInWorkflow at None",)
    with pytest.raises(NotInWorkflow, match=r"await ctx\.activity"):
        fresh(threads)._loop.run_in_executor(None, print)


async def test_the_host_loop_is_left_as_it_was() -> None:
    host, task = asyncio.get_running_loop(), asyncio.current_task()

    async def code(ctx: Ctx) -> bool:
        return asyncio.get_running_loop() is not host

    story = Story(code)
    assert story.last == ("complete True",)
    assert asyncio.get_running_loop() is host
    assert asyncio.current_task() is task


def test_tasks_that_only_yield_to_each_other_are_found_out() -> None:
    async def spin(ctx: Ctx) -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Divergence, match="yield to each other"):
        Story(spin)


def test_system_exit_ends_the_run_and_not_the_process() -> None:
    async def leave(ctx: Ctx) -> None:
        raise SystemExit(3)

    assert Story(leave).last == ("fail SystemExit at None",)
