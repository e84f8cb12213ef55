"""``record COUNT``: journals of random programs, a line of JSON each, on standard output.
``replay``: what they do here, from standard input; exits with 1 if anything differs."""

from __future__ import annotations

import argparse
import random
import sys
import warnings

from durable._core import anyio_shims, loop

from . import campaign


def sabotage(bug: str) -> None:
    """Mistakes that the fuzz must find, or it proves nothing."""
    classes = {"tasks": loop.OrderedTask, "scopes": anyio_shims.OrderedScope}
    setattr(classes[bug], "__hash__", object.__hash__)  # noqa: B010


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["record", "replay"])
    parser.add_argument("count", type=int, nargs="?", default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bug", choices=["tasks", "scopes"])
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # a coroutine that was cancelled before it began
    if given.bug:
        sabotage(given.bug)
    clutter = [[object()] * random.randrange(100) for _ in range(1_000)]  # addresses differ
    if given.what == "record":
        for seed in range(given.seed, given.seed + given.count):
            print(campaign.write(campaign.record(seed)))
        return
    differences = [each for each in map(campaign.replay, campaign.read(sys.stdin)) if each]
    print("\n".join(differences))
    sys.exit(bool(differences or not clutter))


main()
