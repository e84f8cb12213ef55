import contextlib
import random
from collections.abc import Iterator

from .tools import clocks


class Base:
    def audit(self) -> None:
        open("audit.log", "a").write("x")  # expect: DUR201


class Stock(Base):
    def __init__(self, skus: list[str]) -> None:
        self.skus = skus
        self.audit()

    @property
    def label(self) -> str:
        return clocks.label(self.skus[0])

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        print("locked", clocks.stamp())
        yield

    async def __aenter__(self) -> "Stock":
        random.seed(3)  # expect: DUR103
        return self

    async def __aexit__(self, *_: object) -> None: ...


def choose(skus: list[str]) -> str:
    return _any(skus)


def _any(skus: list[str]) -> str:
    return random.choice(skus)  # expect: DUR103
