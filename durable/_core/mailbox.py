"""Messages that have come, and receipts that wait for some: first come, first served, by name.

A message that nobody has taken yet waits here, in the run's memory; the journal has it. One whose
receipt is cancelled before anybody has looked at it goes back to its place.
"""

from __future__ import annotations

import weakref
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .operation import Operation

if TYPE_CHECKING:
    from .replayer import Replayer

T = TypeVar("T")


class Letter(NamedTuple):
    number: int  # the position of its event
    value: Any


class Receipt(Operation[T]):
    """One message, when it comes. Cancelled before anybody has looked, it gives it back."""

    __slots__ = ("give_back", "is_taken", "letter", "name", "read")

    name: str
    letter: Letter
    is_taken: bool
    read: Callable[[Any], T]
    give_back: Callable[[Receipt[T]], None]

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg=msg)
        if not cancelled and not self.is_taken and not self.cancelled():
            self.is_taken = True
            self.give_back(self)
        return cancelled

    def result(self) -> T:
        self.is_taken = True
        return super().result()

    def __await__(self) -> Generator[Any, None, T]:
        yield from super().__await__()
        return self.result()


class Mailbox:
    """A message that cannot be read makes its run unfit: its end, until other code comes."""

    def __init__(self, replayer: Replayer) -> None:
        # Weakly: what refers to itself waits for the garbage collector.
        self._replayer: Replayer = weakref.proxy(replayer)
        self._letters: defaultdict[str, list[Letter]] = defaultdict(list)
        self._receipts: defaultdict[str, list[Receipt[Any]]] = defaultdict(list)
        self._answered: list[Receipt[Any]] = []  # at which nobody may have looked yet

    def put(self, number: int, name: str, value: Any) -> Receipt[Any] | None:
        """A message has come. Returns the receipt that it answers, if one waits."""
        self._letters[name].append(Letter(number, value))
        return self._match(name)

    def unread(self) -> list[int]:
        """The numbers of all messages at which nobody has looked, in order."""
        waiting = [letter for letters in self._letters.values() for letter in letters]
        waiting += [each.letter for each in self._answered if not each.is_taken]
        return sorted(letter.number for letter in waiting)

    def unasked(self) -> list[str]:
        """Names of messages that have come, and that nobody has ever asked for."""
        return [name for name in self._letters if name not in self._receipts]

    def wait(self, receipt: Receipt[Any]) -> Receipt[Any] | None:
        """A receipt waits for its turn, or is answered at once."""
        self._receipts[receipt.name].append(receipt)
        return self._match(receipt.name)

    def take_back(self, receipt: Receipt[Any]) -> None:
        self._receipts[receipt.name].remove(receipt)

    def give_back(self, receipt: Receipt[Any]) -> Receipt[Any] | None:
        """Nobody has looked at the message: the next may have it."""
        insort(self._letters[receipt.name], receipt.letter, key=lambda letter: letter.number)
        return self._match(receipt.name)

    def _match(self, name: str) -> Receipt[Any] | None:
        if not self._letters[name] or not self._receipts.get(name):
            return None
        if self._replayer.unfit is not None:
            return None
        receipt, letter = self._receipts[name].pop(0), self._letters[name].pop(0)
        try:
            value = receipt.read(letter.value)
        except Exception as error:  # noqa: BLE001 - told by the turn
            self._replayer.set_unfit(error)
            return None
        receipt.letter = letter
        receipt.set_result(value)
        self._answered = [each for each in self._answered if not each.is_taken]
        self._answered.append(receipt)
        return receipt
