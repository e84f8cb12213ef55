-- Send a message to the run that an id names now. The row is locked first and read again, so
-- that the answer is about the run that took the message or did not. `seq`: its number there, if it
-- was taken now.
--
-- `meant` is the run that the sender means, if it means that very one, whatever the id names by
-- now: what was replaced is closed.
--
-- One that has gone on as another has taken its keys along: what it has read is not taken again. A
-- send that is repeated after a lost answer says so (`again`): if the id was given to another run
-- meanwhile, the message may stand with the run before. One that came there long ago, under the same
-- key of its sender's, is another.
create or replace function durable.deliver(
    to_id text, message_kind text, message_name text, message_key text, message bytea,
    again boolean, meant bigint default null,
    out run bigint, out state text, out status text, out seq bigint
)
language plpgsql
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    moment timestamptz := durable.now();
    target bigint;
    old record;
begin
    loop
        select r.run into target from durable.run r where r.id = to_id and r.current;
        if not found then
            -- In a transaction that sees the past, the run may be younger than that.
            if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
                raise exception 'run % is not visible to this transaction', to_id
                    using errcode = '40001';
            end if;
            state := 'absent';
            return;
        end if;
        if again then
            with recursive named as (
                select r.run, r.previous from durable.run r where r.run = target
                union all
                select r.run, r.previous from durable.run r join named on r.run = named.previous
            )
            select i.run, r.status into run, status
            from named
            join durable.inbox i on i.run = named.run and i.key = message_key
                and i.at > moment - interval '2 minutes'
            join durable.run r on r.run = i.run
            limit 1;
            if found then
                state := 'accepted';
                return;
            end if;
        end if;
        if target <> meant then
            meant := durable.latest(meant);
            -- It may have gone on as another since the id was looked up.
            continue when target <> meant and exists (
                select from durable.run r where r.run = meant and r.id = to_id and r.current);
        end if;
        if target <> meant then
            select r.run, r.status into run, status from durable.run r where r.run = meant;
            state := case when found then 'closed' else 'absent' end;
            return;
        end if;
        select r.run, r.previous, r.status, r.last_seq, r.closed_at into old
        from durable.run r where r.run = target and r.current for no key update;
        exit when found;
    end loop;

    run := old.run;
    status := old.status;
    select i.run into target from durable.inbox i where i.run = old.run and i.key = message_key;
    if not found and old.previous is not null then
        select l.run into target
        from durable.generations(old.run) l
        join durable.inbox i on i.run = l.run and i.key = message_key
        order by l.nth limit 1;
    end if;
    if found then
        run := target;
        state := 'accepted';
    elsif old.closed_at is not null then
        state := 'closed';
    else
        insert into durable.inbox (run, seq, kind, name, key, payload, at)
        values (old.run, old.last_seq + 1, message_kind, message_name, message_key, message, moment);
        update durable.run r
        set last_seq = r.last_seq + 1,
            due_at = case when r.status in ('pending', 'running', 'waiting', 'unserved')
                    -- Only a cancel lets a delayed run begin before its time.
                    and (r.started_at is not null or message_kind = 'cancel')
                then least(r.due_at, moment) else r.due_at end
        where r.run = old.run;
        state := 'accepted';
        seq := old.last_seq + 1;
    end if;
end
$$;
