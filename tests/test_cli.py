"""The command line, as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from durable import Client, Context, Durable, Retry, RunFailed, Start, activity, workflow
from durable._core.statuses import Status

mood = {"broken": True}


@activity(retry=Retry(attempts=1))
async def fragile(x: int) -> int:
    if mood["broken"]:
        raise ValueError("not yet \x1b[31m")
    return x


@workflow
async def cli_run(ctx: Context, x: int) -> int:
    return await ctx.activity(fragile, x)


def durable(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "durable", *arguments], capture_output=True, text=True, check=False
    )


async def test_list_show_retry_and_cancel(dsn: str) -> None:
    on = ("--database", dsn)
    mood["broken"] = True
    async with Durable(dsn, serve=[cli_run]) as app:
        with pytest.raises(RunFailed):
            await app.run(cli_run, 7, id="order-1")
    shown = durable("show", "order-1", *on).stdout
    assert "fragile(7)  failed: ValueError: not yet" in shown
    assert "\x1b" not in shown, "text from the database must not reach the terminal as it is"
    assert shown.splitlines()[-1] == "mend the reason, then: durable retry order-1"
    assert "order-1" in durable("list", "--status", "failed", *on).stdout
    listed = json.loads(durable("list", "-o", "json", *on).stdout)
    assert [(each["id"], each["status"], each["input"]) for each in listed] == [
        ("order-1", "failed", [7])
    ]
    assert durable("retry", "order-1", *on).stdout == "order-1 will be retried.\n"
    again = durable("retry", "order-1", *on)
    assert again.returncode == 1
    assert "only a failed or a stuck run" in again.stderr
    mood["broken"] = False
    async with Durable(dsn, serve=[cli_run]) as app:
        assert await app.handle("order-1", cli_run).result() == 7
        assert await app.handle("order-1").status() is Status.COMPLETED
    assert "completed with 7" in durable("show", "order-1", *on).stdout
    cancelled = durable("cancel", "order-1", *on)
    assert "closed already" in cancelled.stderr


async def test_list_filters_and_delete(dsn: str) -> None:
    on = ("--database", dsn)
    async with Client(dsn) as client:
        await client.start_many(Start("elsewhere", n, id=f"job-{n}") for n in range(3))
        await client.start("other", id="job-9", queue="slow", if_exists="replace")
        await client.start("other", id="job-0", if_exists="replace")

    def listed(*filters: str) -> list[str]:
        shown = durable("list", "-o", "json", *filters, *on).stdout
        return [each["id"] for each in json.loads(shown)]

    # Runs of one call may share their time: their order is that of their locks.
    assert sorted(listed("--workflow", "elsewhere")) == ["job-0", "job-1", "job-2"]
    assert listed("--queue", "slow", "--created-since", "1h") == ["job-9"]
    assert listed("--id-prefix", "job-", "--limit", "2") == ["job-0", "job-9"]
    assert listed("--order", "oldest")[-1] == "job-0"
    assert listed("--closed-since", "2026-01-01T00:00Z", "--status", "terminated") == ["job-0"]
    assert listed("--created-until", "1h") == []
    wrong = durable("list", "--created-since", "yesterday", *on)
    assert wrong.returncode == 2
    assert "ISO 8601 with a zone" in wrong.stderr

    assert durable("delete", *on).returncode == 2
    old = ("delete", "--older-than", "1d", *on)
    assert durable(*old).stdout == "0 runs deleted.\n"
    now = ("delete", "--older-than", "0s", "--status", "terminated", *on)
    assert durable(*now, "--dry-run").stdout == "1 run would be deleted.\n"
    assert json.loads(durable(*now, "-o", "json").stdout) == {"deleted": 1, "found": 1}
    assert len(listed()) == 4


def test_exit_codes_tell_what_was_wrong(dsn: str, empty_dsn: str) -> None:
    assert durable("show", "nobody", "--database", dsn).returncode == 4
    assert durable("show").returncode == 2
    nowhere = durable("list", "--database", "postgresql://localhost:1/x")
    assert nowhere.returncode == 8
    assert "cannot be reached" in nowhere.stderr
    assert "durable migrate" in durable("list", "--database", empty_dsn).stderr
    assert "Traceback" not in nowhere.stderr


def test_migrate_and_doctor(empty_dsn: str) -> None:
    sick = durable("doctor", "--database", empty_dsn, "-o", "json")
    assert sick.returncode == 8
    assert any("durable migrate" in each["what"] for each in json.loads(sick.stdout))
    for _ in range(2):
        done = durable("migrate", "--database", empty_dsn, "-o", "json")
        assert json.loads(done.stdout)["version"] == 1
    found = json.loads(durable("doctor", "--database", empty_dsn, "-o", "json").stdout)
    assert any("no worker lives" in each["what"] for each in found)


def test_a_module_that_is_not_there_is_said_so() -> None:
    wrong = durable("worker", "no.such.module")
    assert wrong.returncode == 2
    assert "cannot import 'no.such.module'" in wrong.stderr


def test_a_module_that_needs_what_is_not_installed_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.py").write_text("import not_installed_anywhere\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    wrong = durable("worker", "shop")
    assert wrong.returncode == 1
    assert "needs 'not_installed_anywhere'" in wrong.stderr
    assert "dotted names" not in wrong.stderr


def test_an_option_that_cannot_be_is_told_in_one_line(dsn: str) -> None:
    wrong = durable("worker", "json", "--lease", "1", "--database", dsn)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("durable: Worker(...): lease=1.0")
