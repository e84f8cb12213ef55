-- Close an open run from outside. The caller holds its row `for update`. The event at the next
-- position is what stops its owner: whoever writes a position first has it.
create or replace function durable.close_from_outside(closed bigint, why text) returns void
language plpgsql as $$
declare
    latest record;
begin
    select max(j.position) as position, max(j.at) as at, max(j.op) as op into latest
    from durable.journal j where j.run = closed;
    insert into durable.journal (run, position, kind, name, at, key)
    values (closed, coalesce(latest.position + 1, 0), 'terminated', why,
        greatest(latest.at, durable.now()), uuid_send(gen_random_uuid()));
    insert into durable.result (run, next_op, reason)
    values (closed, coalesce(latest.op, 0) + 1, why);
    delete from durable.attempt known where known.run = closed;
    update durable.run r
    set status = 'terminated', closed_at = durable.now(), worker = null, due_at = null,
        waits_for = null, waits_at = null
    where r.run = closed;
    perform durable.closed(array[closed]);
end
$$;

-- Start a run under an id, or find the one that the id names. What to do about that one:
-- 'use' it, 'reject', start another 'after_close' or 'after_failure' of it, or 'replace' it,
-- which closes it if it is open. `created` is false if no run was started.
--
-- The seed tells whose start it was: a start that is repeated after a lost answer, under any
-- policy, finds the run that it has created. Times are given as such, or as lengths from now;
-- the deadline's is counted from when the run may begin.
--
-- The lock on the id is held until the transaction ends, so nobody else gives the id to
-- another run meanwhile; statuses may still change, so each step looks again. In a transaction
-- that sees the past (repeatable read) Postgres raises 40001 where that would mislead.
create or replace function durable.start_run(
    new_id text, new_workflow text, new_queue text, new_priority bigint, args bytea, digest bytea,
    if_exists text,
    explicit boolean default true,      -- false: a random id, which needs no lock
    new_seed bytea default null,
    begins_at timestamptz default null, begins_after interval default null,
    ends_at timestamptz default null, ends_after interval default null,
    new_build text default null,
    out run bigint, out created boolean, out status text, out workflow text,
    out input bytea, out input_digest bytea
)
language plpgsql as $$
#variable_conflict use_column
declare
    moment timestamptz := durable.now();
    begins timestamptz := greatest(moment, coalesce(begins_at, moment + begins_after));
    old record;
begin
    if if_exists not in ('use', 'reject', 'after_close', 'after_failure', 'replace') then
        raise exception 'if_exists is %', if_exists using errcode = '22023';
    end if;
    if explicit then
        perform pg_advisory_xact_lock(durable.id_key(new_id));
    end if;
    loop
        select r.run, r.status, r.workflow, r.closed_at into old
        from durable.run r where r.id = new_id and r.current;
        if found then
            -- What has gone on as another is still what was started.
            created := exists (
                select from durable.generations(old.run) l join durable.run r on r.run = l.run
                where r.seed = new_seed);
            if created or not (if_exists = 'replace'
                or if_exists = 'after_close' and old.closed_at is not null
                or if_exists = 'after_failure'
                    and old.status in ('failed', 'cancelled', 'terminated')) then
                select old.run, old.status, old.workflow, i.args, i.digest
                into run, status, workflow, input, input_digest
                from durable.generations(old.run) l join durable.input i on i.run = l.run
                order by l.nth desc limit 1;
                return;
            end if;
            if old.closed_at is null then
                perform from durable.run r
                where r.run = old.run and r.closed_at is null for update;
                continue when not found;
                perform durable.close_from_outside(old.run, 'replaced');
            end if;
            -- Not if a retry has opened it again.
            update durable.run r set current = false
            where r.run = old.run and r.current and r.closed_at is not null;
            continue when not found;
        end if;
        insert into durable.run (
            run, id, previous, workflow, queue, priority, status, due_at, deadline, build, seed,
            created_at)
        values (nextval('durable.run_key'), new_id, old.run, new_workflow, new_queue,
            new_priority, 'pending', begins, coalesce(ends_at, begins + ends_after), new_build,
            coalesce(new_seed, substring(
                sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) for 16)),
            moment)
        on conflict do nothing
        returning run.run into start_run.run;
        continue when not found;
        insert into durable.input (run, args, digest) values (start_run.run, args, digest);
        if old.run is not null then
            perform durable.inherit(start_run.run, old.run, false);
        end if;
        created := true;
        status := 'pending';
        workflow := new_workflow;
        return;
    end loop;
end
$$;

-- Start many runs at once, each as `start_run` does. Those whose id names nothing, as most, are
-- written by one statement; the others are seen to one by one, in the order of their ids' locks.
-- `waits` for ids that somebody holds; else those have no answer, and are to be sent alone.
create or replace function durable.start_runs(
    ids text[], workflows text[], queues text[], priorities bigint[], args bytea[],
    digests bytea[], policies text[], are_given boolean[], seeds bytea[],
    begin_at timestamptz[], begin_after interval[], end_at timestamptz[], end_after interval[],
    builds text[], waits boolean
)
returns table (run bigint, created boolean, status text, workflow text, input bytea)
language plpgsql as $$
#variable_conflict use_column
declare
    moment timestamptz := durable.now();
    held text[];
    started bigint[];
begin
    if waits then  -- in one order, so that two calls never wait for each other
        perform pg_advisory_xact_lock(k.key)
        from (
            select durable.id_key(u.id) as key from unnest(ids, are_given) u(id, is_given)
            where u.is_given order by 1
        ) k;
    else
        select array_agg(u.id) into held from unnest(ids, are_given) u(id, is_given)
        where u.is_given and not pg_try_advisory_xact_lock(durable.id_key(u.id));
    end if;
    with told as materialized (
        select u.n, nextval('durable.run_key') as run, u.id, u.workflow, u.queue, u.priority,
            greatest(moment, coalesce(u.begin_at, moment + u.begin_after)) as begins,
            u.end_at, u.end_after, u.build, u.seed
        from unnest(ids, workflows, queues, priorities, seeds, begin_at, begin_after, end_at,
            end_after, builds) with ordinality
            u(id, workflow, queue, priority, seed, begin_at, begin_after, end_at, end_after, build,
                n)
    ), born as (
        insert into durable.run (
            run, id, workflow, queue, priority, status, due_at, deadline, build, seed, created_at)
        select t.run, t.id, t.workflow, t.queue, t.priority, 'pending', t.begins,
            coalesce(t.end_at, t.begins + t.end_after), t.build, t.seed, moment
        from told t
        where held is null or t.id <> all(held)
        on conflict do nothing
        returning run
    )
    select array_agg(b.run order by t.n) into started from told t left join born b on b.run = t.run;
    insert into durable.input (run, args, digest)
    select s.run, s.args, s.digest from unnest(started, args, digests) s(run, args, digest)
    where s.run is not null;
    if array_position(started, null) is null then
        return query
        select s.run, true, 'pending', s.workflow, null::bytea
        from unnest(started, workflows) s(run, workflow);
        return;
    end if;
    return query
    with others as materialized (
        select o.n, s.run, s.created, s.status, s.workflow,
            case when s.input_digest <> o.digest then s.input end as input
        from (
            select u.n, u.id, u.workflow, u.queue, u.priority, u.args, u.digest, u.policy,
                u.is_given, u.seed, u.begin_at, u.begin_after, u.end_at, u.end_after, u.build
            from unnest(ids, workflows, queues, priorities, args, digests, policies, are_given,
                seeds, begin_at, begin_after, end_at, end_after, builds, started) with ordinality
                u(id, workflow, queue, priority, args, digest, policy, is_given, seed, begin_at,
                    begin_after, end_at, end_after, build, started, n)
            where u.started is null and (held is null or u.id <> all(held))
            order by durable.id_key(u.id), u.n
            offset 0
        ) o
        cross join lateral durable.start_run(
            o.id, o.workflow, o.queue, o.priority, o.args, o.digest, o.policy, o.is_given, o.seed,
            o.begin_at, o.begin_after, o.end_at, o.end_after, o.build) s
    )
    select coalesce(s.run, o.run), s.run is not null or o.created,
        case when s.run is null then o.status else 'pending' end,
        case when s.run is null then o.workflow else s.workflow end, o.input
    from unnest(started, workflows) with ordinality s(run, workflow, n)
    left join others o on o.n = s.n
    order by s.n;
end
$$;
