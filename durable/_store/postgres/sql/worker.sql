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
