"""Pydantic models, which join when the user has pydantic: by annotation, as all classes do."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar
from uuid import UUID

import pytest

from durable._codec.values import decode, encode
from durable.errors import DecodeError, EncodeError

if TYPE_CHECKING:
    import pydantic
else:
    pydantic = pytest.importorskip("pydantic")

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "r"


@dataclass(frozen=True)
class Cash:
    amount: int


class Inner(pydantic.BaseModel):
    at: datetime
    kinds: set[str]


class Model(pydantic.BaseModel):
    id: UUID = pydantic.Field(alias="ID")
    inner: list[Inner]


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    colour: Colour
    link: pydantic.AnyUrl
    path: Path
    first: int = pydantic.Field(validation_alias="First", serialization_alias="FIRST")


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    strict: Strict


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def _shout(cls, name: str) -> str:
        return name.upper()


class Owner(pydantic.BaseModel, Generic[T]):
    pet: Cat | Dog = pydantic.Field(discriminator="kind")
    things: list[T]


class Rows(pydantic.RootModel[list[Cash]]):
    pass


class Key(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)
    n: int


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    n: int


@dataclass
class Holder:
    either: Owner[Cash] | Inner | Cash
    model: Model | None = None


INNER = Inner(at=datetime(2026, 1, 1, tzinfo=UTC), kinds={"a"})
MODEL = Model(ID=UUID(int=1), inner=[INNER])
STRICT = Strict.model_validate(
    {
        "colour": Colour.RED,
        "link": pydantic.AnyUrl("https://x.org/"),
        "path": Path("/a"),
        "First": 1,
    }
)
OWNER = Owner[Cash](pet=Cat(strict=STRICT), things=[Cash(1)])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MODEL, Model), ([MODEL], list[Model]), (MODEL, Model | None), (INNER, Inner | Model),
        (STRICT, Strict), (Dog(name="rex"), Cat | Dog), (Cat(strict=STRICT), Cat | Dog),
        (OWNER, Owner[Cash]), (Rows([Cash(1)]), Rows), ({Key(n=1)}, set[Key]),
        (Open.model_validate({"n": 1, "m": 2}), Open),
        (Holder(OWNER), Holder), (Holder(INNER, MODEL), Holder), (Holder(Cash(1)), Holder),
    ],
    ids=lambda each: str(each)[:12],
)  # fmt: skip
def test_a_model_comes_back_equal_and_of_its_class(value: Any, expected: Any) -> None:
    back = decode(encode(value), expected)
    assert back == value
    assert type(back) is type(value)
    assert encode(back) == encode(value)


def test_a_model_that_does_not_fit_says_where() -> None:
    with pytest.raises(DecodeError, match="kinds"):
        decode(encode({"at": "2026-01-01", "kinds": 5}), Inner)


def test_a_secret_is_not_written_by_accident() -> None:
    class Login(pydantic.BaseModel):
        password: pydantic.SecretStr

    with pytest.raises(EncodeError, match="SecretStr") as caught:
        encode(Login(password=pydantic.SecretStr("hush")))
    assert "hush" not in str(caught.value)
