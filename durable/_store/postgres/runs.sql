-- name: start
select run, created, status, workflow, input, input_digest
from durable.start_run($1, $2, $3, $4, $5, $6, $7)

-- name: claim
select run, id, workflow, queue, claim, seed, versions, input, crashes
from durable.claim($1, $2, $3)

-- name: keys
select nextval('durable.run_key') as run from generate_series(1, $1::bigint)

-- name: current
select run from durable.run where id = $1 and current

-- name: outcomes
-- How runs stand, many at once.
select r.run, r.id, r.workflow, r.status, e.result, e.failure, r.report
from durable.run r
left join durable.result e on e.run = r.run
where r.run = any($1::bigint[])

-- name: retry
select durable.retry($1)

-- name: owned
-- What is marked as this worker's, whatever it knows.
select r.run, r.id, r.workflow, r.queue, r.claim, r.seed, r.versions, i.args as input, r.crashes
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
    status = case when least(r.due_at, held.due_at) <= durable.now() then 'pending' else 'waiting' end,
    waits_for = held.waits_for, waits_at = held.waits_at
from held
where r.run = held.run
returning r.run

-- name: set_stuck
-- No code of this build can continue the run.
update durable.run r
set status = 'stuck', worker = null, due_at = null, report = $4, stuck_build = $5,
    stuck_at = durable.now()
where r.run = $2 and r.worker = $1 and r.claim = $3
returning r.run

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
        select r.run, r.workflow, r.queue from durable.run r
        where r.worker is null and r.status in ('pending', 'waiting')
            and r.queue = place.queue and r.priority = p.priority and r.due_at <= durable.now()
        order by r.due_at
        limit 2000
    ) due
    where not exists (
        select from durable.worker w
        where w.state = 'live' and due.queue = any(w.queues) and due.workflow = any(w.workflows))
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
        where w.state = 'live' and r.queue = any(w.queues) and r.workflow = any(w.workflows))
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
-- A worker of another build has come since (or just before): stuck runs are tried again.
with held as (
    select r.run from durable.run r
    where r.status = 'stuck' and exists (
        select from durable.worker w
        where w.state = 'live' and w.build <> r.stuck_build
            and w.started_at > r.stuck_at - interval '5 s'
            and r.queue = any(w.queues) and r.workflow = any(w.workflows))
    order by r.run
    limit 10000
    for update of r skip locked
)
update durable.run r
set status = 'pending', due_at = durable.now(), report = null, stuck_build = null, stuck_at = null
from held
where r.run = held.run
returning r.run
