-- name: deliver
select run, state, status from durable.deliver($1, $2, $3, $4, $5, $7, $6)

-- name: deliver_and_claim
-- The same, and a run that has taken it now and waits for it is claimed by who sends it. (No run has
-- the key 0.)
select d.run, d.state, d.status, d.seq, durable.now() as at, c.id, c.workflow, c.queue, c.claim,
    c.seed, c.versions, c.input, c.crashes, c.parent, c.origins, c.length, c.noted, c.last_seq
from durable.deliver($1, $2, $3, $4, $5, $7, $6) d
left join lateral durable.claim($8, 1, $9, 0, case when d.seq is null then 0 else d.run end) c
    on true

-- name: deliver_many
-- What a stranger holds is not waited for: its run is null here, as that of an id that nobody has.
-- Rows are locked in one order.
with held as materialized (
    select named.id, r.run
    from (select s.id from unnest($1::text[]) s(id) group by s.id order by s.id offset 0) named
    cross join lateral (
        select w.run from durable.run w where w.id = named.id and w.current
        for no key update skip locked
    ) r
)
select case when held.run is not null then d.run end as run, d.state, d.status
from (
    select s.id, s.kind, s.name, s.key, s.payload, s.meant, s.n
    from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bigint[])
        with ordinality s(id, kind, name, key, payload, meant, n)
    order by s.n
    offset 0
) a
left join held on held.id = a.id
cross join lateral durable.deliver(
    case when held.run is not null then a.id end, a.kind, a.name, a.key, a.payload, $7, a.meant) d
order by a.n

-- name: answer
select run, id, state, status, expected from durable.answer_promise($1, $2, $3, $4, $5)

-- name: read
-- Messages of many runs, each after a cursor of its own; below zero: after what the journal has.
select i.run, i.seq, i.kind, i.name, i.payload, i.at, i.op
from unnest($1::bigint[], $2::bigint[]) a(run, seen)
cross join lateral (
    select case when a.seen >= 0 then a.seen else (
        select coalesce(max(j.seq), 0) from durable.journal j where j.run = a.run) end as seen
) c
cross join lateral (
    select m.run, m.seq, m.kind, m.name, m.payload, m.at, m.op from durable.inbox m
    where m.run = a.run and m.seq > c.seen
    order by m.seq
    limit $3
) i
order by i.run, i.seq

-- name: mail
-- Runs of this worker that somebody has sent something, or has asked to hold.
select r.run, r.paused_at is not null as paused
from durable.run r where r.worker = $1 and r.due_at is not null

-- name: clear_due
-- What was read is no news any more, unless more has come.
with held as (
    select r.run from unnest($2::bigint[], $3::bigint[]) a(run, seen)
    join durable.run r on r.run = a.run
    where r.worker = $1 and r.last_seq = a.seen and r.due_at is not null and r.paused_at is null
    order by r.run
    for no key update of r skip locked
)
update durable.run r set due_at = null from held where r.run = held.run

-- name: answers
-- Updates that are answered; and those that are not, of runs that are over, stuck or gone, or that
-- do not know them. What went on as a new run may have taken its unread updates along.
select a.run, a.key,
    case when r.run is null then 'absent' when i.run is null then 'unknown'
        else coalesce(w.status, r.status) end as status,
    w.result, w.failure, r.report, e.heir as successor
from unnest($1::bigint[], $2::text[]) a(run, key)
left join durable.run r on r.run = a.run
left join durable.inbox i on i.run = a.run and i.key = a.key
left join durable.answer w on w.run = i.run and w.seq = i.seq
left join durable.result e on e.run = r.run and w.run is null
where w.run is not null or r.run is null or i.run is null
    or r.closed_at is not null or r.status = 'stuck'
