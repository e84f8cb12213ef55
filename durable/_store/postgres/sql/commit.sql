-- The turns of many runs, written in one transaction.
--
-- Ordered statements, each with a snapshot of its own: as one statement of CTEs this loses
-- messages (two updates of one row, conditions read in an old snapshot) and deadlocks.
--
-- A turn is all or nothing, and a batch waits for no stranger: what could not be locked is
-- left out with all that it wanted. The answer has one word per advance, in the order given; it is
-- null if all of them go:
--   go        written now
--   away      written now, and put away, for it has no unread messages
--   done      written by an earlier send with the same keys, and still ours, or closed by it
--   parked    written by an earlier send, and put away
--   left_out  somebody else holds a lock that it needs
--   lost      not ours any more, or another row stands at its position
--   taken     a birth whose id names another run
--
-- With `patient` (one advance, on a connection with lock_timeout below deadlock_timeout) it
-- queues for the locks instead: for turns that keep being left out.
-- What to write comes as JSON, in the words of `protocol.py`, bytes in base64: one value of 500
-- elements costs a client a third of what 60 arrays do, and this server a little more.
create or replace function durable.commit(
    by_worker uuid,
    advances json,      -- run, claim, and the key of the row that it follows, the journal's last:
                        -- null if that is empty
    journal_rows json,
    effects json default null,      -- births, children, closes, heirs, parks, deliveries, publishes,
                                    -- replies, notes, ended; of births, closes and parks the runs
                                    -- besides, of births also the ids that they claim, or nulls
    patient boolean default false
) returns text[]
language plpgsql
-- Plans are made once, and never for the small tables of a young installation.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
    moment timestamptz := durable.now();
    verdicts text[];
    births json; children json; closes json; heirs json; parks json; deliveries json;
    publishes json; replies json; notes json; ended json;
    birth_run bigint[]; birth_id text[];
    close_run bigint[]; park_run bigint[];
    close_child bigint[]; close_parent bigint[];    -- closes of runs that were begun by others
    family bigint[];            -- closes that concern others: parents, or children
    refused_run bigint[]; refused_op bigint[]; refused_why text[];  -- children that cannot be
    delivery_run bigint[]; delivery_to bigint[];
    wanted bigint[];            -- rows to lock strongly
    held bigint[];              -- those that are
    hung bigint[] := '{}';      -- births not even tried
    blocked bigint[] := '{}';   -- runs whose turn is left out
    senders bigint[];
    go bigint[];
    all_go boolean;
    parked bigint[];            -- put away now
begin
    perform from durable.worker w where w.worker = by_worker and w.state = 'live' for key share;
    if not found then
        raise exception 'worker % is not alive any more', by_worker using errcode = 'DU001';
    end if;

    -- What a turn wants beside its rows. Rows alone need none of it: a step of a lone run waits for
    -- each statement in here.
    if effects is not null then
        -- Cut up once: each look into the whole reads all of it.
        select e.births, e.children, e.closes, e.heirs, e.parks, e.deliveries, e.publishes,
            e.replies, e.notes, e.ended, e.birth_run, e.birth_id, e.close_run, e.park_run
        into births, children, closes, heirs, parks, deliveries, publishes, replies, notes, ended,
            birth_run, birth_id, close_run, park_run
        from json_to_record(effects) e(
            births json, children json, closes json, heirs json, parks json, deliveries json,
            publishes json, replies json, notes json, ended json, birth_run bigint[],
            birth_id text[], close_run bigint[], park_run bigint[]);
        if deliveries is not null then
            select a.senders, a.targets into delivery_run, delivery_to
            from durable.addressed(deliveries) a;
        end if;
        if closes is not null then
            select array_agg(c.run) filter (where c.parent is not null),
                array_agg(c.parent) filter (where c.parent is not null),
                array_agg(c.run) filter (where c.parent is not null or c.has_children)
            into close_child, close_parent, family
            from json_to_recordset(closes) c(run bigint, parent bigint, has_children boolean);
        end if;
    end if;

    if patient then
        perform pg_advisory_xact_lock(durable.id_key(b.id))
        from (select unnest(birth_id) as id order by 1) b
        where b.id is not null;
        if children is not null then
            perform durable.lock_children(children, true);
            select array_agg(f.run) into refused_run from durable.refused_children(children) f;
        end if;
        perform from durable.run r
        where r.run = any(close_run || close_parent || park_run || delivery_to || refused_run)
        order by r.run for no key update;
        perform from durable.run r
        where r.run in (select a.run from json_to_recordset(advances) a(run bigint))
        order by r.run for key share;
    end if;

    if birth_run is not null then
        select coalesce(array_agg(b.run), '{}') into hung
        from unnest(birth_run, birth_id) b(run, id)
        where b.id is not null and not pg_try_advisory_xact_lock(durable.id_key(b.id));
    end if;

    if children is not null then
        hung := hung || durable.lock_children(children, false);
        select array_agg(f.run), array_agg(f.op), array_agg(f.why)
        into refused_run, refused_op, refused_why
        from durable.refused_children(children) f;
    end if;

    wanted := close_run || close_parent || park_run || delivery_to || refused_run;
    if wanted is not null then
        select coalesce(array_agg(l.run), '{}') into held
        from (
            select r.run from durable.run r
            where r.run in (select unnest(wanted))
            order by r.run for no key update skip locked
        ) l;
        if cardinality(held) < cardinality(wanted) then
            select coalesce(array_agg(w.run), '{}') into blocked
            from unnest(close_run || park_run || refused_run) w(run) where w.run <> all(held);
            -- Who cannot tell its parent has not ended yet.
            select blocked || coalesce(array_agg(c.run), '{}') into blocked
            from unnest(close_child, close_parent) c(run, parent)
            join durable.run p on p.run = c.parent
            where p.run <> all(held);
        end if;
    end if;
    blocked := blocked || hung;

    if delivery_to is not null then
        -- A target that is there and could not be locked, or whose birth hangs, takes its
        -- senders along.
        select hung || coalesce(array_agg(d.run), '{}') into hung
        from unnest(delivery_run, delivery_to) d(run, target)
        left join durable.run r on r.run = d.target
        where d.target <> all(held) and (r.run is not null or d.target = any(hung))
            or r.status = 'continued';  -- since it was looked up: the next try finds its heir
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
        with told as materialized (
            select b.run, b.id, b.workflow, b.queue, b.priority, decode(b.seed, 'base64') as seed,
                b.versions, b.deadline, decode(b.input, 'base64') as args,
                decode(b.input_digest, 'base64') as digest
            from json_to_recordset(births) b(
                run bigint, id text, workflow text, queue text, priority bigint, seed text,
                versions text, deadline timestamptz, input text, input_digest text)
            where b.run <> all(hung)
        ), born as (
            insert into durable.run (
                run, id, workflow, queue, priority, status, worker, claim, seed, versions,
                deadline, created_at, started_at)
            select t.run, t.id, t.workflow, t.queue, t.priority, 'running', by_worker, 1, t.seed,
                t.versions, t.deadline, moment, moment
            from told t
            order by t.id
            on conflict do nothing
            returning run
        )
        insert into durable.input (run, args, digest)
        select t.run, t.args, t.digest from told t join born on born.run = t.run;
        -- Nobody else can see or lock these rows.
        if blocked is not null then
            select coalesce(array_agg(b.run), '{}') into blocked
            from unnest(blocked) b(run) where b.run <> all(birth_run) or b.run = any(hung);
        end if;
    end if;

    -- The usual case: all are ours, and each journal ends with the row that its turn rests on: the
    -- very row, by its key, since claims and positions repeat after a failover that lost some. The
    -- lock makes Postgres read the run's row again; a journal row that came after this snapshot
    -- collides with ours below (23505), and the caller repeats. (`is not distinct`: no index of
    -- owners can be used for that. It would do to find a run by, among all that this worker has.)
    all_go := cardinality(blocked) = 0 and not exists (
        select from json_to_recordset(advances) a(run bigint, claim bigint, after text)
        where (
            select decode(a.after, 'base64') is not distinct from (
                select j.key from durable.journal j where j.run = a.run
                order by j.position desc limit 1)
            from durable.run r
            where r.run = a.run and r.worker is not distinct from by_worker and r.claim = a.claim
            for key share skip locked) is not true);
    if not all_go then
        select blocked || coalesce(array_agg(a.run), '{}') into blocked
        from json_to_recordset(advances) a(run bigint, claim bigint)
        left join lateral (
            select r.run from durable.run r
            where r.run = a.run and r.worker is not distinct from by_worker and r.claim = a.claim
            for key share skip locked
        ) l on true
        where l.run is null;
        -- What is locked cannot change; this snapshot is younger than the locks.
        select array_agg(c.verdict order by c.n), array_agg(c.run) filter (where c.verdict = 'go')
        into verdicts, go
        from (
            select a.n, a.run, case
                when there.key = first.key then case
                    when r.worker = by_worker and r.claim = a.claim then 'done'
                    when a.run = any(close_run) then 'done'
                    when a.run = any(park_run) then 'parked'
                    else 'lost' end
                when r.run is null then case
                    when a.run = any(hung) then 'left_out'
                    when a.run = any(birth_run) then 'taken'
                    else 'lost' end
                when r.worker = by_worker and r.claim = a.claim then case
                    when latest.key is distinct from decode(a.after, 'base64') then 'lost'
                    when a.run = any(blocked) then 'left_out'
                    else 'go' end
                -- An empty advance that was sent before and has put the run away.
                when first.run is null and r.worker is null and r.claim = a.claim
                    and r.status in ('waiting', 'paused') then 'parked'
                else 'lost' end as verdict
            from rows from (json_to_recordset(advances) as (run bigint, claim bigint, after text))
                with ordinality a(run, claim, after, n)
            left join (
                select distinct on (j.run) j.run, j.position, decode(j.key, 'base64') as key
                from json_to_recordset(journal_rows) j(run bigint, position bigint, key text)
                order by j.run, j.position
            ) first on first.run = a.run
            -- (Limits: one by one, or a plan of a young installation reads whole tables.)
            left join lateral (
                select r.run, r.worker, r.claim, r.status from durable.run r
                where r.run = a.run limit 1
            ) r on true
            left join lateral (
                select j.key from durable.journal j
                where j.run = a.run and j.position = first.position limit 1
            ) there on true
            left join lateral (
                select j.key from durable.journal j where j.run = a.run
                order by j.position desc limit 1
            ) latest on true
        ) c;
    end if;

    -- Notes of attempts come before the journal, their removal after it: one that arrives late
    -- finds the journal longer than its sender knew, and is lost.
    if notes is not null then
        insert into durable.attempt as known (
            run, op, name, digest, attempt, since, began_at, failure, next_at, details, worker,
            nth)
        select n.run, n.op, n.name, decode(n.digest, 'base64'), n.attempt, n.since, n.began_at,
            decode(n.failure, 'base64'), n.next_at, decode(n.details, 'base64'), by_worker,
            n.nth
        from json_to_recordset(notes) n(
            run bigint, op bigint, name text, digest text, attempt bigint, since timestamptz,
            began_at timestamptz, failure text, next_at timestamptz, details text, nth bigint)
        where all_go or n.run = any(go)
        order by n.run, n.op
        on conflict (run, op) do update
        set name = excluded.name, digest = excluded.digest, attempt = excluded.attempt,
            since = excluded.since, began_at = excluded.began_at, failure = excluded.failure,
            next_at = excluded.next_at, details = excluded.details, worker = excluded.worker,
            nth = excluded.nth
        -- A commit without rows moves no journal: one that hung in a session that outlived its
        -- client may come after newer notes of the same claim. (An older claim is lost.)
        where known.worker <> excluded.worker or known.nth < excluded.nth;
    end if;

    insert into durable.journal (
        run, position, op, kind, name, input, result, failure, at, site, digest, seq, effects, key,
        patches, voids)
    select j.run, j.position, j.op, j.kind, j.name, decode(j.input, 'base64'),
        decode(j.result, 'base64'), decode(j.failure, 'base64'), j.at, j.site,
        decode(j.digest, 'base64'), j.seq, decode(j.effects, 'base64'), decode(j.key, 'base64'),
        j.patches, case when j.kind = 'voided' then j.position - 1 end
    from json_to_recordset(journal_rows) j(
        run bigint, position bigint, op bigint, kind text, name text, input text, result text,
        failure text, at timestamptz, site text, digest text, seq bigint, effects text, key text,
        patches text[])
    where all_go or j.run = any(go);

    if ended is not null then
        delete from durable.attempt known
        using json_to_recordset(ended) e(run bigint, op bigint)
        where known.run = e.run and known.op = e.op and (all_go or e.run = any(go));
    end if;

    if replies is not null then
        perform durable.reply(replies, case when not all_go then coalesce(go, '{}') end);
    end if;

    if publishes is not null then
        perform durable.publish(publishes, case when not all_go then coalesce(go, '{}') end);
    end if;

    if children is not null then
        perform durable.bear_children(children, case when not all_go then coalesce(go, '{}') end,
            refused_run, refused_op, refused_why);
        if delivery_to is not null then  -- some of them may have been meant
            select a.targets into delivery_to from durable.addressed(deliveries) a;
        end if;
    end if;

    if delivery_to is not null then
        with sent as (
            select d.n, r.run is not null and r.closed_at is null as open, d.run as sender,
                r.run as target, d.kind, d.name, d.key, decode(d.payload, 'base64') as payload, d.op,
                coalesce(d.id, d.target::text) as named
            from rows from (json_to_recordset(deliveries) as (
                run bigint, target bigint, kind text, name text, key text, payload text, op bigint,
                "to" text))
                with ordinality d(run, target, kind, name, key, payload, op, id, n)
            left join durable.run r on r.run = delivery_to[d.n]
            where all_go or d.run = any(go)
        ), addressed as (
            select s.n, s.target, s.kind, s.name, s.key, null::bigint as op, s.payload
            from sent s where s.open
            union all
            select s.n, s.sender, 'refused', case when s.target is null then 'absent' else 'closed' end,
                'refused/' || s.named || '/' || s.key, s.op, null
            from sent s where not s.open and s.kind <> 'cancel'  -- which is done, then
        ), fresh as (
            select distinct on (f.target, f.key) f.n, f.target, f.kind, f.name, f.key, f.op, f.payload
            from addressed f
            where not exists (
                select from durable.generations(f.target) l
                join durable.inbox i on i.run = l.run and i.key = f.key)
            order by f.target, f.key, f.n
        ), counted as (
            update durable.run r
            set last_seq = r.last_seq + f.count,
                due_at = case when r.status in ('pending', 'running', 'waiting', 'unserved')
                        and (r.started_at is not null or f.cancels)
                    then least(r.due_at, moment) else r.due_at end
            from (
                select g.target, count(*) as count, bool_or(g.kind = 'cancel') as cancels
                from fresh g group by g.target
            ) f
            where r.run = f.target
            returning r.run, r.last_seq - f.count as base
        )
        insert into durable.inbox (run, seq, kind, name, key, op, payload, at)
        select f.target, c.base + row_number() over (partition by f.target order by f.n),
            f.kind, f.name, f.key, f.op, f.payload, moment
        from fresh f join counted c on c.run = f.target;
    end if;

    if close_run is not null then
        with told as materialized (
            select c.run, c.status, decode(c.result, 'base64') as result,
                decode(c.failure, 'base64') as failure, c.failed_at, c.next_op, c.reason
            from json_to_recordset(closes) c(
                run bigint, status text, result text, failure text, failed_at bigint,
                next_op bigint, reason text)
            where all_go or c.run = any(go)
        ), closed as (
            update durable.run r
            set status = t.status, closed_at = moment, worker = null, due_at = null,
                waits_for = null, waits_at = null
            from told t
            where r.run = t.run and r.run = any(close_run)  -- or the plan may read the whole table
        )
        insert into durable.result (run, result, failure, failed_at, next_op, reason)
        select t.run, t.result, t.failure, t.failed_at, t.next_op, t.reason from told t;
        if heirs is not null then
            perform durable.continue_runs(
                heirs, case when not all_go then coalesce(go, '{}') end);
        end if;
        if family is not null then
            perform durable.closed(array(
                select f.run from unnest(family) f(run) where all_go or f.run = any(go)));
        end if;
    end if;

    if park_run is not null then
        with away as (
            update durable.run r
            set status = case when r.paused_at is null then 'waiting' else 'paused' end,
                worker = null, due_at = p.due_at, read_seq = p.seen,
                waits_for = p.waits_for, waits_at = p.waits_at
            from json_to_recordset(parks) p(
                run bigint, due_at timestamptz, seen bigint, waits_for text, waits_at text)
            where r.run = p.run and r.run = any(park_run)
                and r.last_seq = p.seen and (all_go or p.run = any(go))
            returning r.run
        )
        select array_agg(away.run) into parked from away;
        if parked is not null then
            select array_agg(case
                when a.run = any(parked) then 'away' else coalesce(verdicts[a.n], 'go') end
                order by a.n)
            into verdicts
            from rows from (json_to_recordset(advances) as (run bigint)) with ordinality a(run, n);
        end if;
    end if;
    return verdicts;
end
$$;
