"""The first steps of every tutorial: activities, retries, local decisions, exceptions."""

import asyncio
import json
import logging
import math
import re
import textwrap
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from enum import Enum

from durable import ActivityError, Context, Retry, activity, workflow

log = logging.getLogger(__name__)
PATTERN = re.compile(r"^[a-z]+$")
LANGUAGES = {"en": "Hello", "fr": "Bonjour", "es": "Hola"}
DEFAULT_TIMEOUT = timedelta(seconds=10)


class Tone(Enum):
    FORMAL = "formal"
    CASUAL = "casual"


@dataclass
class Greeting:
    name: str
    language: str = "en"
    tone: Tone = Tone.CASUAL
    notes: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


@activity(retry=Retry(attempts=3), timeout=10)
async def compose(greeting: Greeting) -> str:
    return f"{LANGUAGES[greeting.language]}, {greeting.name}!"


@activity
def translate(text: str, language: str) -> str:
    return text


@workflow
async def greet(ctx: Context, name: str) -> str:
    log.info("greeting %s", name)
    ctx.log.info("greeting %s", name)
    return await ctx.activity(compose, Greeting(name))


@workflow(name="greet.in-parallel")
async def greet_everybody(ctx: Context, names: list[str]) -> list[str]:
    greetings = await asyncio.gather(*(ctx.activity(compose, Greeting(n)) for n in names))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ctx.activity(translate, g, "fr")) for g in greetings]
    return sorted({task.result() for task in tasks})


@workflow
async def greet_carefully(ctx: Context, greeting: Greeting) -> str:
    if not PATTERN.match(greeting.name):
        raise ValueError(f"{greeting.name!r} is no name")
    options = ctx.options(timeout=5, retry=Retry(attempts=2))
    try:
        text = await options.activity(compose, greeting)
    except ActivityError as error:
        text = f"sorry: {error.type}"
    except Exception:
        ctx.log.error("no greeting")
        raise
    finally:
        greeting.notes.append("tried")
    width = math.ceil(len(text) / 2)
    print(text)
    return textwrap.fill(json.dumps(asdict(greeting), sort_keys=True, default=str), width)
