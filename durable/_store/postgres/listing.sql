-- name: describe
select r.run, r.id, r.workflow, r.queue, r.priority, r.status, r.created_at, r.started_at,
    r.closed_at, r.due_at, r.deadline, w.name as worker, r.waits_for, r.waits_at, r.report,
    r.build, e.reason,
    (select p.id from durable.run p where p.run = r.parent_run) as parent,
    (select count(*) from durable.journal j where j.run = r.run) as events,
    durable.readable(i.args)::text as input,
    durable.readable(e.result)::text as result,
    durable.readable_failure(e.failure)::text as failure
from durable.run r
join durable.input i on i.run = r.run
left join durable.result e on e.run = r.run
left join durable.worker w on w.worker = r.worker
where r.run = coalesce(durable.latest($2), (select c.run from durable.run c where c.id = $1 and c.current))

-- name: page
-- A list is planned for the filters that it has: `found` stands for one of the two below, a
-- `?` for the next argument.
select r.run, r.id, r.workflow, r.queue, r.priority, r.status, r.created_at, r.started_at,
    r.closed_at, r.due_at, r.deadline, w.name as worker, r.waits_for, r.waits_at, r.report,
    r.build, e.reason,
    (select p.id from durable.run p where p.run = r.parent_run) as parent,
    (select count(*) from durable.journal j where j.run = r.run) as events,
    durable.readable(i.args)::text as input,
    durable.readable(e.result)::text as result,
    durable.readable_failure(e.failure)::text as failure
from (found) page
join durable.run r on r.run = page.run
join durable.input i on i.run = r.run
left join durable.result e on e.run = r.run
left join durable.worker w on w.worker = r.worker
order by r.created_at desc, r.run desc

-- name: found
select r.run from durable.run r
where true filters
order by r.created_at desc, r.run desc
limit ?

-- name: found_everywhere
-- The names of workflows are hopped to by the index, and each has its own page.
with recursive known (workflow) as (
    select min(r.workflow) from durable.run r
    union all
    select (select min(r.workflow) from durable.run r where r.workflow > known.workflow)
    from known where known.workflow is not null
)
select each.run
from known
cross join lateral (
    select r.run, r.created_at from durable.run r
    where r.workflow = known.workflow filters
    order by r.created_at desc, r.run desc
    limit ?
) each
order by each.created_at desc, each.run desc
limit ?

-- name: filter_status
and r.status = ?

-- name: filter_running
-- Said once more, in words that an index understands; as below.
and r.worker is not null

-- name: filter_uncommon
and r.status not in ('completed', 'running')

-- name: filter_statuses
and r.status = any(?::text[])

-- name: filter_rare
and (r.worker is not null or r.status not in ('completed', 'running'))

-- name: filter_workflow
and r.workflow = ?

-- name: filter_queue
and r.queue = ?

-- name: filter_parent
and r.current and r.parent_run = (
    select c.run from durable.run c where c.id = ? and c.current)

-- name: filter_id_prefix
and r.id like ? and r.current

-- name: filter_created_since
and r.created_at >= ?

-- name: filter_created_until
and r.created_at < ?

-- name: filter_closed_since
and r.closed_at >= ?

-- name: filter_closed_until
and r.closed_at < ?

-- name: filter_beyond
and (r.created_at, r.run) < (?, ?)

-- name: history
select h.position, h.at, h.kind, h.name, h.input::text, h.result::text, h.failure::text,
    h.traceback, h.site, h.patches
from durable.history h
where h.id = $1 and h.current
order by h.position

-- name: selected
-- Keys of runs by status, the youngest first. What is said once more are the words of two indexes,
-- by which the open ones are found among however many closed.
select r.run from durable.run r
where r.status = any($1::text[]) and ($2::text is null or r.workflow = $2)
    and (r.worker is not null or r.status not in ('completed', 'running'))
order by r.run desc
limit $3

-- name: selected_anywhere
select r.run from durable.run r
where r.status = any($1::text[]) and ($2::text is null or r.workflow = $2)
order by r.run desc
limit $3

-- name: recorded
-- What replay needs of runs beside their journals, and how long those are now: what is read of a
-- journal up to there is what stands in it as of this statement, and fits what is under way.
select r.run, r.id, r.workflow, r.queue, r.priority, r.status, r.seed, r.versions, r.created_at,
    r.started_at, r.closed_at, r.due_at, r.deadline, r.report, i.args as input, i.digest as input_digest,
    e.result, e.failure, e.failed_at, e.next_op, e.reason, r.parent_run as parent, r.parent_op,
    r.on_parent_close, r.depth, r.origins,
    (select coalesce(max(j.position) + 1, 0) from durable.journal j where j.run = r.run) as events,
    array(
        select row(a.op, a.name, a.digest, a.attempt, a.since, a.began_at, a.failure, a.next_at,
            a.details, a.nth)
        from durable.attempt a where a.run = r.run order by a.op) as notes
from durable.run r
join durable.input i on i.run = r.run
left join durable.result e on e.run = r.run
where r.run = any($1::bigint[])
order by r.run

-- name: adopt
select key, taken from durable.adopt($1, $2, $3, $4, $5, $6, $7, $8)

-- name: key
select nextval('durable.run_key')

-- name: counts
select r.status, count(*) as count from durable.run r group by r.status

-- name: time_before
select durable.now() - $1::interval

-- name: delete_closed
select deleted, last_at, last_run
from durable.delete_closed($1, $2, $3, $4, $5, $6, $7)

-- name: count_closed
select count(*) from durable.run r
where r.closed_at < $1 and ($2::text[] is null or r.status = any($2))
    and ($3::text is null or r.workflow = $3)
