-- Put messages of one kind into the inboxes of runs. The caller holds their rows; a key that an
-- inbox has is not taken twice.
create or replace function durable.post(
    targets bigint[], message_kind text, names text[], keys text[], ops bigint[], payloads bytea[]
) returns void
language sql as $$
with fresh as materialized (
    select m.n, m.target, m.name, m.key, m.op, m.payload
    from unnest(targets, names, keys, ops, payloads)
        with ordinality m(target, name, key, op, payload, n)
    where not exists (
        select from durable.inbox i where i.run = m.target and i.key = m.key)
), counted as (
    update durable.run r
    set last_seq = r.last_seq + g.count,
        due_at = case when r.status in ('pending', 'running', 'waiting', 'unserved')
                -- Only a cancel lets a delayed run begin before its time.
                and (r.started_at is not null or message_kind = 'cancel')
            then least(r.due_at, durable.now()) else r.due_at end
    from (select f.target, count(*) as count from fresh f group by f.target) g
    where r.run = g.target
    returning r.run, r.last_seq - g.count as base
)
insert into durable.inbox (run, seq, kind, name, key, op, payload, at)
select f.target, c.base + row_number() over (partition by f.target order by f.n),
    message_kind, f.name, f.key, f.op, f.payload, durable.now()
from fresh f join counted c on c.run = f.target
$$;

-- What every end of a run brings about, whoever has closed it: its parent gets a message, and its
-- own children are noted to be told. The caller holds the rows of these runs; the parents' are
-- locked here, unless it holds them already.
create or replace function durable.closed(ended bigint[]) returns void
language plpgsql as $$
declare
    parents bigint[];
begin
    select array_agg(p.run) into parents
    from (
        select p.run from durable.run p
        where p.run in (select r.parent_run from durable.run r where r.run = any(ended))
        order by p.run for no key update
    ) p;
    if parents is not null then
        -- One that was retried ends again: its journal is longer by then.
        perform durable.post(array_agg(t.parent_run), 'child', array_agg(t.status),
            array_agg(format('child/%s/%s', t.run, t.length)), array_agg(t.parent_op),
            array_agg(t.payload))
        from (
            select r.parent_run, r.parent_op, r.status, r.run, (
                    select coalesce(max(j.position) + 1, 0) from durable.journal j
                    where j.run = r.run) as length,
                case r.status when 'completed' then e.result when 'failed' then e.failure
                    else case when e.reason is not null
                        then durable.payload(to_jsonb(e.reason)) end end as payload
            from durable.run r
            join durable.run p on p.run = r.parent_run and p.closed_at is null
            left join durable.result e on e.run = r.run
            where r.run = any(ended) and r.status <> 'continued'
            order by r.run
        ) t
        having count(*) > 0;
    end if;
    insert into durable.farewell (run, length)
    select r.run, (
        select coalesce(max(j.position) + 1, 0) from durable.journal j where j.run = r.run)
    from durable.run r
    where r.run = any(ended) and exists (
        select from durable.run c
        where c.parent_run = r.run and c.current and c.closed_at is null
            and c.on_parent_close <> 'abandon')
    on conflict do nothing;
end
$$;

-- Do with the children of one closed run what they were begun with: one batch. Null: there is no
-- such run, or somebody else is at it. Children that a stranger has locked are met next time.
create or replace function durable.tell_children(children_max bigint) returns bigint
language plpgsql as $$
declare
    parting record;
    mark text;
    why text;
    held bigint[];
begin
    select f.run, f.length, r.id, r.closed_at into parting
    from durable.farewell f left join durable.run r on r.run = f.run
    order by f.run limit 1 for update of f skip locked;
    if not found then
        return null;
    end if;
    mark := format('parent/%s/%s', parting.run, parting.length);
    why := format('its parent %s has ended', parting.id);
    if parting.closed_at is not null then  -- and was not retried since
        select array_agg(c.run) into held
        from (
            select c.run from durable.run c
            where c.parent_run = parting.run and c.current and c.closed_at is null
                and c.on_parent_close <> 'abandon'
                and not exists (
                    select from durable.inbox i where i.run = c.run and i.key = mark)
            order by c.run limit children_max
            for update skip locked
        ) c;
        perform durable.close_from_outside(c.run, why) from durable.run c
        where c.run = any(held) and c.on_parent_close = 'terminate' order by c.run;
        perform durable.post(array_agg(c.run), 'cancel', array_agg(why), array_agg(mark),
            array_agg(null::bigint), array_agg(null::bytea))
        from durable.run c
        where c.run = any(held) and c.on_parent_close = 'cancel' having count(*) > 0;
    end if;
    delete from durable.farewell f
    where f.run = parting.run and (parting.closed_at is null or not exists (
        select from durable.run c
        where c.parent_run = parting.run and c.current and c.closed_at is null
            and c.on_parent_close <> 'abandon'
            and not exists (select from durable.inbox i where i.run = c.run and i.key = mark)));
    return coalesce(cardinality(held), 0);
end
$$;
