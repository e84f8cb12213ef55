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
