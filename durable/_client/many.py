"""Many starts in few round trips, each with an answer of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import DurableError, InvalidCall
from .handle import Handle
from .starting import Asked, Start, Started, asked, unhurried

if TYPE_CHECKING:
    from .client import Client

R = TypeVar("R")


async def start_many(
    client: Client, starts: Iterable[Start[R]], *, connection: Any
) -> list[Started[R]]:
    """See ``Client.start_many``.

    Raises:
        InvalidCall: one of them is no ``Start``; nothing was written.
    """
    results: list[Started[R]] = []
    wanted: list[tuple[int, Asked]] = []
    async for each in unhurried(starts):
        # Not all callers are typed.
        if not isinstance(each, Start):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidCall(
                f"start_many() was given {each!r:.100}, which is no Start, so it does not say "
                "what to start with which arguments. Write start_many([Start(order, 4200), "
                "...]). Nothing was written."
            )
        try:
            start = asked(each)
            start.check_fits()
            wanted.append((len(results), start))
            results.append(Started(start.new.id, False, None, None))
        except DurableError as error:
            results.append(Started(str(each.options.id), False, error, None))
    news = [start.new for _, start in wanted]
    answers = await client.store.runs.start_many(news, connection=connection) if news else []
    async for (n, start), answer in unhurried(zip(wanted, answers, strict=True)):
        id = start.new.id
        try:
            stands = start.check(answer)
        except DurableError as error:
            results[n] = Started(id, False, error, None)
        else:
            handle = Handle[R](client, id, run=stands.run, definition=start.definition)
            results[n] = Started(id, stands.created, None, handle)
    return results
