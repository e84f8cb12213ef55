"""``--seed N``: that one, told at length. ``--minutes M``: seed after seed, from ``--seed`` on; it
ends with 1 at the first that breaks something."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from contextlib import nullcontext

from .plants import PLANTS
from .story import Told, tell


def fail(told: Told, lines: int) -> None:
    print("\n".join(told.trace[max(0, len(told.trace) - lines) :]), file=sys.stderr)
    print(f"seed {told.seed} breaks:", *told.broken[:20], sep="\n  ", file=sys.stderr)
    print(f"again: {told.command}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--print", action="store_true", help="only the digest of what happened")
    parser.add_argument("--peace", action="store_true", help="no faults")
    parser.add_argument("--lines", type=int, default=60, help="of the trace, if something breaks")
    parser.add_argument("--keep-going", action="store_true")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="a bug that is to be found")
    given = parser.parse_args()
    with PLANTS[given.plant][0]() if given.plant else nullcontext():
        sys.exit(campaign(given))


# What a campaign of so many seeds must have seen, or its weather was too fair.
MANY = 100
SEEN = (
    "done commit", "parked commit", "done again", "lost again", "LeaseLost", "runs taken over",
    "runs stuck",
)  # fmt: skip


def campaign(given: argparse.Namespace) -> int:
    """How many seeds broke something, or 1 for the first of them."""
    until, counts, bad = time.perf_counter() + given.minutes * 60, Counter[str](), 0
    seed = given.seed
    while seed < given.seed + given.seeds or time.perf_counter() < until:
        told = tell(seed, kinds=[] if given.peace else None)
        counts += told.counts
        if given.print:
            print(told.print)
        if told.broken:
            bad += 1
            fail(told, given.lines)
            if not given.keep_going:
                return bad
        seed += 1
    if not given.print:
        print(f"{seed - given.seed} seeds, {bad} broke something; {dict(sorted(counts.items()))}")
    unseen = [each for each in SEEN if not counts[each]]
    if seed - given.seed >= MANY and unseen and not (given.peace or given.plant):
        print(f"too quiet: {unseen} never happened", file=sys.stderr)
        return 1
    return min(bad, 1)


main()
