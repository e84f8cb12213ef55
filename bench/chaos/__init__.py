"""Chaos: real workers and clients on a real Postgres, every fault that a machine can make, and
the checkers of the promises over what is left.

    command    the options, the course of a run, the table at its end
    faults     what is done to them, dealt by a seed
    stage      the server, the processes, and the road of each to the database
    worker     the program of a worker and of a client; ``stories`` is what clients do
    sightings  what they saw of it: fences that refused, commits without an answer ...
    verdict    the evidence, in slices that the checkers of ``tests/proof`` can judge
    plants     bugs to plant: chaos must find them

Runs only from a checkout: it stands on ``tests/proof``, where the checkers and the workflows
are. A workflow that is added to ``tests/proof/canon.py`` is part of it.
"""

from __future__ import annotations


def main() -> None:
    from .command import main  # not by the processes that it begins

    main()
