"""Agents: a loop around a model, a table of tools, a conversation as state."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel, Field

import durable
from durable import Context, Signal, Stream, activity, workflow

said = Signal[str]("said")
tokens = Stream[str]("tokens")
TOOLS: dict[str, Callable[..., Any]] = {}
MODEL = "large"


def tool(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Registers while the module is imported: no run changes it."""
    TOOLS[fn.__name__] = fn
    return fn


class Message(BaseModel):
    role: str
    content: str
    calls: list[str] = Field(default_factory=list)

    @property
    def wants_tool(self) -> bool:
        return bool(self.calls)

    def digest(self) -> str:
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Speaker(Protocol):
    def say(self, text: str) -> None: ...


@dataclass
class Conversation:
    ctx: Context
    messages: list[Message] = field(default_factory=list)

    def add(self, message: Message) -> None:
        self.messages.append(message)
        self.ctx.publish(tokens, message.content)

    async def think(self) -> Message:
        answer = await self.ctx.activity(ask_model, [m.model_dump() for m in self.messages])
        self.add(answer)
        return answer


@activity
async def ask_model(messages: list[dict[str, Any]]) -> Message:
    return Message(role="assistant", content="done")


@tool
@activity
async def search(query: str) -> str:
    return query


@activity
async def weather(city: str) -> str:
    return city


@workflow
async def agent(ctx: Context, question: str) -> str:
    talk = Conversation(ctx)
    talk.add(Message(role="user", content=question))
    seen: set[str] = set()
    while True:
        answer = await talk.think()
        if not answer.wants_tool:
            return answer.content
        if answer.digest() in seen:
            raise RuntimeError("it goes round in circles")
        seen.add(answer.digest())
        for name in answer.calls:
            result = await ctx.activity(TOOLS[name], question)
            talk.add(Message(role="tool", content=json.dumps(result)))


@workflow
async def chat(ctx: Context, history: list[Message]) -> None:
    """Talks for as long as somebody does."""
    async for text in ctx.messages(said):
        if text == "/bye":
            return
        history.append(Message(role="user", content=text))
        history.append(await research(text))
        if len(history) > 200:
            ctx.continue_as_new(history[-20:])


async def research(text: str) -> Message:
    """Deep in the code, the context is found."""
    ctx = durable.current()
    parts = [await ctx.activity(weather, part) for part in text.split()]
    return Message(role="assistant", content=f"{MODEL}: {parts}")
