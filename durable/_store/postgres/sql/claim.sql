-- Whether workers of a build may take a run up: not if another one is named for it, nor if they
-- have tried in vain. Inlined; no index knows of it, few runs have either.
create or replace function durable.suits(build text, named text, unfit text[]) returns boolean
language sql immutable parallel safe as $$
select (named is null or named = build) and (unfit is null or build <> all(unfit))
$$;

-- Give due runs to a worker, those of higher priority first, each with a new claim.
--
-- Two owners in a row that died while a run did not move make it doubtful. Of those a worker gets
-- `doubtful_max` beside the others, on trial together; but one that was on trial at a death already
-- is alone. By lot, so that nobody's turn never comes.
--
-- Or give it one run alone, `wanted`, if that waits and is due; none if the worker is dead.
--
-- What is told of a run's journal and inbox is read after the run was locked: between a snapshot and
-- a row lock somebody else may have owned, written and released it. Where they say that the worker
-- has it all (`length`), or that nothing is there (`noted`, `last_seq`), no more is read; what has to
-- be read is read afterwards.
create or replace function durable.claim(
    by_worker uuid, runs_max bigint, new_versions text, doubtful_max bigint,
    wanted bigint default null)
returns table (run bigint, id text, workflow text, queue text, claim bigint, seed bytea,
    versions text, input bytea, crashes bigint, parent bigint, origins text,
    length bigint, noted boolean, read_seq bigint, last_seq bigint)
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    serves record;
    taken bigint[];
    doubtful bigint[];
begin
    select w.workflows, w.queues, w.build into serves
    from durable.worker w where w.worker = by_worker and w.state = 'live' for key share;
    if not found and wanted is not null then
        return;
    elsif not found then
        raise exception 'worker % is not alive any more', by_worker using errcode = 'DU001';
    end if;

    -- First, or there would never be room for them under a standing backlog. Mostly there are none:
    -- that the index of the doubtful tells. (In its order: where the planner knows nothing of a young
    -- installation yet, it would walk past all that is due instead.)
    if doubtful_max > 0 then
        perform from (
            select r.due_at from durable.run r
            where r.crashes >= 2 and r.worker is null and r.status in ('pending', 'waiting')
            order by r.due_at limit 1
        ) first
        where first.due_at <= durable.now();
        if not found then
            doubtful_max := 0;
        end if;
    end if;
    if doubtful_max > 0 then
        select array_agg(due.run) into doubtful
        from (
            select r.run from durable.run r
            where r.crashes >= 2 and r.worker is null and r.status in ('pending', 'waiting')
                and r.queue = any(serves.queues) and r.due_at <= durable.now()
                and r.workflow = any(serves.workflows)
                and durable.suits(serves.build, r.build, r.unfit)
                and r.crashes >= 3
            order by r.crashes desc, random()
            limit least(1, runs_max)
            for update skip locked
        ) due;
    end if;
    if doubtful_max > 0 and doubtful is null then
        select array_agg(due.run) into doubtful
        from (
            select r.run from durable.run r
            where r.crashes >= 2 and r.worker is null and r.status in ('pending', 'waiting')
                and r.queue = any(serves.queues) and r.due_at <= durable.now()
                and r.workflow = any(serves.workflows)
                and durable.suits(serves.build, r.build, r.unfit)
                and r.crashes = 2
            order by random()
            limit least(doubtful_max, greatest(1, runs_max / 2))
            for update skip locked
        ) due;
    end if;

    if wanted is not null then
        select array_agg(due.run) into taken
        from (
            select r.run from durable.run r
            where r.run = wanted and r.worker is null and r.status = 'waiting'
                and r.queue = any(serves.queues) and r.due_at <= durable.now()
                and r.workflow = any(serves.workflows)
                and durable.suits(serves.build, r.build, r.unfit)
                and r.crashes < 2
            for update skip locked
        ) due;
    else
        -- One probe per queue and priority: a single range over both would walk all future runs of
        -- a priority before it came to the next.
        select array_agg(due.run) into taken
        from (
            select found.run
            from (
                select q.queue, p.priority
                from unnest(serves.queues) q(queue) cross join generate_series(-2, 2) p(priority)
                order by p.priority desc
                offset 0
            ) place
            cross join lateral (
                select r.run from durable.run r
                where r.worker is null and r.status in ('pending', 'waiting')
                    and r.queue = place.queue and r.priority = place.priority
                    and r.due_at <= durable.now() and r.workflow = any(serves.workflows)
                    and durable.suits(serves.build, r.build, r.unfit)
                    and r.crashes < 2
                order by r.due_at
                limit runs_max
                for update skip locked
            ) found
            limit runs_max - coalesce(cardinality(doubtful), 0)
        ) due;
    end if;
    if taken is null and doubtful is null then
        return;
    end if;

    -- A younger snapshot than the locks.
    return query
    update durable.run r
    set worker = by_worker, status = 'running', claim = r.claim + 1, due_at = null,
        started_at = coalesce(r.started_at, durable.now()),
        versions = coalesce(r.versions, new_versions),
        crashes = case when t.length > r.length_at_claim then 0 else r.crashes end,
        on_trial = case when r.run = any(doubtful) then cardinality(doubtful) else 0 end,
        length_at_claim = t.length
    from (
        select u.run, (
            select coalesce(max(j.position) + 1, 0) from durable.journal j where j.run = u.run
        ) as length, exists (select from durable.attempt a where a.run = u.run) as noted
        from unnest(taken || doubtful) u(run)
        offset 0  -- or each would be asked for as often as it is named
    ) t
    join durable.input i on i.run = t.run
    where r.run = t.run
    returning r.run, r.id, r.workflow, r.queue, r.claim, r.seed, r.versions, i.args, r.crashes,
        r.parent_run, r.origins, t.length, t.noted, r.read_seq, r.last_seq;
end
$$;
