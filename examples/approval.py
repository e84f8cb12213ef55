"""An expense waits for a click in an e-mail: three days long, through restarts and deploys.

python examples/approval.py                     # prints the mail, waits for the answer
python examples/approval.py yes TOKEN           # what the links in the mail do
python examples/approval.py no TOKEN
"""

import asyncio
import sys

from durable import Client, Context, Durable, PromiseRejected, State, activity, workflow
from durable.errors import RunClosed, TokenRefused

status = State[str]("status")


@activity
async def send_mail(to: str, text: str) -> None:
    print(f"To: {to}\n{text}\n", flush=True)


@activity
async def pay(who: str, cents: int) -> None:
    print(f"{cents} cents go to {who}")


@workflow
async def expense(ctx: Context, who: str, cents: int) -> str:
    approved = ctx.promise(bool, name="approval")
    await ctx.activity(
        send_mail,
        "boss@example.com",
        f"{who} wants {cents} cents. yes {approved.token} (or: no ...)",
    )
    ctx.set(status, "waits for the boss")
    try:
        async with asyncio.timeout(3 * 86_400):
            await approved
    except TimeoutError:
        verdict = "nobody answered"
    except PromiseRejected as error:
        verdict = f"declined: {error.message}"
    else:
        await ctx.activity(pay, who, cents)
        verdict = "paid"
    ctx.set(status, verdict)
    await ctx.activity(send_mail, f"{who}@example.com", f"Your expense: {verdict}.")
    return verdict


async def click(answer: str, token: str) -> None:
    """The web page behind the link: a client, no worker."""
    async with Client() as client:
        try:
            if answer == "yes":
                is_first = await client.resolve(token, True)
            else:
                is_first = await client.reject(token, "not this month")
        except (TokenRefused, RunClosed) as error:
            print(error)
        else:
            print("thank you" if is_first else "this was answered before")


async def main() -> None:
    if len(sys.argv) == 3:
        await click(*sys.argv[1:])
        return
    async with Durable() as app:
        print(await app.run(expense, "ada", 4200))


if __name__ == "__main__":
    asyncio.run(main())
