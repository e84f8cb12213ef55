-- name: lock
-- Held as long as this connection lives: a free lock tells judges that it is gone. Never waits;
-- a session of ours that is dying may still hold it.
select pg_try_advisory_lock(durable.worker_key($1))

-- name: register
insert into durable.worker (
    worker, name, state, host, pid, pid_started, workflows, queues, build, lease_seconds, locks,
    started_at, beat_at)
values ($1, $2, 'live', $3, $4, $5, $6, $7, $8, $9, $10, durable.now(), statement_timestamp())
on conflict (worker) do nothing

-- name: beat
-- All that a worker wants to know, so that an idle one asks for nothing else. Queues that have
-- runs to be claimed are hopped to by the index. Who lives is judged by the server's own clock:
-- `durable.now()` may be a test's, and jump.
with recursive beat as (
    update durable.worker w
    set beat_at = statement_timestamp(), backend_pids = $2, backend_starts = $3, locks = $4
    where w.worker = $1 and w.state = 'live'
    returning w.workflows, w.queues, w.build, w.started_at
), place (queue) as (
    select min(r.queue) from durable.run r
    where r.worker is null and r.status in ('pending', 'waiting')
    union all
    select (
        select min(r.queue) from durable.run r
        where r.worker is null and r.status in ('pending', 'waiting') and r.queue > place.queue)
    from place where place.queue is not null
)
select exists (select from beat) as alive,
    durable.now() as now,
    (
        select min(found.due_at) from beat b
        cross join unnest(b.queues) q(queue)
        cross join generate_series(-2, 2) p(priority)
        cross join lateral (
            select r.due_at from durable.run r
            where r.worker is null and r.status in ('pending', 'waiting')
                and r.queue = q.queue and r.priority = p.priority
                and r.due_at <= durable.now() and r.workflow = any(b.workflows)
                and durable.suits(b.build, r.build, r.unfit)
            order by r.due_at
            limit 1
        ) found) as due_since,
    exists (select from durable.run r where r.worker = $1) as owned,
    exists (
        select from durable.run r where r.worker = $1 and r.due_at is not null) as mail,
    exists (
        select from durable.run r
        where r.deadline <= durable.now() and r.closed_at is null) as overdue,
    (
        select min(found.due_at) from beat b
        cross join unnest(b.queues) q(queue)
        cross join generate_series(-2, 2) p(priority)
        cross join lateral (
            select r.due_at from durable.run r
            where r.worker is null and r.status in ('pending', 'waiting')
                and r.queue = q.queue and r.priority = p.priority
                and r.due_at > durable.now()
            order by r.due_at
            limit 1
        ) found) as next_due,
    exists (
        select from durable.worker o
        where o.worker <> $1
            and (o.state = 'dead' or o.beat_at < statement_timestamp() - interval '1.5 s')) as suspects,
    exists (
        select from place
        cross join generate_series(-2, 2) p(priority)
        cross join lateral (
            select r.run from durable.run r
            where r.worker is null and r.status in ('pending', 'waiting')
                and r.queue = place.queue and r.priority = p.priority
                and r.due_at <= durable.now()
            limit 1
        ) found
    ) or exists (
        select from beat b
        join durable.run r on r.workflow = any(b.workflows) and r.queue = any(b.queues)
        where r.status in ('unserved', 'stuck') and durable.suits(b.build, r.build, r.unfit)
            and (r.crashes < 2 or b.started_at > r.stuck_at - interval '5 s')) as aside,
    exists (select from durable.farewell) as farewell

-- name: suspects
-- The other workers, as a judge needs them.
select w.worker, w.name, w.state, w.host, w.pid, w.pid_started, w.beat_at,
    extract(epoch from statement_timestamp() - w.beat_at)::float8 as silent_for,
    w.lease_seconds as lease,
    w.locks and not exists (
        select from pg_catalog.pg_locks l
        where l.locktype = 'advisory' and l.granted and l.objsubid = 1
            and l.database = (
                select d.oid from pg_catalog.pg_database d
                where d.datname = current_database())
            and (l.classid::bigint << 32) | l.objid::bigint = durable.worker_key(w.worker)
    ) as lock_is_free,
    extract(epoch from clock_timestamp() - pg_postmaster_start_time())::float8 as server_up_for
from durable.worker w
where w.worker <> $1

-- name: mark_dead
select durable.mark_dead($1, coalesce($2, 'infinity'::timestamptz))

-- name: end_backends
-- A session of the dead worker that holds its row: ended, if this role may. It is one that the
-- worker has noted with its heartbeats, by pid and beginning: a pid alone may be a stranger's by
-- now, and another role's sessions do not show when they began. Or it was opened after the last
-- one: then it has the worker's name and holds its row. Never one of another database: this one
-- may be a copy of it, and the worker that is dead here alive there.
select case when s.backend_start is not null then pg_terminate_backend(s.pid) end as ended,
    s.backend_start is null as hidden
from durable.worker w
join pg_catalog.pg_stat_activity s on s.application_name like 'durable:%'
left join unnest(w.backend_pids, w.backend_starts) b(pid, started)
    on b.pid = s.pid and (s.backend_start = b.started or s.backend_start is null)
where w.worker = $1 and s.pid <> pg_backend_pid() and s.datname = current_database()
    and (b.pid is not null or s.application_name = 'durable:' || right(w.name, 55)
        and s.pid in (select durable.holders($1)))

-- name: take_back
-- The second step of a takeover: its runs, a batch at a time. Its death counts against those that
-- did not move under it; against doubtful ones if they were on trial, and more than once only if
-- alone, since one of many has killed it.
with held as (
    select r.run from durable.run r
    where r.worker = $1 and exists (
        select from durable.worker w where w.worker = $1 and w.state = 'dead')
    order by r.run
    limit $2
    for update of r skip locked
)
update durable.run r
set worker = null, status = case when r.paused_at is null then 'pending' else 'paused' end,
    due_at = least(r.due_at, durable.now()), on_trial = 0,
    crashes = case
        when r.length_at_claim < (
            select coalesce(max(j.position) + 1, 0) from durable.journal j where j.run = r.run)
        then 0
        when r.crashes < 2 or r.on_trial = 1 then r.crashes + 1
        when r.on_trial > 1 then greatest(r.crashes, 3)
        else r.crashes end
from held
where r.run = held.run
returning r.run

-- name: bury
-- The third: nothing refers to it any more, and nothing can.
delete from durable.worker w
where w.worker = $1 and w.state = 'dead'
    and not exists (select from durable.run r where r.worker = $1)
returning w.worker
