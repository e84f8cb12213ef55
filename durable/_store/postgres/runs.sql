-- name: start
select run, created, status, workflow,
    case when input_digest <> $6 then input end as input
from durable.start_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
    $14)

-- name: start_with_message
-- Both or neither. A run that was there already is sent nothing here. (What no condition reads
-- would not be done.)
select s.run, s.created, s.status, s.workflow,
    case when s.input_digest <> $6 then s.input end as input
from durable.start_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
    $14) s
cross join lateral (
    select case when s.created then (
        select d.state from durable.deliver($1, $15, $16, $17, $18, false, s.run) d) end as state
) first
where first.state is distinct from 'absent'

-- name: start_many
select run, created, status, workflow, input
from durable.start_runs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)

-- name: claim
-- Small messages that wait for a run come along, if they are few. (Who gets them counts them: this
-- snapshot may be too old for one.)
select c.run, c.id, c.workflow, c.queue, c.claim, c.seed, c.versions, c.input, c.crashes, c.parent,
    c.origins, c.length, c.noted, c.last_seq,
    case when c.last_seq - c.read_seq between 1 and 10 then array(
        select row(i.seq, i.kind, i.name, i.payload, i.at, i.op) from durable.inbox i
        where i.run = c.run and i.seq > c.read_seq and coalesce(octet_length(i.payload), 0) < 10000
        order by i.seq) end as messages
from durable.claim($1, $2, $3, $4) c

-- name: keys
select nextval('durable.run_key') as run from generate_series(1, $1::bigint)

-- name: current
select run from durable.run where id = $1 and current

-- name: outcomes
-- How runs stand, many at once.
select r.run, r.id, r.workflow, r.status, e.result, e.failure, r.report, e.reason, e.heir
from durable.run r
left join durable.result e on e.run = r.run
where r.run = any($1::bigint[])

-- name: settled
-- Those of many runs that have ended, are stuck, or are gone.
select a.run, coalesce(r.id, ''), coalesce(r.workflow, ''), coalesce(r.status, 'absent'),
    e.result, e.failure, r.report, e.reason, e.heir
from unnest($1::bigint[]) a(run)
left join durable.run r on r.run = a.run
left join durable.result e on e.run = r.run
where r.run is null or r.closed_at is not null or r.status = 'stuck'

-- name: expire
-- Runs whose deadline has passed are asked to cancel: once, whoever owns them.
with held as (
    select r.run, r.last_seq + 1 as seq, r.deadline from durable.run r
    where r.deadline <= durable.now() and r.closed_at is null
    order by r.deadline
    limit $1
    for no key update skip locked
), sent as (
    insert into durable.inbox (run, seq, kind, name, key, at)
    select held.run, held.seq, 'cancel', 'its deadline of '
        || to_char(held.deadline at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC has passed',
        'deadline', durable.now()
    from held
)
update durable.run r
set last_seq = held.seq, deadline = null,
    due_at = case when r.status in ('pending', 'running', 'waiting', 'unserved')
        then least(r.due_at, durable.now()) else r.due_at end
from held
where r.run = held.run
returning r.run

-- name: children
-- By which of its operations a run has children.
select r.parent_op from durable.run r where r.parent_run = $1 and r.current

-- name: tell_children
select durable.tell_children($1)

-- name: retry
select durable.retry_run($1, $2)

-- name: restart
select durable.restart_run($1, $2, $3)

-- name: terminate
select durable.terminate_run($1, $2, $3)

-- name: pin
select durable.pin_run($1, $2, $3)

-- name: pause
select durable.pause_run($1, $2, $3)

-- name: claims
-- Which of these runs are still this worker's, and by which claim.
select r.run, r.claim from durable.run r where r.run = any($2::bigint[]) and r.worker = $1

-- name: look
-- What it takes to replay a run, whoever has it.
select r.run, r.id, r.workflow, r.queue, r.claim, r.seed, r.versions, i.args as input, r.crashes,
    r.parent_run, r.origins
from durable.run r
join durable.input i on i.run = r.run
where r.run = $1

-- name: owned
-- What is marked as this worker's, whatever it knows.
select r.run, r.id, r.workflow, r.queue, r.claim, r.seed, r.versions, i.args as input, r.crashes,
    r.parent_run, r.origins
from durable.run r
join durable.input i on i.run = r.run
where r.worker = $1

-- name: hand_back
-- Runs go back to be claimed: at once if a message is unread. What a stranger holds stays.
with held as (
    select r.run, b.due_at, b.waits_for, b.waits_at
    from unnest($2::bigint[], $3::bigint[], $4::timestamptz[], $5::text[], $6::text[])
        b(run, claim, due_at, waits_for, waits_at)
    join durable.run r on r.run = b.run
    where r.worker = $1 and r.claim = b.claim
    order by r.run
    for update of r skip locked
)
update durable.run r
set worker = null, due_at = least(r.due_at, held.due_at),
    status = case when r.paused_at is not null then 'paused'
        when least(r.due_at, held.due_at) <= durable.now() then 'pending' else 'waiting' end,
    waits_for = held.waits_for, waits_at = held.waits_at
from held
where r.run = held.run
returning r.run

-- name: set_stuck
-- No code of this build can continue the run. Other code begins with fewer doubts. Builds that have
-- left are forgotten.
update durable.run r
set status = 'stuck', worker = null, due_at = null, report = $4, stuck_at = durable.now(),
    crashes = least(r.crashes, 2),
    unfit = array(
        select u.build from unnest(r.unfit) u(build)
        where u.build <> $5 and exists (
            select from durable.worker w where w.build = u.build and w.state = 'live')
    ) || $5
where r.run = $2 and r.worker = $1 and r.claim = $3
returning r.run

-- name: acquit
-- These have lived on here for a while: whatever kills this worker now, it is not they.
update durable.run r set on_trial = 0
where r.worker = $1 and r.run = any($2::bigint[])

-- name: set_unserved
-- Due runs that no live worker knows leave the head of their queue. Only the heads are looked
-- at: that is where they would be in the way of others. Queues are hopped to by the index.
with recursive place (queue) as (
    select min(r.queue) from durable.run r
    where r.worker is null and r.status in ('pending', 'waiting')
    union all
    select (
        select min(r.queue) from durable.run r
        where r.worker is null and r.status in ('pending', 'waiting') and r.queue > place.queue)
    from place where place.queue is not null
), head as (
    select due.run
    from place
    cross join generate_series(-2, 2) p(priority)
    cross join lateral (
        select r.run, r.workflow, r.queue, r.build, r.unfit from durable.run r
        where r.worker is null and r.status in ('pending', 'waiting')
            and r.queue = place.queue and r.priority = p.priority and r.due_at <= durable.now()
        order by r.due_at
        limit 2000
    ) due
    where not exists (
        select from durable.worker w
        where w.state = 'live' and due.queue = any(w.queues) and due.workflow = any(w.workflows)
            and durable.suits(w.build, due.build, due.unfit))
), held as (
    select r.run from durable.run r
    where r.run in (select head.run from head)
        and r.worker is null and r.status in ('pending', 'waiting')
    order by r.run
    for update skip locked
)
update durable.run r
set status = 'unserved'
from held
where r.run = held.run
returning r.run

-- name: set_served
-- And back, as soon as somebody serves them.
with held as (
    select r.run from durable.run r
    where r.status = 'unserved' and exists (
        select from durable.worker w
        where w.state = 'live' and r.queue = any(w.queues) and r.workflow = any(w.workflows)
            and durable.suits(w.build, r.build, r.unfit))
    order by r.run
    limit 10000
    for update of r skip locked
)
update durable.run r
set status = 'pending', due_at = least(r.due_at, durable.now())
from held
where r.run = held.run
returning r.run

-- name: revive_stuck
-- A worker of a build that has not tried is there: stuck runs are tried again. Those that end the
-- processes that try only by one that has come since (or just before).
with held as (
    select r.run from durable.run r
    where r.status = 'stuck' and exists (
        select from durable.worker w
        where w.state = 'live' and durable.suits(w.build, r.build, r.unfit)
            and (r.crashes < 2 or w.started_at > r.stuck_at - interval '5 s')
            and r.queue = any(w.queues) and r.workflow = any(w.workflows))
    order by r.run
    limit 10000
    for update of r skip locked
)
update durable.run r
set status = case when r.paused_at is null then 'pending' else 'paused' end,
    due_at = durable.now(), report = null, stuck_at = null
from held
where r.run = held.run
returning r.run
