"""Clocks, zones, chance and ids: each in the spellings that people use."""

import datetime as dt
import os
import random
import random as rnd
import secrets
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from random import choice
from time import *
from uuid import UUID, uuid4

import numpy as np
import pendulum
from pydantic import BaseModel, Field

from durable import Context, activity, workflow

chance = random.Random(7)
clock = time.time
TODAY = date.today()
RUN = f"run-{uuid4().hex[:8]}"
YEAR = 365
later = lambda: time.time()


@activity
async def act(*values: object) -> None: ...


@dataclass
class Event:
    what: str
    id: UUID = field(default_factory=uuid4)  # expect: DUR104
    at: datetime = field(default_factory=lambda: datetime.now(UTC))  # expect: DUR101


class Audit(BaseModel):
    at: datetime = Field(default_factory=datetime.utcnow)  # expect: DUR101
    token: str = Field(default_factory=secrets.token_hex)  # expect: DUR103

    @property
    def age(self) -> float:
        return time.time() - self.at.timestamp()  # expect: DUR101


@workflow
async def clocks(ctx: Context, deadline: datetime) -> float:
    began = time.time()  # expect: DUR101
    perf_counter()  # expect: DUR101
    clock()  # expect: DUR101
    now = datetime.now  # only a name
    if now() > deadline:  # expect: DUR101
        return 0
    today = date.today()  # expect: DUR101
    dt.datetime.today()  # expect: DUR101
    text = time.strftime("%Y")  # expect: DUR101
    time.strftime("%Y", time.gmtime(began))
    time.gmtime()  # expect: DUR101
    pendulum.now("UTC")  # expect: DUR101
    time.sleep(1)  # expect: DUR105
    await ctx.activity(act, today, text, time.monotonic_ns())  # expect: DUR101
    while (left := deadline - datetime.now(UTC)).total_seconds() > 0:  # expect: DUR101
        await ctx.sleep(left)
    audit = Audit()
    return audit.age


@workflow
async def made_at_import(ctx: Context) -> str:
    if ctx.now().date() > TODAY:  # expect: DUR101
        return RUN  # expect: DUR104
    assert later and YEAR
    return ""


@workflow
async def zones(ctx: Context, stamp: float, when: datetime) -> str:
    datetime.fromtimestamp(stamp)  # expect: DUR102
    datetime.fromtimestamp(stamp, UTC)
    when.astimezone()  # expect: DUR102
    when.astimezone(UTC)
    return str(ctx.now().astimezone().date())  # expect: DUR102


@workflow
async def draws(ctx: Context, options: list[str]) -> None:
    random.random()  # expect: DUR103
    rnd.shuffle(options)  # expect: DUR103
    await ctx.sleep(choice([1, 2]))  # expect: DUR103
    secrets.token_urlsafe(8)  # expect: DUR103
    os.urandom(8)  # expect: DUR103
    np.random.rand(3)  # expect: DUR103
    np.random.default_rng()  # expect: DUR103
    np.random.default_rng(7).random()
    random.Random()  # expect: DUR103
    random.Random(7).random()
    chance.random()  # expect: DUR401
    ctx.random.random()
    random_ = ctx.random
    random_.choice(options)
    sorted(options, key=lambda _: random.random())  # expect: DUR103
    await ctx.activity(act, str(uuid.uuid4()))  # expect: DUR104
    await ctx.activity(act, uuid.uuid5(uuid.NAMESPACE_DNS, "x"), ctx.uuid4())
    Event(what="what")


class Clock:
    def __call__(self) -> float:
        return time.time()  # expect: DUR101


ticking = Clock()


@workflow
async def called(ctx: Context) -> float:
    return ticking()


@workflow
async def shadowed(ctx: Context, time: float, random: list[int]) -> float:
    """Parameters that are called as modules are."""
    random.sort()
    return time.real + random.index(3)
