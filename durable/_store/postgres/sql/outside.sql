-- What people do to a run from outside. Each locks its row `for update`: it waits for a commit in
-- flight of the run's owner, and the next one finds the run as it was left here.

-- The run that an id names, locked; null if there is none. `meant`: see `deliver`.
create or replace function durable.lock_run(named text, meant bigint) returns bigint
language plpgsql as $$
declare
    target bigint;
begin
    loop
        select r.run into target from durable.run r where r.id = named and r.current;
        if not found and current_setting('transaction_isolation')
                in ('repeatable read', 'serializable') then
            raise exception 'run % is not visible to this transaction', named using errcode = '40001';
        end if;
        meant := durable.latest(meant);
        continue when target <> meant and exists (
            select from durable.run r where r.run = meant and r.id = named and r.current);
        if target is null or target <> meant then
            -- What an id does not name any more is closed, or deleted.
            return (select r.run from durable.run r where r.run = meant);
        end if;
        perform from durable.run r where r.run = target and r.current for update;
        if found then
            return target;
        end if;
    end loop;
end
$$;

-- Close an open run at once; its code has no say. Null: it is done; else 'absent', or the status of
-- a run that was closed already. Its owner learns from its next commit, or when it asks (`claims`).
create or replace function durable.terminate_run(named text, why text, meant bigint) returns text
language plpgsql as $$
declare
    target bigint := durable.lock_run(named, meant);
    old text;
begin
    select r.status into old from durable.run r where r.run = target and r.closed_at is not null;
    if found or target is null then
        return coalesce(old, 'absent');
    end if;
    perform durable.close_from_outside(target, why);
    return null;
end
$$;

-- Ask a run to hold, or (`holds` false) to go on. Null: it is so now, or will be when its owner has
-- handed it back; else 'absent', or the status of a closed run.
--
-- A run without an owner holds at once; due_at stays, for what is due is due still when it goes on.
-- Messages come meanwhile and make nothing due, so a run that goes on looks; but one that was
-- delayed and has not begun keeps its time, unless it was asked to cancel.
create or replace function durable.pause_run(named text, holds boolean, meant bigint) returns text
language plpgsql as $$
declare
    moment timestamptz := durable.now();
    target bigint := durable.lock_run(named, meant);
    old text;
begin
    select r.status into old from durable.run r where r.run = target and r.closed_at is not null;
    if found or target is null then
        return coalesce(old, 'absent');
    end if;
    update durable.run r
    set paused_at = case when holds then coalesce(r.paused_at, moment) end,
        status = case
            when holds and r.status in ('pending', 'waiting', 'unserved') then 'paused'
            when not holds and r.status = 'paused' then 'pending'
            else r.status end,
        due_at = case
            when holds and r.status = 'running' then least(r.due_at, moment)
            when not holds and r.status = 'paused' and (r.started_at is not null or exists (
                select from durable.inbox i where i.run = r.run and i.kind = 'cancel'))
            then least(r.due_at, moment)
            else r.due_at end
    where r.run = target and (r.paused_at is null) = holds;
    return null;
end
$$;

-- Name the build whose workers alone may take a run up; null: any. Answers as `pause_run`.
create or replace function durable.pin_run(named text, new_build text, meant bigint) returns text
language plpgsql as $$
declare
    target bigint := durable.lock_run(named, meant);
    old text;
begin
    select r.status into old from durable.run r where r.run = target and r.closed_at is not null;
    if found or target is null then
        return coalesce(old, 'absent');
    end if;
    update durable.run r set build = new_build where r.run = target;
    return null;
end
$$;

-- Begin the run that the id names anew: the same workflow with the same arguments, in its place.
-- Returns the key of the new run; null if the id names another than `meant`. The seed tells a call
-- that is repeated after a lost answer, as in `start_run`.
--
-- The id is locked before anything is looked at: of two that restart the same run one is late, and
-- must not end what the other has begun.
create or replace function durable.restart_run(named text, meant bigint, new_seed bytea)
returns bigint
language plpgsql as $$
declare
    target bigint;
begin
    perform pg_advisory_xact_lock(durable.id_key(named));
    target := durable.lock_run(named, meant);
    return (
        select s.run
        from durable.run r
        join durable.input i on i.run = r.run
        cross join lateral durable.start_run(
            r.id, r.workflow, r.queue, r.priority, i.args, i.digest, 'replace', true, new_seed) s
        where r.id = named and r.current and (r.run = target or exists (
            select from durable.generations(r.run) l join durable.run g on g.run = l.run
            where g.seed = new_seed)));
end
$$;
