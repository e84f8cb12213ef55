"""The story of one seed: errands in a storm, then fair weather, in which all of it must come to an
end."""

from __future__ import annotations

import asyncio
import hashlib
import random
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from durable import attempt
from durable._authoring import registry
from durable._codec.values import decode
from durable._core.statuses import CLOSED
from durable.errors import InvalidCall
from tests.core.fuzz.programs import Mishap

from . import errands as wanted
from . import programs, replay
from .process import Code, Process
from .weather import FAULTS, Storm
from .world import World

# Fair weather in which no journal grows for so long: what is open then will be so for ever.
STILL_SECONDS = 120.0

# Code that came later, with a patch; and a worker that serves less than all.
EVERYTHING = Code(wanted.SERVED)
LATER = Code(wanted.SERVED, "2", {"simulation.tree": programs.tree_changed})
LESS = Code(wanted.SERVED[::2], "3")

# What is deployed in a storm, and in the end.
DEPLOYS = (
    ((EVERYTHING,), EVERYTHING),
    ((EVERYTHING, LATER), LATER),
    ((EVERYTHING, LESS), EVERYTHING),
    ((EVERYTHING, LATER, LESS), LATER),
)


@dataclass
class Told:
    """What became of a seed. ``print`` is a digest of all that happened; ``trace``: the last of
    it."""

    seed: int
    broken: list[str]
    print: str
    seconds: float  # in the world's time
    statements: int
    counts: Counter[str]
    trace: list[str] = field(repr=False)

    @property
    def command(self) -> str:
        return f"python -m tests.simulation --seed {self.seed}"


class Story:
    def __init__(
        self, seed: int, *, kinds: Sequence[str] | None = None, cuts: int | None = 2
    ) -> None:
        """``kinds`` of faults: a few by chance, by default. Each journal is cut in ``cuts``
        places."""
        self.world = world = World(seed)
        self.chance = chance = world.chance
        self._codes: Sequence[Code]
        self._codes, self._final = chance.choice(DEPLOYS if kinds != [] else DEPLOYS[:1])
        some = sorted(chance.sample(sorted(FAULTS), chance.randint(2, 6)))
        self._kinds = some if kinds is None else kinds
        self._cuts = cuts
        self.errands = wanted.some(chance)
        self.places = [f"w{n}" for n in range(chance.choice([1, 2, 3, 3]))]
        self.cached = chance.choice([0, 1, 1_000])
        self.lease = chance.choice([3.0, 5.0, 15.0])
        self.storm: Storm | None = None
        self.heals: asyncio.Event
        self._healed_at = 0.0
        self._clients: list[Process] = []
        self._tokens: list[str] = []  # that somebody outside was handed
        self._mishaps: Counter[str] = Counter()
        world.plays["simulation.shaky"] = self._shaky
        world.plays["simulation.hands_on"] = self._answer
        world.plays["fuzz"] = self._fuzz_act

    def tell(self) -> Told:
        world = self.world
        watch = world.watch
        try:
            world.run(self._tell())
        except Exception as error:
            watch.breaks(f"the story ends with {''.join(traceback.format_exception(error))}")
        if not watch.broken:
            watch.broken += world.loop.complaints
        counts = watch.counts + Counter(self.storm.befell if self.storm else ())
        return Told(world.seed, watch.broken, watch.print, world.loop.now, watch.statements, counts,
                    list(watch.told))  # fmt: skip

    async def _tell(self) -> None:
        world, chance = self.world, self.chance
        self.heals = asyncio.Event()
        self.storm = storm = Storm(
            world, self._codes, self._final, cached=self.cached, lease=self.lease, kinds=self._kinds
        )
        for place in self.places:
            storm.begin(place, EVERYTHING)
        storm.begin_client = self._begin_client
        self._begin_client()
        await storm.rage(chance.uniform(20.0, 60.0), chance.choice([2.0, 5.0, 10.0]))
        self.heals.set()
        self._healed_at = world.loop.now
        await self._ends()
        for place in list(world.workers):
            await world.leave(place)
        self._judge()

    def _begin_client(self) -> Process:
        """Whatever is not done is begun, again."""
        client = self.world.client(f"client.{len(self._clients) + 1}")
        self._clients.append(client)
        client.life = client.begin(self._client(client))
        for token in self._tokens:
            client.begin(self._keep(client, token))
        return client

    async def _client(self, client: Any) -> None:
        async with client.app as app, asyncio.TaskGroup() as errands:
            for each in [each for each in self.errands if not each.is_done]:
                chance = random.Random(f"{self.world.seed} {each.id}")
                errands.create_task(each.run(app, chance, self.heals))

    async def _ends(self) -> None:
        """Wait until all is done, or nothing moves any more."""
        world, watch, going = self.world, self.world.watch, self._clients[-1].life
        assert going is not None
        while not watch.broken:
            await asyncio.sleep(0.5)
            is_open = [run for run in world.server.tables.run.values() if run.status not in CLOSED]
            if going.done() and (not is_open or going.exception()):
                await going
                return
            if world.loop.now - max(watch.moved_at, self._healed_at) > STILL_SECONDS:
                for run in is_open:
                    watch.breaks(f"run {run.run} ({run.id}) is {run.status} for ever; it waits "
                                 f"for {run.waits_for} at {run.waits_at}, due {run.due_at}, "
                                 f"{run.report}")  # fmt: skip
                open_errands = [each.id for each in self.errands if not each.is_done]
                watch.breaks(f"nothing moves any more; errands left: {open_errands}")
        going.cancel()

    # What activities do

    async def _shaky(self, number: int, mishaps: int) -> str:
        key = attempt().idempotency_key
        self._mishaps[key] += 1
        if self._mishaps[key] <= mishaps:
            raise ConnectionError("once more")
        return f"shaky {number}"

    async def _answer(self, token: str) -> None:
        """Somebody who has a client gets the token, at least once."""
        self._tokens.append(token)
        self._clients[-1].begin(self._keep(self._clients[-1], token))

    async def _keep(self, client: Process, token: str) -> None:
        while client.app._store is None:  # not entered yet
            await asyncio.sleep(0.01)
        with suppress(InvalidCall):  # all is done, and the client closed
            await wanted.again(lambda: client.app.resolve(token, "kept"))

    async def _fuzz_act(self, tag: str, number: int) -> str:
        fate = hashlib.blake2b(f"{self.world.seed} {tag} {number}".encode(), digest_size=2).digest()
        await asyncio.sleep(fate[0] / 100)
        if fate[1] < 30:
            raise Mishap
        return f"{tag}{number}"

    # The verdict

    def _judge(self) -> None:
        watch, tables = self.world.watch, self.world.server.tables
        for row in tables.worker.values():
            owned = [run.run for run in tables.owned_by(row.registration.worker)]
            if owned:
                watch.breaks(f"{row.registration.name} has left, and owns {owned}")
        for each in self.errands:
            run = tables.named(each.id)
            status = run.status if run else "absent"
            if each.status not in (None, status):
                watch.breaks(f"{each.id} is {status}, not {each.status}")
            if wrong := each.wrong():
                watch.breaks(f"the result of {each.id} is wrong: {wrong}")
            if isinstance(each, wanted.Tree):
                self._judge_sayings(each)
        definitions = registry.workflows()
        for name, fn in self._final.changed.items():
            definitions[name] = replace(definitions[name], fn=fn)
        for difference in replay.differences(
            tables, watch, definitions, self.chance, cuts=self._cuts
        ):
            watch.breaks(difference)

    def _judge_sayings(self, errand: wanted.Tree) -> None:
        """What its runs have published, each exactly once."""
        tables, name = self.world.server.tables, programs.said.name
        items = [row.item for key, run in tables.run.items() if run.id == errand.id
                 for row in tables.stream.get((key, name), ())]  # fmt: skip
        found = Counter(decode(each.value) for each in items if each.value is not None)
        rounds = max(errand.rounds, 1)
        expected = {each: n * rounds for each, n in programs.sayings(errand.node).items()}
        if found != expected:
            self.world.watch.breaks(f"{errand.id} has published {found}, not {expected}")


def tell(seed: int, **how: Any) -> Told:
    return Story(seed, **how).tell()
