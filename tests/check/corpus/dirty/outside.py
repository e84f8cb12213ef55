"""I/O, surroundings, threads and loops."""

import asyncio
import concurrent.futures
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import asyncpg
import httpx
import requests
from openai import AsyncOpenAI
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from durable import Client, Context, Durable, activity, attempt, workflow

http = httpx.AsyncClient()
model = AsyncOpenAI()
pool = ThreadPoolExecutor()
engine = create_async_engine("postgresql+asyncpg://")
CONFIG = Path("/etc/shop")


@activity
def crunch(n: int) -> int:
    return n


class Mailer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.session = requests.Session()  # expect: DUR201

    def send(self, to: str) -> None:
        (self.folder / to).write_text("hello")  # expect: DUR201
        self.session.post("https://mail.example", data=to)  # expect: DUR201


@workflow
async def files(ctx: Context, path: Path, name: str) -> str:
    with open(name) as file:  # expect: DUR201
        file.read()
    Path(name).read_text()  # expect: DUR201
    if not path.exists():  # expect: DUR201
        path.parent.mkdir()  # expect: DUR201
    for each in sorted(os.listdir(name)):  # expect: DUR201
        os.remove(each)  # expect: DUR201
    with tempfile.NamedTemporaryFile() as temporary:  # expect: DUR201
        temporary.write(b"x")  # expect: DUR201
    pathlib.PurePath(name).with_suffix(".txt")
    os.path.join(name, "x")
    subprocess.run(["ls"])  # expect: DUR201
    Mailer(path).send("ada")
    return (CONFIG / "shop.toml").read_text()  # expect: DUR201


@workflow
async def network(ctx: Context, conn: asyncpg.Connection, session: AsyncSession) -> Any:
    requests.get("https://example.com")  # expect: DUR201
    async with httpx.AsyncClient() as client:  # expect: DUR201
        await client.get("https://example.com")  # expect: DUR201
    async with aiohttp.ClientSession() as web:  # expect: DUR201
        async with web.get("https://example.com") as answer:  # expect: DUR201
            await answer.json()  # expect: DUR201
    await http.post("https://example.com")  # expect: DUR201
    await model.chat.completions.create(model="large")  # expect: DUR201
    await conn.execute("select 1")  # expect: DUR201
    await session.execute("select 1")  # expect: DUR201
    async with engine.connect():
        pass
    socket.create_connection(("example.com", 80))  # expect: DUR201
    await asyncio.open_connection("example.com", 80)  # expect: DUR201
    await anyio.Path("x").exists()  # expect: DUR201
    async with Durable() as app:  # expect: DUR201
        await app.run(files, Path("x"), "y")  # expect: DUR201
    async with Client() as other:  # expect: DUR201
        await other.start("files")  # expect: DUR201
    try:
        return httpx.URL("https://example.com").host
    except (httpx.HTTPError, requests.RequestException):
        return attempt().number  # expect: DUR505


@workflow
async def surroundings(ctx: Context) -> None:
    os.environ["STAGE"]  # expect: DUR202
    os.environ.get("STAGE", "dev")  # expect: DUR202
    if os.getenv("DISABLED"):  # expect: DUR202
        return
    sys.argv[1:]  # expect: DUR202
    socket.gethostname()  # expect: DUR202
    os.getpid()  # expect: DUR202
    Path.cwd()  # expect: DUR202


@workflow
async def threads(ctx: Context) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(crunch, 1)  # expect: DUR203
    await loop.run_in_executor(None, crunch, 1)  # expect: DUR203
    await loop.run_in_executor(pool, crunch, 1)  # expect: DUR203
    await anyio.to_thread.run_sync(crunch, 1)  # expect: DUR203
    threading.Thread(target=crunch).start()  # expect: DUR203
    pool.submit(crunch, 1)  # expect: DUR203
    with concurrent.futures.ProcessPoolExecutor() as processes:  # expect: DUR203
        processes.submit(crunch, 1)  # expect: DUR203
    signal.signal(signal.SIGTERM, lambda *_: None)  # expect: DUR203


def blocking() -> float:
    return time.time()  # in the activity that it is to become, this is fine


@workflow
async def helpers_in_threads(ctx: Context) -> None:
    await asyncio.to_thread(blocking)  # expect: DUR203
    threading.Thread(target=blocking).start()  # expect: DUR203


@workflow
async def loops(ctx: Context) -> None:
    asyncio.run(ctx.child(files))  # expect: DUR204
    asyncio.new_event_loop().run_until_complete(ctx.sleep(1))  # expect: DUR204
    asyncio.get_running_loop().set_debug(True)  # expect: DUR204
    await asyncio.get_running_loop().getaddrinfo("example.com", 80)  # expect: DUR201
    future: asyncio.Future[int] = asyncio.Future()  # expect: DUR205
    task = asyncio.Task(ctx.sleep(1))  # expect: DUR205
    fine: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    assert isinstance(task, asyncio.Task) and isinstance(future, asyncio.Future) and fine
