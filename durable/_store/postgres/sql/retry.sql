-- Let a failed or stuck run go on. Null: it does; 'absent': there is no such run; else why not,
-- in words.
--
-- Nothing is deleted from the journal: a position that became free could be taken by a send
-- that was delayed. A `voided` row takes back the event that the run failed with; it holds the
-- next free op, since numbers are never used for two things. Where the code itself raised, it
-- is marked 'redo': the owner feeds the voided event's facts again.
create or replace function durable.retry_run(retried_id text, meant bigint) returns text
language plpgsql as $$
declare
    target bigint;
    parent bigint;
    old record;
begin
    loop
        select r.run into target from durable.run r where r.id = retried_id and r.current;
        if not found then
            return 'absent';
        end if;
        if target <> durable.latest(meant) then
            return 'its id names another run now, which was started after it';
        end if;
        select r.run, r.status, r.parent_run, r.parent_op into old
        from durable.run r where r.run = target and r.current for update;
        exit when found;
    end loop;
    if old.status = 'failed' and old.parent_run is not null then
        -- Whoever has seen that it failed must not see that it did not.
        for parent in
            select p.run from durable.run p
            where p.run = old.parent_run and (p.closed_at is null or p.status = 'failed')
                and exists (
                    select from durable.journal j
                    where j.run = p.run and j.kind = 'child' and j.op = old.parent_op
                        and not exists (
                            select from durable.journal v
                            where v.run = p.run and v.kind = 'voided' and v.voids = j.position))
        loop
            return (
                select format('its parent %s has seen that it failed%s', p.id,
                    case when p.closed_at is null then ', and goes on from there.'
                        else '. Retry that one: it takes this one along.' end)
                from durable.run p where p.run = parent);
        end loop;
    end if;
    begin
        return durable.reopen(target);
    exception when sqlstate 'DU002' then
        return sqlerrm;
    end;
end
$$;

-- The same for a run whose row the caller has locked: null, or why not.
create or replace function durable.reopen(target bigint) returns text
language plpgsql as $$
declare
    old record;
    ended record;
    latest record;
    skipped bigint := 0;
    length bigint;
begin
    select r.run, r.status into old from durable.run r where r.run = target;
    if old.status = 'failed' then
        select e.failed_at, e.next_op into strict ended
        from durable.result e where e.run = old.run;
        -- The last event that no earlier retry took back.
        for latest in
            select j.position, j.kind, j.at from durable.journal j
            where j.run = old.run order by j.position desc
        loop
            length := coalesce(length, latest.position + 1);
            if latest.kind = 'voided' then
                skipped := skipped + 1;
            elsif skipped > 0 then
                skipped := skipped - 1;
            else
                exit;
            end if;
        end loop;
        if ended.failed_at <> latest.position then
            return format('events follow the failure at position %s (up to %s): it was handled '
                'before the run failed. Fork the run from before it instead.',
                ended.failed_at, latest.position);
        end if;
        insert into durable.journal (run, position, op, kind, name, at, key, voids)
        values (old.run, length, ended.next_op, 'voided',
            case when ended.failed_at is null then 'redo' end,
            greatest(latest.at, durable.now()), uuid_send(gen_random_uuid()), latest.position);
        delete from durable.result e where e.run = old.run;
    elsif old.status <> 'stuck' then
        return format('it is %s; only a failed or a stuck run can be retried', old.status);
    end if;

    update durable.run r
    set status = 'pending', due_at = durable.now(), closed_at = null, crashes = 0, paused_at = null,
        report = null, unfit = null, stuck_at = null,
        deadline = case when r.deadline > durable.now() then r.deadline end
    where r.run = old.run;
    perform durable.resume_children(old.run);
    return null;
end
$$;
