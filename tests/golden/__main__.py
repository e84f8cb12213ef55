"""``python -m tests.golden record``: the golden journals of this version, written anew."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import durable
from durable.testing import History, replay
from tests.golden.recording import GROUPS

FOLDER = Path(__file__).parent / durable.__version__


def record() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, recorded in GROUPS.items():
        histories = asyncio.run(recorded())
        for each in histories:
            replay(each)
        History.save(FOLDER / f"{name}.jsonl", histories)
        print(f"{FOLDER.name}/{name}.jsonl: {len(histories)} histories")


if __name__ == "__main__":
    if sys.argv[1:] != ["record"]:
        raise SystemExit(__doc__)
    record()
