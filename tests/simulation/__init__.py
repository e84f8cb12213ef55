"""Whole workers on the store in memory, in one thread, in a time that a seed moves.

    python -m tests.simulation --seed 17
    python -m tests.simulation --minutes 15

One seed is one story: what runs there are, what befalls the workers, which callback of which
process comes next, and how long each message is on its way. ``loop.py`` is the machine that all
processes share; ``road.py`` the way from each of them to the database; ``world.py`` begins, stops
and kills them; ``weather.py`` decides when; ``watch.py`` looks at the database after each
statement; ``story.py`` tells it all from the beginning to the verdict.

The store in memory does all of a verb at once. What two sessions do to each other's locks is not to
be seen here, but in ``tests/store/races.py``.
"""
