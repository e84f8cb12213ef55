"""Random workflows: recorded in one process, replayed in another.

    python -m tests.core.fuzz record 2000 --seed 1 > journals
    python -m tests.core.fuzz replay < journals

Every program is a tree of constructs (``programs.py``); what runs it is the replayer itself,
under the real ``Context`` (``campaign.py``).
"""
