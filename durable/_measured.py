"""What a worker counts and measures, by the names under which ``Metrics`` is told."""

from __future__ import annotations

from collections.abc import Mapping

# name -> what is counted, and by which labels
COUNTED: Mapping[str, str] = {
    "durable_commits_total": "commits that were written",
    "durable_commits_refused_total": "commits that the database refused, or did not answer; "
    "they are sent again",
    "durable_claims_total": "runs claimed",
    "durable_replays_total": "runs rebuilt from their journals",
    "durable_runs_closed_total": "runs closed, by `workflow` and `status`",
    "durable_runs_stuck_total": "runs that became stuck, by `workflow`",
    "durable_runs_unserved_total": "runs found due whose workflow no live worker serves",
    "durable_attempts_total": "attempts, by `activity` and `outcome`: ok, failed or timed_out",
    "durable_heartbeats_missed_total": "heartbeats without an answer",
    "durable_takeovers_total": "dead workers whose runs this one took over",
    "durable_runs_taken_over_total": "runs handed back by takeovers",
}

# name -> what is measured
OBSERVED: Mapping[str, str] = {
    "durable_commit_rows": "events in a commit",
    "durable_commit_seconds": "from sending a commit to its answer",
    "durable_replay_events": "events fed to rebuild a run",
    "durable_replay_seconds": "time to rebuild a run",
    "durable_attempt_seconds": "an attempt, by `activity`",
    "durable_due_lag_seconds": "how long the longest due run has waited for a worker; each second",
    "durable_loop_lag_seconds": "how late the host's event loop is; each second",
}
