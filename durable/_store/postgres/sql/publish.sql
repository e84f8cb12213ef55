-- What runs show to others, in the commit that says it: part of `commit`, which has locked the
-- runs. Elements in the order of being published; those of one run in one commit have one key.
create or replace function durable.publish(
    publishes json,         -- run, kind ('state' or 'stream'), name, value, key; of an activity
                            -- its op and attempt; a stream's mark has no value
    go bigint[]             -- runs whose turns are written; null: all of them
) returns void
language plpgsql as $$
declare
    moment timestamptz := durable.now();
begin
    -- Of one state that was set often the last value is all there is: the owner sends no other.
    insert into durable.state as known (run, name, version, value, at)
    select p.run, p.name, 1, decode(p.value, 'base64'), moment
    from json_to_recordset(publishes) p(run bigint, kind text, name text, value text)
    where p.kind = 'state' and (go is null or p.run = any(go))
    order by p.run, p.name
    on conflict (run, name) do update
    set version = known.version + 1, value = excluded.value, at = excluded.at;

    with told as materialized (
        select p.n, p.run, p.name, p.op, p.attempt, decode(p.value, 'base64') as value,
            decode(p.key, 'base64') as key
        from rows from (json_to_recordset(publishes) as (
            run bigint, kind text, name text, value text, key text, op bigint, attempt bigint))
            with ordinality p(run, kind, name, value, key, op, attempt, n)
        where p.kind = 'stream' and (go is null or p.run = any(go))
    ), standing as (
        select t.run, t.name, coalesce(last.seq, 0) as seq, last.key
        from (select distinct told.run, told.name from told) t
        left join lateral (
            select s.seq, s.key from durable.stream s
            where s.run = t.run and s.name = t.name
            order by s.seq desc
            limit 1
        ) last on true
    )
    insert into durable.stream (run, name, seq, op, attempt, value, at, key)
    select t.run, t.name, s.seq + row_number() over (partition by t.run, t.name order by t.n),
        t.op, t.attempt, t.value, moment, t.key
    from told t join standing s on s.run = t.run and s.name = t.name
    -- A commit without events cannot be told from the one before by the journal.
    where s.key is distinct from t.key;
end
$$;

-- Another run has the id now: its streams go on where those of the run before it have come to.
-- One that continues it (`continues`) shows its states, too.
create or replace function durable.inherit(heir bigint, old bigint, continues boolean) returns void
language plpgsql as $$
begin
    with recursive named (name) as (
        select min(s.name) from durable.stream s where s.run = old
        union all
        select (select min(s.name) from durable.stream s where s.run = old and s.name > named.name)
        from named where named.name is not null
    )
    insert into durable.stream (run, name, seq, at, key)
    select heir, named.name, last.seq, durable.now(), uuid_send(gen_random_uuid())
    from named
    cross join lateral (
        select s.seq from durable.stream s
        where s.run = old and s.name = named.name
        order by s.seq desc
        limit 1
    ) last
    on conflict do nothing;
    if continues then
        insert into durable.state (run, name, version, value, at)
        select heir, s.name, s.version, s.value, s.at from durable.state s where s.run = old
        on conflict do nothing;
    end if;
end
$$;
