"""An agent: asks a model, does what it says, asks again; its words come as they are spoken.

    python examples/agent.py

The model is a stand-in that stammers: its first call breaks off in the middle and is tried
again, the reader is told to forget what it has read. Stop the program with Ctrl-C anywhere and run
it again: the agent goes on where it was, and pays for no call twice.
"""

import asyncio
from dataclasses import dataclass, field

import durable
from durable import Context, Durable, Retry, Stream, activity, workflow

tokens = Stream[str]("tokens")


@dataclass
class Step:
    """What the model wants: a tool, or to be done."""

    text: str
    tool: str = ""
    args: dict[str, str] = field(default_factory=dict)


SCRIPT = [
    Step("Let me look up the weather in Oslo.", "weather", {"city": "Oslo"}),
    Step("And in Rome.", "weather", {"city": "Rome"}),
    Step("Rome is warmer."),
]


@activity(retry=Retry(attempts=5, delay=0.1))
async def think(messages: list[str]) -> Step:
    step = SCRIPT[sum(message.startswith("tool:") for message in messages)]
    for n, word in enumerate(step.text.split()):
        await asyncio.sleep(0.02)
        if durable.attempt().number == 1 and len(messages) == 1 and n == 3:
            raise ConnectionError("the model's line broke")
        durable.attempt().publish(tokens, word + " ")
    durable.attempt().publish(tokens, "\n")
    return step


@activity
async def weather(city: str) -> str:
    return {"Oslo": "-3 °C", "Rome": "12 °C"}[city]


TOOLS = {"weather": weather}


@workflow
async def agent(ctx: Context, question: str) -> str:
    messages = [question]
    while True:
        step = await ctx.activity(think, messages)
        messages.append(step.text)
        if not step.tool:
            return step.text
        found = await ctx.activity(TOOLS[step.tool], **step.args)
        messages.append(f"tool: {found}")
        ctx.publish(tokens, f"  [{step.tool} {step.args}: {found}]\n")


async def main() -> None:
    async with Durable() as app:
        handle = await app.start(agent, "Where is it warmer, in Oslo or Rome?", id="chat-1")
        async for item in handle.stream(tokens):  # after=offset: a reader may come back
            text = "\n(once more)\n" if item.is_reset else item.value
            print(text, end="", flush=True)
        print("=>", await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
