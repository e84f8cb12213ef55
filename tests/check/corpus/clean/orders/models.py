from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from uuid import UUID, uuid4


@dataclass
class Line:
    sku: str
    pieces: int
    cents: int


@dataclass
class Order:
    lines: list[Line]
    placed_at: datetime
    id: UUID = field(default_factory=uuid4)

    @cached_property
    def total(self) -> int:
        return sum(line.pieces * line.cents for line in self.lines)

    @classmethod
    def empty(cls, at: datetime, id: UUID) -> "Order":
        return cls(lines=[], placed_at=at, id=id)
