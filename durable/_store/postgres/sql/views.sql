-- For people with psql: where a run is, what happened, why.

-- One row per run, payloads readable.
create or replace view durable.runs as
select r.id, r.workflow, r.status, r.queue, r.created_at, r.started_at, r.closed_at,
    (select count(*) from durable.journal j where j.run = r.run) as events,
    durable.readable(i.args) as input,
    durable.readable(e.result) as result,
    durable.readable_failure(e.failure) - 'traceback' as failure,
    r.report, e.reason, r.due_at, r.deadline, r.build, w.name as worker, p.id as parent, r.current, r.run
from durable.run r
left join durable.run p on p.run = r.parent_run
left join durable.input i on i.run = r.run
left join durable.result e on e.run = r.run
left join durable.worker w on w.worker = r.worker;

-- One row per event, in order.
create or replace view durable.history as
select r.id, j.position, j.at, j.kind, j.name,
    durable.readable(j.input) as input,
    durable.readable(j.result) as result,
    durable.readable_failure(j.failure) - 'traceback' as failure,
    durable.readable_failure(j.failure) ->> 'traceback' as traceback,
    j.site, j.op, r.current, j.run, j.patches
from durable.journal j
join durable.run r on r.run = j.run;

-- One row per open run: since when it waits, for what, and at which line of its code. Written
-- when a run is put away, so no worker needs to live. A run that is in some worker's memory
-- says who has it, and its latest event.
create or replace view durable.waiting as
select r.id, r.workflow, r.status,
    coalesce(last.at, r.created_at) as since,
    case
        when r.status = 'stuck' then r.report
        when r.status = 'unserved' then concat('a worker that serves ', r.workflow,
            ' in build ' || r.build, ', of another build than ' || array_to_string(r.unfit, ', '))
        when r.status = 'paused' then 'somebody to resume it'
        when r.waits_for is not null then r.waits_for
        when r.worker is not null then 'what worker ' || coalesce(w.name, r.worker::text) || ' does'
        else 'a worker'
    end as waits_for,
    coalesce(r.waits_at, last.site) as waits_at,
    r.due_at, w.name as worker, r.run
from durable.run r
left join durable.worker w on w.worker = r.worker
left join lateral (
    select j.at, j.site from durable.journal j
    where j.run = r.run
    order by j.position desc
    limit 1
) last on true
where r.closed_at is null;

-- One row per activity under way, once it has run for a second, has failed and will be tried
-- again, or was asked to record its start. `next_at` is null while an attempt is under way.
create or replace view durable.running as
select r.id, a.name as activity, a.attempt, a.since, a.began_at,
    durable.readable_failure(a.failure) - 'traceback' as last_failure,
    a.next_at, durable.readable(a.details) as details,
    coalesce(w.name, a.worker::text) as worker, r.status, a.op, a.run
from durable.attempt a
join durable.run r on r.run = a.run
left join durable.worker w on w.worker = a.worker;

-- One row per state that a run shows: its last value.
create or replace view durable.states as
select r.id, s.name, durable.readable(s.value) as value, s.version, s.at, r.workflow, r.status,
    r.current, s.run
from durable.state s
join durable.run r on r.run = s.run;

-- One row per value that was published, in order of "offset" for each id and name. `is_reset`: a
-- new attempt of an activity begins there, and what earlier ones of this `op` have published is
-- void.
create or replace view durable.streams as
select r.id, s.name, s.seq as "offset", durable.readable(s.value) as value,
    s.value is null as is_reset, s.op, s.attempt, s.at, r.current, s.run
from durable.stream s
join durable.run r on r.run = s.run
where s.value is not null or s.op is not null;

-- One row per signal or update that no worker has read yet: of a run that is paused, stuck, unserved
-- or delayed. Of a closed run, what came too late.
create or replace view durable.unread as
select r.id, i.kind, i.name, durable.readable(i.payload) as value, i.at, r.workflow, r.status,
    r.current, i.seq, i.run
from durable.run r
cross join lateral (
    select coalesce(max(j.seq), 0) as seq from durable.journal j where j.run = r.run
) latest
join durable.inbox i on i.run = r.run and i.seq > latest.seq and i.kind in ('signal', 'update')
where r.last_seq > 0;
