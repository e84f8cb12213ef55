-- Delete runs that closed before a time, with all that belongs to them: one batch, from
-- (after_at, after_run) on in order of their end. `last_at` is null when there are no more.
--
-- Open runs are never touched, nor those that somebody has locked: a retry or a message wins,
-- and the next call finds what is left. A journal may be long, so a batch has an end in rows as
-- well as in runs.
create or replace function durable.delete_closed(
    closed_before timestamptz, of_status text[], of_workflow text,
    after_at timestamptz, after_run bigint, runs_max bigint, events_max bigint,
    out deleted bigint, out last_at timestamptz, out last_run bigint
)
language plpgsql
set plan_cache_mode = force_custom_plan
as $$
declare
    doomed bigint[];
begin
    select array_agg(chosen.run), max(chosen.closed_at),
        (array_agg(chosen.run order by chosen.closed_at desc, chosen.run desc))[1]
    into doomed, last_at, last_run
    from (
        select sized.run, sized.closed_at,
            sum(sized.length) over (order by sized.closed_at, sized.run) - sized.length as before
        from (
            select locked.run, locked.closed_at, (
                select coalesce(max(j.position) + 1, 0) from durable.journal j
                where j.run = locked.run) as length
            from (
                select r.run, r.closed_at from durable.run r
                where r.closed_at < closed_before
                    and (of_status is null or r.status = any(of_status))
                    and (of_workflow is null or r.workflow = of_workflow)
                    and (after_at is null or (r.closed_at, r.run) > (after_at, after_run))
                order by r.closed_at, r.run
                limit runs_max
                for update skip locked
            ) locked
        ) sized
    ) chosen
    where chosen.before < events_max;

    delete from durable.journal j where j.run = any(doomed);
    delete from durable.inbox i where i.run = any(doomed);
    delete from durable.answer a where a.run = any(doomed);
    delete from durable.attempt a where a.run = any(doomed);
    delete from durable.outcome o where o.run = any(doomed);
    delete from durable.state s where s.run = any(doomed);
    delete from durable.stream s where s.run = any(doomed);
    delete from durable.farewell f where f.run = any(doomed);
    delete from durable.input i where i.run = any(doomed);
    delete from durable.result e where e.run = any(doomed);
    delete from durable.run r where r.run = any(doomed);
    deleted := coalesce(cardinality(doomed), 0);
end
$$;
