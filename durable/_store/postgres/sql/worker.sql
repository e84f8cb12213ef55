-- The first step of a takeover: from here on the worker writes nothing more. Waits for its
-- commits in flight, and so must lock before it updates: a plain update would not conflict
-- with their `for key share`. False if it has beaten since it was judged.
create or replace function durable.mark_dead(dead uuid, judged_at timestamptz) returns boolean
language plpgsql as $$
declare
    beaten timestamptz;
begin
    select w.beat_at into beaten from durable.worker w where w.worker = dead for update;
    if beaten > judged_at then
        return false;
    end if;
    update durable.worker w set state = 'dead' where w.worker = dead and w.state = 'live';
    return true;
end
$$;

-- Sessions whose transactions hold a worker's row: they are its own, or those of its judges. What
-- locks a row last stands in its xmax, which is a transaction's number, or that of a group of
-- them; nothing says which, so the caller also compares names.
create or replace function durable.holders(of uuid) returns setof integer
language plpgsql stable as $$
declare
    holder xid;
begin
    select w.xmax into holder from durable.worker w where w.worker = of;
    return query select l.pid from pg_catalog.pg_locks l
        where l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.transactionid = holder;
    begin
        return query select l.pid from pg_get_multixact_members(holder) m
            join pg_catalog.pg_locks l on l.locktype = 'transactionid'
                and l.mode = 'ExclusiveLock' and l.transactionid = m.xid;
    exception when internal_error then
        return;  -- there is no group of that number: it was a transaction's
    end;
end
$$;
