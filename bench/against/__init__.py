"""Beside others: the same work, done by other libraries, on this machine and this Postgres.

    command       the options, the course of a comparison, the file and the table at its end
    plan          what is asked, of whom, with how much work, and what we aim at
    homes         where each peer is installed; ``requirements/`` pins it
    adapter       what a peer's program gives, and the program around it
    workloads     the work, and what is measured of it
    restarting    the workload that kills its process
    peers/        a program for each; ours is one, too
    differences   what each guarantees that differs

A peer's program runs in the environment of that peer: what it imports from here (``adapter``,
``workloads``, ``restarting``) uses nothing but the standard library.
"""

from __future__ import annotations


def main() -> None:
    from .command import main  # not by the programs of the peers: they have no click

    main()
