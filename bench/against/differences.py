"""What each peer is, and what it guarantees that differs from us: a table of times says nothing of
it, and some of them do less, or more, for their time."""

from __future__ import annotations

OURS = (
    "Each step's result is in Postgres, flushed, before the next thing that rests on it is let "
    "out; many runs share a commit. A step that was under way at a crash is done again; what "
    "is recorded never is. Of a queue of messages each is read once, in order."
)

DIFFERENCES = {
    "dbos": (
        "Records each step in transactions of its own, in the same Postgres. A step under way at a "
        "crash is done again. Only the executor that began a run takes it up when it is started "
        "again; for others to do so there is a service of theirs, or a call by hand. Its process "
        "is pinned to one core here, where it is the quickest."
    ),
    "absurd": (
        "Records each step in a transaction of its own, in the same Postgres. A task is claimed "
        "for two minutes: that long a killed worker's steps wait, longer ones may be done twice at "
        "once. Events are first come, first kept, by name. It polls: each 5 ms here, each 250 by "
        "default. Four workers share the process."
    ),
    "restate": (
        "A server of its own with its own log, flushed to disk; no Postgres, so nothing joins a "
        "transaction of yours. The server pushes work, and notices a broken connection at once. "
        "One node here; a cluster replicates, for more time. Client, service and server are three "
        "processes."
    ),
    "temporal": (
        "The development server of its command line on one SQLite file: what Temporal's own "
        "documents offer for trying out, not a cluster, which has other figures. Steps are local "
        "activities, which are recorded when the turn of their run ends: a crash may repeat "
        "several. What waits for a worker that was killed is offered to others after ten seconds. "
        "Its server routes, shows and keeps far more than is asked for here."
    ),
    "pgqueuer": (
        "A job queue: a job has no result, no steps and no history, and is deleted when it is "
        "done. Jobs are enqueued and acknowledged in bulk: after a crash many that were done are "
        "done again. A lone job is timed until its handler has run, not until that is recorded."
    ),
    "oban": (
        "A job queue: a job has no result, no steps and no history of them; its row is kept. Jobs "
        "are inserted in bulk. A lone job is timed until its handler has run, not until that is "
        "recorded."
    ),
    "procrastinate": (
        "A job queue: a job has no result, no steps and no history of them; its row is kept. Jobs "
        "are inserted in bulk, fetched and finished one by one; it looks for jobs each 100 ms "
        "here, each 5 s by default, beside notifications. A lone job is timed until its handler "
        "has run, not until that is recorded."
    ),
}
