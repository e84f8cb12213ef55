-- name: describe
select r.run, r.id, r.workflow, r.queue, r.status, r.created_at, r.started_at, r.closed_at,
    r.due_at, w.name as worker, r.waits_for, r.waits_at, r.report,
    (select count(*) from durable.journal j where j.run = r.run) as events,
    durable.readable(i.args)::text as input,
    durable.readable(e.result)::text as result,
    durable.readable_failure(e.failure)::text as failure
from durable.run r
join durable.input i on i.run = r.run
left join durable.result e on e.run = r.run
left join durable.worker w on w.worker = r.worker
where r.id = $1 and r.current

-- name: page
-- The youngest first; the next page begins after the last row's (created_at, run).
select r.run, r.id, r.workflow, r.queue, r.status, r.created_at, r.started_at, r.closed_at,
    r.due_at, w.name as worker, r.waits_for, r.waits_at, r.report,
    (select count(*) from durable.journal j where j.run = r.run) as events,
    durable.readable(i.args)::text as input,
    durable.readable(e.result)::text as result,
    durable.readable_failure(e.failure)::text as failure
from (
    select s.run from durable.run s
    where ($1::text is null or s.status = $1) and ($2::text is null or s.workflow = $2)
        and ($3::timestamptz is null or (s.created_at, s.run) < ($3, $4::bigint))
    order by s.created_at desc, s.run desc
    limit $5
) page
join durable.run r on r.run = page.run
join durable.input i on i.run = r.run
left join durable.result e on e.run = r.run
left join durable.worker w on w.worker = r.worker
order by r.created_at desc, r.run desc

-- name: history
select h.position, h.at, h.kind, h.name, h.input::text, h.result::text, h.failure::text,
    h.traceback, h.site
from durable.history h
where h.id = $1 and h.current
order by h.position

-- name: counts
select r.status, count(*) as count from durable.run r group by r.status
