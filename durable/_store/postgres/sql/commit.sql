-- The turns of many runs, written in one transaction.
--
-- Ordered statements, each with a snapshot of its own: as one statement of CTEs this loses
-- messages (two updates of one row, conditions read in an old snapshot) and deadlocks.
--
-- A turn is all or nothing, and a batch waits for no stranger: what could not be locked is
-- left out with all that it wanted. `verdicts` has one word per advance, in the order given:
--   go        written now (all of them, if `verdicts` is null)
--   done      written by an earlier send with the same keys, and still ours, or closed by it
--   parked    written by an earlier send, and put away
--   left_out  somebody else holds a lock that it needs
--   lost      not ours any more, or another row stands at its position
--   taken     a birth whose id names another run
-- `parked` lists the runs put away now. One that has unread messages is not put away.
--
-- With `patient` (one advance, on a connection with lock_timeout below deadlock_timeout) it
-- queues for the locks instead: for turns that keep being left out.
create or replace function durable.commit(
    by_worker uuid,
    runs bigint[], claims bigint[],
    firsts bigint[], keys bytea[],      -- position and key of each advance's first row, or null;
                                        -- of notes alone: where the journal must end, and null
    row_run bigint[], row_position bigint[], row_op bigint[], row_input bytea[],
    row_result bytea[], row_failure bytea[], row_digest bytea[], row_seq bigint[],
    row_key bytea[],
    row_shape bigint[],                 -- which of these, from 1: most rows share a few
    shape_kind text[], shape_name text[], shape_at timestamptz[], shape_site text[],
    patient boolean default false,
    birth_run bigint[] default null, birth_id text[] default null,
    birth_explicit boolean[] default null, birth_workflow text[] default null,
    birth_queue text[] default null, birth_priority bigint[] default null,
    birth_seed bytea[] default null, birth_versions text[] default null,
    birth_input bytea[] default null, birth_digest bytea[] default null,
    close_run bigint[] default null, close_status text[] default null,
    close_result bytea[] default null, close_failure bytea[] default null,
    close_failed_at bigint[] default null, close_next_op bigint[] default null,
    park_run bigint[] default null, park_due timestamptz[] default null,
    park_seen bigint[] default null, park_for text[] default null, park_at text[] default null,
    delivery_run bigint[] default null, delivery_to bigint[] default null,
    delivery_kind text[] default null, delivery_name text[] default null,
    delivery_key text[] default null, delivery_payload bytea[] default null,
    delivery_op bigint[] default null,
    note_run bigint[] default null, note_op bigint[] default null, note_name text[] default null,
    note_digest bytea[] default null, note_attempt bigint[] default null,
    note_since timestamptz[] default null, note_began timestamptz[] default null,
    note_failure bytea[] default null, note_next timestamptz[] default null,
    note_details bytea[] default null,
    ended_run bigint[] default null, ended_op bigint[] default null,
    out verdicts text[], out parked bigint[]
)
language plpgsql
-- Plans are made once, and never for the small tables of a young installation.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
    moment timestamptz := durable.now();
    wanted bigint[];            -- rows to lock strongly
    held bigint[];
    kept bigint[];              -- rows locked
    hung bigint[] := '{}';      -- births not even tried
    blocked bigint[] := '{}';   -- runs whose turn is left out
    senders bigint[];
    fitting bigint;             -- advances that are ours and whose position is free
    go bigint[];
    all_go boolean;
begin
    perform from durable.worker w where w.worker = by_worker and w.state = 'live' for key share;
    if not found then
        raise exception 'worker % is not alive any more', by_worker using errcode = 'DU001';
    end if;

    if patient then
        perform pg_advisory_xact_lock(durable.id_key(b.id))
        from (select unnest(birth_id) as id, unnest(birth_explicit) as explicit order by 1) b
        where b.explicit;
        perform from durable.run r
        where r.run = any(close_run || park_run || delivery_to)
        order by r.run for no key update;
        perform from durable.run r where r.run = any(runs) order by r.run for key share;
    end if;

    if birth_run is not null then
        select coalesce(array_agg(b.run), '{}') into hung
        from unnest(birth_run, birth_id, birth_explicit) b(run, id, explicit)
        where b.explicit and not pg_try_advisory_xact_lock(durable.id_key(b.id));
    end if;

    wanted := close_run || park_run || delivery_to;
    if wanted is not null then
        select coalesce(array_agg(l.run), '{}') into held
        from (
            select r.run from durable.run r
            where r.run in (select unnest(wanted))
            order by r.run for no key update skip locked
        ) l;
        if cardinality(held) < cardinality(wanted) then
            select coalesce(array_agg(w.run), '{}') into blocked
            from unnest(close_run || park_run) w(run) where w.run <> all(held);
        end if;
    end if;

    if delivery_to is not null then
        -- A target that is there and could not be locked, or whose birth hangs, takes its
        -- senders along.
        select hung || coalesce(array_agg(d.run), '{}') into hung
        from unnest(delivery_run, delivery_to) d(run, target)
        left join durable.run r on r.run = d.target
        where d.target <> all(held) and (r.run is not null or d.target = any(hung));
        -- A closed target is answered for by a message to the sender, whose row that updates.
        select array_agg(distinct d.run) into senders
        from unnest(delivery_run, delivery_to) d(run, target)
        left join durable.run r on r.run = d.target
        where (r.run is null or r.closed_at is not null) and d.run <> all(held || hung);
        if senders is not null then
            select held || coalesce(array_agg(l.run), '{}') into held
            from (
                select r.run from durable.run r where r.run = any(senders)
                order by r.run for no key update skip locked
            ) l;
            select hung || coalesce(array_agg(s.run), '{}') into hung
            from unnest(senders) s(run)
            where s.run <> all(held) and exists (select from durable.run r where r.run = s.run);
        end if;
        blocked := blocked || hung;
    end if;

    if birth_run is not null then
        with born as (
            insert into durable.run (
                run, id, workflow, queue, priority, status, worker, claim, seed, versions,
                created_at, started_at)
            select b.run, b.id, b.workflow, b.queue, b.priority, 'running', by_worker, 1, b.seed,
                b.versions, moment, moment
            from unnest(birth_run, birth_id, birth_workflow, birth_queue, birth_priority,
                birth_seed, birth_versions) b(run, id, workflow, queue, priority, seed, versions)
            where b.run <> all(hung)
            order by b.id
            on conflict do nothing
            returning run
        )
        insert into durable.input (run, args, digest)
        select b.run, b.args, b.digest
        from unnest(birth_run, birth_input, birth_digest) b(run, args, digest)
        join born on born.run = b.run;
        -- Nobody else can see or lock these rows.
        if blocked is not null then
            select coalesce(array_agg(b.run), '{}') into blocked
            from unnest(blocked) b(run) where b.run <> all(birth_run) or b.run = any(hung);
        end if;
    end if;

    -- The usual case: all are ours, and each journal ends where its turn goes on. The lock makes
    -- Postgres read the run's row again; a journal row that came after this snapshot collides
    -- with ours below (23505), and the caller repeats.
    select coalesce(array_agg(l.run), '{}'), count(*) filter (where l.fits) into kept, fitting
    from (
        select r.run, a.first is null or a.first - 1 = (
            select coalesce(max(j.position), -1) from durable.journal j
            where j.run = a.run and j.position >= a.first - 1) as fits
        from unnest(runs, claims, firsts) a(run, claim, first)
        join durable.run r on r.run = a.run
        where r.worker = by_worker and r.claim = a.claim
        order by r.run for key share of r skip locked
    ) l;
    all_go := fitting = cardinality(runs) and cardinality(blocked) = 0;
    if not all_go then
        select blocked || coalesce(array_agg(a.run), '{}') into blocked
        from unnest(runs) a(run) where a.run <> all(kept);
        -- What is locked cannot change; this snapshot is younger than the locks.
        select array_agg(c.verdict order by c.n), array_agg(c.run) filter (where c.verdict = 'go')
        into verdicts, go
        from (
            select a.n, a.run, case
                when there.key = a.key then case
                    when r.worker = by_worker and r.claim = a.claim then 'done'
                    when a.run = any(close_run) then 'done'
                    when a.run = any(park_run) then 'parked'
                    else 'lost' end
                when r.run is null then case
                    when a.run = any(hung) then 'left_out'
                    when a.run = any(birth_run) then 'taken'
                    else 'lost' end
                when r.worker = by_worker and r.claim = a.claim then case
                    when there.run is not null then 'lost'
                    when a.first > 0 and before.run is null then 'lost'
                    when a.run = any(blocked) then 'left_out'
                    else 'go' end
                -- An empty advance that was sent before and has put the run away.
                when a.first is null and r.worker is null and r.claim = a.claim
                    and r.status = 'waiting' then 'parked'
                else 'lost' end as verdict
            from unnest(runs, claims, firsts, keys) with ordinality a(run, claim, first, key, n)
            left join durable.run r on r.run = a.run
            left join durable.journal before on before.run = a.run and before.position = a.first - 1
            left join durable.journal there on there.run = a.run and there.position = a.first
        ) c;
    end if;

    -- Notes of attempts come before the journal, their removal after it: one that arrives late
    -- finds the journal longer than its sender knew, and is lost.
    if note_run is not null then
        insert into durable.attempt as known (
            run, op, name, digest, attempt, since, began_at, failure, next_at, details, worker)
        select n.run, n.op, n.name, n.digest, n.attempt, n.since, n.began_at, n.failure, n.next_at,
            n.details, by_worker
        from unnest(note_run, note_op, note_name, note_digest, note_attempt, note_since, note_began,
            note_failure, note_next, note_details)
            n(run, op, name, digest, attempt, since, began_at, failure, next_at, details)
        where all_go or n.run = any(go)
        order by n.run, n.op
        on conflict (run, op) do update
        set name = excluded.name, digest = excluded.digest, attempt = excluded.attempt,
            since = excluded.since, began_at = excluded.began_at, failure = excluded.failure,
            next_at = excluded.next_at, details = excluded.details, worker = excluded.worker;
    end if;

    insert into durable.journal (
        run, position, op, kind, name, input, result, failure, at, site, digest, seq, key)
    select j.run, j.position, j.op, shape_kind[j.shape], shape_name[j.shape], j.input, j.result,
        j.failure, shape_at[j.shape], shape_site[j.shape], j.digest, j.seq, j.key
    from unnest(row_run, row_position, row_op, row_input, row_result, row_failure, row_digest,
        row_seq, row_key, row_shape)
        j(run, position, op, input, result, failure, digest, seq, key, shape)
    where all_go or j.run = any(go);

    if ended_run is not null then
        delete from durable.attempt known
        using unnest(ended_run, ended_op) e(run, op)
        where known.run = e.run and known.op = e.op and (all_go or e.run = any(go));
    end if;

    if delivery_to is not null then
        with sent as (
            select d.n, r.run is not null and r.closed_at is null as open, d.run as sender,
                d.target, d.kind, d.name, d.key, d.payload, d.op
            from unnest(delivery_run, delivery_to, delivery_kind, delivery_name, delivery_key,
                delivery_payload, delivery_op)
                with ordinality d(run, target, kind, name, key, payload, op, n)
            left join durable.run r on r.run = d.target
            where all_go or d.run = any(go)
        ), addressed as (
            select s.n, s.target, s.kind, s.name, s.key, null::bigint as op, s.payload
            from sent s where s.open
            union all
            select s.n, s.sender, 'refused', s.kind, 'refused/' || s.target || '/' || s.key, s.op,
                null
            from sent s where not s.open
        ), fresh as (
            select distinct on (f.target, f.key) f.n, f.target, f.kind, f.name, f.key, f.op, f.payload
            from addressed f
            where not exists (
                select from durable.inbox i where i.run = f.target and i.key = f.key)
            order by f.target, f.key, f.n
        ), counted as (
            update durable.run r
            set last_seq = r.last_seq + f.count,
                due_at = case when r.status in ('pending', 'running', 'waiting', 'unserved')
                    then least(r.due_at, moment) else r.due_at end
            from (select g.target, count(*) as count from fresh g group by g.target) f
            where r.run = f.target
            returning r.run, r.last_seq - f.count as base
        )
        insert into durable.inbox (run, seq, kind, name, key, op, payload, at)
        select f.target, c.base + row_number() over (partition by f.target order by f.n),
            f.kind, f.name, f.key, f.op, f.payload, moment
        from fresh f join counted c on c.run = f.target;
    end if;

    if close_run is not null then
        update durable.run r
        set status = c.status, closed_at = moment, worker = null, due_at = null,
            waits_for = null, waits_at = null
        from unnest(close_run, close_status) c(run, status)
        where r.run = c.run and (all_go or c.run = any(go));
        insert into durable.result (run, result, failure, failed_at, next_op)
        select c.run, c.result, c.failure, c.failed_at, c.next_op
        from unnest(close_run, close_result, close_failure, close_failed_at, close_next_op)
            c(run, result, failure, failed_at, next_op)
        where all_go or c.run = any(go);
    end if;

    if park_run is not null then
        with away as (
            update durable.run r
            set status = 'waiting', worker = null, due_at = p.due_at, read_seq = p.seen,
                waits_for = p.waits_for, waits_at = p.waits_at
            from unnest(park_run, park_due, park_seen, park_for, park_at)
                p(run, due_at, seen, waits_for, waits_at)
            where r.run = p.run and r.last_seq = p.seen and (all_go or p.run = any(go))
            returning r.run
        )
        select array_agg(away.run) into parked from away;
    end if;

end
$$;
