"""``durable doctor``: what it finds, and its exit codes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from durable._migrating import migrate
from durable.cli import doctor
from durable.embedded import EmbeddedPostgres
from tests.store.stage import Stage, turn


def found(findings: list[doctor.Finding], check: str) -> doctor.Finding:
    (finding,) = [each for each in findings if each.check == check]
    return finding


def ask(*options: str) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, "-m", "durable", "doctor", "-o", "json", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def test_exit_codes_are_of_the_worst_that_was_found() -> None:
    """On a server as Postgres has it: what tests set up is fast and forgetful."""
    with EmbeddedPostgres() as server:
        at = ("--database", server.url())
        code, findings = ask(*at)
        assert code == 8
        assert [each["check"] for each in findings if each["level"] == "bad"] == ["schema"]
        asyncio.run(migrate(server.url()))
        code, findings = ask(*at)
        assert code == 0, findings
        assert [each["check"] for each in findings if each["level"] != "ok"] == ["workers"]
        assert all(each["advice"] for each in findings if each["level"] != "ok")
        assert ask(*at, "--strict")[0] == 1
    code, findings = ask(*at)
    assert code == 8
    assert [each["check"] for each in findings] == ["version", "database"]


async def test_settings_that_forget_are_bad(dsn: str) -> None:
    admin = await asyncpg.connect(dsn)
    database = urlsplit(dsn).path[1:]
    await admin.execute(f"alter database {database} set synchronous_commit = off")
    await admin.execute(f"alter database {database} set statement_timeout = '2s'")
    await admin.close()
    findings = await doctor._examine(dsn, "durable")
    assert found(findings, "synchronous_commit").level == "bad"
    assert "is 2 s" in found(findings, "timeout").what


async def test_more_workers_than_there_are_connections_for_are_told(dsn: str) -> None:
    async with Stage(dsn) as stage:
        await stage.worker()
        findings = await doctor._examine(dsn, "durable")
        assert "budget" not in {each.check for each in findings}
        await stage.value(
            "insert into durable.worker select (jsonb_populate_record(w,"
            " jsonb_build_object('worker', gen_random_uuid()))).*"
            " from durable.worker w, generate_series(1, 120)"
        )
        findings = await doctor._examine(dsn, "durable")
    assert "121 workers live and may want 1089 connections" in found(findings, "budget").what


async def test_runs_workers_and_sessions_that_need_somebody_are_named(dsn: str) -> None:
    async with Stage(dsn) as stage:
        worker = await stage.worker()
        (run,) = await stage.born(worker, "a")
        await stage.store.runs.set_stuck(worker, run, 1, report="why", build="1")
        await stage.start("b")
        await stage.observer.execute(
            "update durable.run set due_at = due_at - interval '1 hour' where id = 'b'"
        )
        await stage.observer.execute(
            "update durable.worker set beat_at = beat_at - interval '1 minute'"
        )
        findings = await doctor._examine(dsn, "durable")
    assert "is silent for 6" in found(findings, "worker").what
    assert found(findings, "stuck").what == "1 run is stuck"
    assert "1 runs are due, the first for 36" in found(findings, "lag").what
    assert found(findings, "runs").what == "1 pending, 1 stuck"


async def test_a_transaction_that_holds_back_the_clean_up_is_named(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from durable._store.postgres import statements

    known = dict(statements.load("doctor", "durable"))
    known["holding"] = known["holding"].replace("interval '60 s'", "interval '0 s'")
    monkeypatch.setattr(statements, "load", lambda *_: known)
    async with Stage(dsn) as stage:
        stranger = await stage.stranger()
        await stranger.execute("begin")
        findings = await doctor._examine(dsn, "durable")
        who = f"the session {stranger.get_server_pid()} "
        said = [each.what for each in findings if each.check == "transaction"]
    assert [each for each in said if each.startswith(who) and "idle in transaction" in each]


async def test_missing_grants_and_a_pooler_are_told(dsn: str, pooled_dsn: str) -> None:
    pooled = await doctor._examine(pooled_dsn, "durable")
    assert found(pooled, "pooler").level == "warn"

    admin, name = await asyncpg.connect(dsn), f"{urlsplit(dsn).path[1:]}_poor"
    await admin.execute(f"create role {name} login password 'secret'")
    await admin.execute(f"grant usage on schema durable to {name}")
    await admin.execute(f"grant select, update on all tables in schema durable to {name}")
    try:
        where = urlsplit(dsn).netloc.rpartition("@")[2]
        poor = urlsplit(dsn)._replace(netloc=f"{name}:secret@{where}").geturl()
        async with Stage(dsn):  # sessions of another role
            findings = await doctor._examine(poor, "durable")
    finally:
        await admin.execute(f"drop owned by {name}; drop role {name}")
        await admin.close()
    grants = found(findings, "grants")
    assert grants.level == "bad"
    assert "insert on journal" in grants.what and "select on run" not in grants.what
    assert "pg_signal_backend" in found(findings, "signals").advice


def test_a_package_that_shadows_ours_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [each.level for each in doctor.installation()] == ["ok"]
    owners = {"durable": ["durably", "durable-rules"]}
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: owners)
    finding = doctor.installation()[-1]
    assert (finding.level, finding.check) == ("bad", "package")
    assert "pip uninstall durable-rules durably" in finding.advice


async def test_bloat_is_seen_before_it_hurts(dsn: str) -> None:
    async with Stage(dsn) as stage:
        worker = await stage.worker()
        (run,) = await stage.born(worker, "a")
        await stage.commit(worker, turn(run, 1))
        sql = "insert into durable.setting select 'x' || n, '' from generate_series(1, 12000) n"
        await stage.observer.execute("alter table durable.setting set (autovacuum_enabled = off)")
        await stage.observer.execute(sql)
        await stage.observer.execute("delete from durable.setting where name like 'x%'")
        async with asyncio.timeout(20):  # statistics come a little later
            while not (said := [each.what for each in await doctor._examine(dsn, "durable")
                                if each.check == "bloat"]):  # fmt: skip
                await asyncio.sleep(0.1)
    assert said[0].startswith("setting has 12000 dead rows beside ")
