"""Journals of finished trials, replayed by fresh processes under several hash seeds: each must
ask for the same commands (promise 7).

Run as a program it reads journals from a file and prints one line for each: what its code asked
for, turn by turn.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import msgspec

from durable._core import commands
from durable._runtime import rows
from durable._runtime.closing import closing
from durable._runtime.instance import Instance
from durable._store.protocol import JournalRow
from tests.proof.evidence import Evidence
from tests.proof.replayed import workflows

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ("0", "7", "4242")


class Journal(msgspec.Struct):
    trial: str
    run: int
    id: str
    workflow: str
    seed: bytes
    args: bytes
    rows: list[JournalRow]


class Journals:
    """Those of many trials."""

    def __init__(self) -> None:
        self._kept: list[Journal] = []

    def add(self, trial: str, evidence: Evidence) -> None:
        args = {row["run"]: row["args"] for row in evidence.tables["input"]}
        for row in evidence.tables["run"]:
            run = row["run"]
            if evidence.journals[run]:
                self._kept.append(Journal(trial, run, row["id"], row["workflow"], row["seed"],
                                          args[run], evidence.journals[run]))  # fmt: skip

    async def differing(self) -> list[str]:
        """What differs between the seeds, in words."""
        if not self._kept:
            return []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "journals"
            await asyncio.to_thread(path.write_bytes, msgspec.msgpack.encode(self._kept))
            told = await asyncio.gather(*(_replayed(path, seed) for seed in SEEDS))
        return [
            f"{journal.trial}: replay of run {journal.run} depends on the hash seed: {lines}"
            for journal, *lines in zip(self._kept, *told, strict=True)
            if len(set(lines)) > 1
        ]


async def _replayed(path: Path, seed: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.proof.replays", str(path), cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, f"replay under hash seed {seed} failed"
    return output.decode().splitlines()


def asked(journal: Journal) -> str:
    """A digest of all that the code asks for, and the last words of it."""
    known = workflows()[journal.workflow]
    instance = Instance(journal.run, id=journal.id, claim=1, seed=journal.seed, definition=known,
                        input=journal.args)  # fmt: skip
    said: list[str] = []
    try:
        for event in rows.read(journal.rows).rows:
            turn = instance.replayer.feed(rows.to_event(event, instance.replayer.open))
            said.append("; ".join(_shown(instance, command) for command in turn))
    except Exception as error:  # it is what replay came to; the checkers tell whether it may
        said.append(f"{type(error).__name__}: {error}")
    finally:
        instance.replayer.close()
    whole = hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]
    return f"{whole} {said[-1] if said else ''}".replace("\n", " ")


def _shown(instance: Instance, command: commands.Command) -> str:
    if isinstance(command, commands.Complete | commands.Fail | commands.Stop | commands.Continue):
        return repr(closing(command, instance.definition, instance.replayer.next_op))
    if isinstance(command, commands.Spawn):  # what is known of its call differs from who runs it
        return repr((*command[:-2], command.call.id, command.call.input))
    if isinstance(command, commands.Run):
        asked = command.op, command.kind, command.name, command.digest, command.site
        return repr((*asked, command.call.nth))
    return repr(command)


def main() -> None:
    from tests.proof import canon  # noqa: F401 - its workflows

    kept = msgspec.msgpack.decode(Path(sys.argv[1]).read_bytes(), type=list[Journal])
    for journal in kept:
        print(asked(journal))


if __name__ == "__main__":
    main()
