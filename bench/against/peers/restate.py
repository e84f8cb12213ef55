"""Restate: its own server (one node, RocksDB, its log flushed to disk) and the service beside it.

The service runs under granian in a process of its own, the fastest of the servers its SDK names;
where a start and its result belong together they are one request. Its SDK reads annotations as
objects, so they are not postponed here.
"""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import restate

from ..adapter import Adapter, main
from ..processes import beside_python, child, free_port, kill, wait_for_port

PLACES = "BENCH_RESTATE"  # ports and directory, for the processes of a restart
BLOCKED = "select count(*) as blocked from state where service_name = 'Bench' and key = 'blocked'"

workflow = restate.Workflow("Bench")


async def add_one(x: int) -> int:
    return x + 1


async def steps(ctx: restate.WorkflowContext, n: int) -> int:
    x = 0
    for _ in range(n):
        x = await ctx.run_typed("add_one", add_one, x=x)
    return x


@workflow.main()
async def run(ctx: restate.WorkflowContext, asked: dict[str, Any]) -> int:
    n: int = asked["n"]
    match asked["workflow"]:
        case "steps":
            return await steps(ctx, n)
        case "gather":
            some = (ctx.run_typed("add_one", add_one, x=x) for x in range(n))
            return len(await restate.gather(*some))
        case "wait":
            return await ctx.promise("go", type_hint=int).value()
        case _:
            x = await steps(ctx, n)
            ctx.set("blocked", True)
            await ctx.promise("go", type_hint=int).value()
            return await ctx.run_typed("add_one", add_one, x=x)


@workflow.handler("go")
async def go(ctx: restate.WorkflowSharedContext, value: int) -> None:
    await ctx.promise("go", type_hint=int).resolve(value)


app = restate.app([workflow])


class Restate(Adapter):
    name = "restate"
    runs_are_calls = True

    def prepare(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="bench-restate-"))
        self.places = {each: free_port() for each in ("ingress", "admin", "node", "service")}
        os.environ[PLACES] = json.dumps(self.places)
        (program,) = (
            Path(beside_python("x"))
            .parents[1]
            .glob("npm/node_modules/@restatedev/restate-server-*/bin/restate-server")
        )
        address = {name: f"127.0.0.1:{port}" for name, port in self.places.items()}
        self.server = child(
            [str(program), "--no-logo", "--base-dir", str(self.directory), "--node-name", "one"],
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "RESTATE_DISABLE_TELEMETRY": "true",
                "DO_NOT_TRACK": "1",
                "RESTATE_LOG_FILTER": "warn",
                "RESTATE_LISTEN_MODE": "tcp",
                "RESTATE_BIND_ADDRESS": address["node"],
                "RESTATE_INGRESS__BIND_ADDRESS": address["ingress"],
                "RESTATE_ADMIN__BIND_ADDRESS": address["admin"],
            },
        )
        for name in ("ingress", "admin"):
            wait_for_port(self.places[name])

    def end(self) -> None:
        kill(self.server)
        shutil.rmtree(self.directory, ignore_errors=True)

    async def open(self, concurrency: int) -> None:
        places = json.loads(os.environ[PLACES])
        self.ingress = f"http://127.0.0.1:{places['ingress']}"
        self.admin = f"http://127.0.0.1:{places['admin']}"
        self.service = child(
            [
                beside_python("granian"), "--interface", "asgi", "--http", "2", "--no-ws",
                "--host", "127.0.0.1", "--port", str(places["service"]), "--log-level", "warning",
                "bench.against.peers.restate:app",
            ]
        )  # fmt: skip
        await asyncio.to_thread(wait_for_port, places["service"])
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        if self.workload != "restart-finish":  # it knows the service already
            where = {"uri": f"http://127.0.0.1:{places['service']}"}
            await self._post_until_ready(f"{self.admin}/deployments", where)

    async def _post_until_ready(self, url: str, body: object) -> None:
        """The server listens a moment before it is ready."""
        for _ in range(200):
            async with self.http.post(url, json=body) as answer:
                if answer.status < 300:
                    return
                said = await answer.text()
            await asyncio.sleep(0.05)
        raise RuntimeError(said)

    async def close(self) -> None:
        await self.http.close()
        kill(self.service)  # told to stop, it would leave its worker behind

    async def run(self, workflow: str, argument: int) -> Any:
        return await self._ask("run", workflow, argument, os.urandom(16).hex())

    async def start(self, workflow: str, argument: int, id: str) -> str:
        await self._ask("run/send", workflow, argument, id)
        return id

    async def result(self, handle: str) -> Any:
        url = f"{self.ingress}/restate/workflow/Bench/{handle}/attach"
        return await self._answer(self.http.get(url))

    async def handle(self, id: str) -> str:
        return id

    async def signal(self, id: str, value: int) -> None:
        await self._answer(self.http.post(f"{self.ingress}/Bench/{id}/go", json=value))

    async def blocked_now(self) -> int:
        request = self.http.post(
            f"{self.admin}/query", json={"query": BLOCKED}, headers={"accept": "application/json"}
        )
        found: int = (await self._answer(request))["rows"][0]["blocked"]
        return found

    async def _ask(self, how: str, workflow: str, argument: int, id: str) -> Any:
        body = {"workflow": workflow, "n": argument}
        return await self._answer(self.http.post(f"{self.ingress}/Bench/{id}/{how}", json=body))

    async def _answer(self, request: Any) -> Any:
        async with request as answer:
            said = await answer.read()
            if answer.status >= 300:
                raise RuntimeError(said.decode())
            return json.loads(said) if said else None


if __name__ == "__main__":
    main(Restate)
