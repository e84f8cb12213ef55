-- The run that a run goes on as, and so on; itself if it does not. Null for null.
create or replace function durable.latest(of_run bigint) returns bigint
language sql stable as $$
with recursive chain (run, heir) as (
    select of_run, (select e.heir from durable.result e where e.run = of_run)
    union all
    select c.heir, (select e.heir from durable.result e where e.run = c.heir)
    from chain c where c.heir is not null
)
select c.run from chain c where c.heir is null
$$;

-- A run, and those that it has come of by going on, the nearest first. Who repeats a start or a message
-- does so soon: a hundred generations are looked at, and not all of a life.
create or replace function durable.generations(of_run bigint) returns table (run bigint, nth bigint)
language sql stable as $$
with recursive line (run, previous, nth) as (
    select r.run, r.previous, 0::bigint from durable.run r where r.run = of_run
    union all
    select b.run, b.previous, l.nth + 1
    from line l join durable.run b on b.run = l.previous and b.status = 'continued'
    where l.nth < 100
)
select l.run, l.nth from line l
$$;

-- To which runs a commit's deliveries go: each names one by its key, by its id, or as the child that
-- its sender began by an operation. Null for what is not there.
create or replace function durable.addressed(
    deliveries json, out senders bigint[], out targets bigint[]
)
language sql stable as $$
select array_agg(d.run order by d.n),
    array_agg(case
        when d.target is not null then durable.latest(d.target)
        when d.child is not null then (
            select r.run from durable.run r
            where r.parent_run = d.run and r.parent_op = d.child and r.current)
        else (select r.run from durable.run r where r.id = d.id and r.current) end order by d.n)
from rows from (json_to_recordset(deliveries) as (
        run bigint, target bigint, "to" text, child bigint))
    with ordinality d(run, target, id, child, n)
$$;

-- Runs that a commit wants started as children, as JSON: run and op of the parent, and what
-- `protocol.NewChild` has.
--
-- Which parents must wait, since an id of the caller's own is locked by somebody, or claimed by
-- two of them in this commit. With `patient` the locks are queued for.
create or replace function durable.lock_children(children json, patient boolean) returns bigint[]
language plpgsql as $$
declare
    hung bigint[];
begin
    if patient then
        perform pg_advisory_xact_lock(durable.id_key(c.id))
        from (
            select c.id from json_to_recordset(children) c(id text, explicit_id boolean)
            where c.explicit_id order by c.id
        ) c;
    end if;
    select coalesce(array_agg(distinct c.run), '{}') into hung
    from (
        select c.run, c.id, first_value(c.run) over (partition by c.id order by c.run) as first
        from json_to_recordset(children) c(run bigint, id text, explicit_id boolean)
        where c.explicit_id
    ) c
    where c.first <> c.run or not pg_try_advisory_xact_lock(durable.id_key(c.id));
    return hung;
end
$$;

-- Those that cannot be, and why: another run has the id, or each generation begins another.
create or replace function durable.refused_children(children json)
returns table (run bigint, op bigint, why text)
language sql stable as $$
select c.run, c.op, case when p.depth >= 100 then 'deep' else 'taken' end
from (
    select t.run, t.op, t.id, row_number() over (partition by t.id order by t.run, t.op) as nth
    from json_to_recordset(children) t(run bigint, op bigint, id text)
) c
left join durable.run p on p.run = c.run
left join durable.run named on named.id = c.id and named.current
where p.depth >= 100 or c.nth > 1
    or named.run is not null and (named.parent_run, named.parent_op) is distinct from (c.run, c.op)
order by c.run, c.op
$$;

-- Start them, but for what was refused, whose parents are told by messages: their rows are locked.
-- `going`: only those of these runs; null: all. A child that is there already (its parent and op name it) is not started again.
create or replace function durable.bear_children(
    children json, going bigint[], refused_run bigint[], refused_op bigint[], refused_why text[]
) returns void
language plpgsql as $$
begin
    with told as materialized (
        select nextval('durable.run_key') as run, c.run as parent, c.op, c.id, c.workflow,
            coalesce(c.queue, p.queue) as queue, coalesce(c.priority, p.priority) as priority,
            c.seed, c.input, c.input_digest, c.begins_at, c.deadline, c.on_parent_close, p.depth
        from json_to_recordset(children) c(
            run bigint, op bigint, id text, workflow text, queue text, priority bigint, seed text,
            input text, input_digest text, begins_at timestamptz, deadline timestamptz,
            on_parent_close text)
        join durable.run p on p.run = c.run
        where (going is null or c.run = any(going))
            and not exists (
                select from unnest(refused_run, refused_op) f(run, op)
                where f.run = c.run and f.op = c.op)
            and not exists (
                select from durable.run r
                where r.parent_run = c.run and r.parent_op = c.op and r.current)
    ), born as (
        insert into durable.run (
            run, id, workflow, queue, priority, status, due_at, deadline, seed, created_at,
            parent_run, parent_op, on_parent_close, depth)
        select t.run, t.id, t.workflow, t.queue, t.priority, 'pending',
            greatest(t.begins_at, durable.now()), t.deadline, decode(t.seed, 'base64'),
            durable.now(), t.parent, t.op, t.on_parent_close, t.depth + 1
        from told t
        order by t.id
    )
    insert into durable.input (run, args, digest)
    select t.run, decode(t.input, 'base64'), decode(t.input_digest, 'base64') from told t;
    -- A retry asks again: the parent's journal is longer by then.
    perform durable.post(array_agg(f.run), 'refused', array_agg(f.why),
        array_agg(format('refused/%s/%s', f.op, (
            select max(j.position) from durable.journal j where j.run = f.run))),
        array_agg(f.op), array_agg(null::bytea))
    from unnest(refused_run, refused_op, refused_why) f(run, op, why)
    where going is null or f.run = any(going)
    having count(*) > 0;
end
$$;

-- Runs that have ended as `continued`: each goes on as a new run under its id, with what its own
-- code and everybody else have sent and nobody has received. The caller holds their rows. `going`:
-- only these; null: all.
create or replace function durable.continue_runs(heirs json, going bigint[]) returns void
language plpgsql as $$
declare
    each record;
    next_run bigint;
begin
    for each in
        select h.run, decode(h.seed, 'base64') as seed, decode(h.input, 'base64') as input, h.unread
        from json_to_recordset(heirs) h(run bigint, seed text, input text, unread bigint[])
        where going is null or h.run = any(going)
    loop
        next_run := nextval('durable.run_key');
        update durable.run r set current = false where r.run = each.run;
        update durable.result e set heir = next_run where e.run = each.run;
        insert into durable.run (
            run, id, previous, workflow, queue, priority, status, paused_at, due_at, deadline,
            seed, created_at, parent_run, parent_op, on_parent_close, depth)
        select next_run, r.id, r.run, r.workflow, r.queue, r.priority,
            case when r.paused_at is null then 'pending' else 'paused' end, r.paused_at,
            durable.now(), r.deadline, each.seed, durable.now(), r.parent_run, r.parent_op,
            r.on_parent_close, r.depth
        from durable.run r where r.run = each.run;
        -- A start that is repeated is compared with the one that began it all.
        insert into durable.input (run, args, digest)
        select next_run, each.input, i.digest from durable.input i where i.run = each.run;
        -- What answers an op of the old run says nothing to the new one.
        insert into durable.inbox (run, seq, kind, name, key, payload, at)
        select next_run, row_number() over (order by i.seq), i.kind, i.name, i.key, i.payload, i.at
        from durable.inbox i
        where i.run = each.run and i.op is null and (
            i.seq in (
                select j.seq from durable.journal j
                where j.run = each.run and j.position = any(each.unread))
            or i.seq > (
                select coalesce(max(j.seq), 0) from durable.journal j where j.run = each.run));
        perform durable.inherit(next_run, each.run, true);
        update durable.run r
        set last_seq = (select coalesce(max(i.seq), 0) from durable.inbox i where i.run = next_run)
        where r.run = next_run;
    end loop;
end
$$;

-- A parent is retried: what its open ops wait for must come. A child that has completed meanwhile
-- answers now; one that has failed is retried; one that was ended otherwise makes room, and its
-- parent begins it anew. Raises DU002 for one that cannot be retried.
create or replace function durable.resume_children(parent bigint) returns void
language plpgsql as $$
declare
    child record;
    refusal text;
begin
    delete from durable.farewell f where f.run = parent;
    for child in
        with answered as materialized (
            select j.op from durable.journal j
            where j.run = parent and j.kind = 'child' and not exists (
                select from durable.journal v
                where v.run = parent and v.kind = 'voided' and v.voids = j.position)
        )
        select r.run, r.id, r.status from durable.run r
        where r.parent_run = parent and r.current and r.closed_at is not null
            and r.parent_op not in (select a.op from answered a)
        order by r.run for update
    loop
        if child.status = 'completed' then
            perform durable.closed(array[child.run]);
        elsif child.status = 'failed' then
            refusal := durable.reopen(child.run);
            if refusal is not null then
                raise exception 'its child % cannot be retried: %', child.id, refusal
                    using errcode = 'DU002';
            end if;
        else
            update durable.run r set current = false, parent_run = null, parent_op = null
            where r.run = child.run;
        end if;
    end loop;
end
$$;
