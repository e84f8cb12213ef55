"""The program of ``story.py``: so many steps under callgrind, with whatever Durable is on its path.

Imports nothing of bench, since an older checkout has none of it. What it counts begins when all is
warm: ``callgrind_control`` turns it on and off from outside.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import shutil
import subprocess
import sys

from durable import Context, Durable, activity, workflow

RUNS = 200


@activity
async def story_step(x: int) -> int:
    return x + 1


@workflow
async def story_steps(ctx: Context, n: int) -> int:
    value = 0
    for _ in range(n):
        value = await ctx.activity(story_step, value)
    return value


def counting(word: str) -> None:
    control = shutil.which("callgrind_control")
    assert control is not None
    subprocess.run([control, f"--instr={word}", str(os.getpid())], check=True, capture_output=True)


async def main(dsn: str, n: int) -> None:
    async with Durable(dsn, serve=[story_steps], runs_max=RUNS, activities_max=RUNS) as app:
        await asyncio.gather(*(app.run(story_steps, 3) for _ in range(RUNS)))
        gc.collect()
        counting("on")
        await asyncio.gather(*(app.run(story_steps, n) for _ in range(RUNS)))
        counting("off")


if __name__ == "__main__":
    gc.set_threshold(10_000, 20, 50)  # as `durable worker` does
    if sys.argv[3:] == ["uvloop"]:
        uvloop = importlib.import_module("uvloop")  # where somebody asks for it
        uvloop.run(main(sys.argv[1], int(sys.argv[2])))
    else:
        asyncio.run(main(sys.argv[1], int(sys.argv[2])))
