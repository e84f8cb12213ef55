"""Brings what attempts publish, in whatever thread, to the commits of their runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from .instance import Instance
from .work import Work


class Press:
    """``on_news`` gets a run with something to write. Belongs to the loop that makes it."""

    def __init__(self, on_news: Callable[[Instance], None]) -> None:
        self._on_news = on_news
        self._host = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def stir(self, work: Work) -> None:
        """An attempt has published something; from any thread."""
        if threading.get_ident() == self._thread:
            self._bring(work)
        elif not self._host.is_closed():
            self._host.call_soon_threadsafe(self._bring, work)

    def repeat(self, work: Work) -> None:
        """The run was loaded anew while its attempt went on: its last commit may be lost."""
        if work.publisher is not None and work.publisher.again():
            self._bring(work)

    def _bring(self, work: Work) -> None:
        assert work.publisher is not None
        work.instance.noting().streaming[work.command.op] = work.publisher
        if not work.instance.lost:
            self._on_news(work.instance)
