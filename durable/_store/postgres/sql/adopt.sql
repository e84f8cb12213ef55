-- Bring in a run that was recorded in another database, under a key of this one: its journal, its
-- unread messages, notes of attempts that have begun. A closed run stays as it ended; an open one
-- stands as it is told to, 'pending' or 'paused'. So a fork comes into being, too. `key` is null, and
-- `taken` how the other stands, if a run here has the id.
--
-- `new_key`, which nobody else has, tells a call that is repeated after a lost answer.
--
-- Texts of bytes are base64. `voids`: which event each `voided` one takes back.
create or replace function durable.adopt(
    recorded json, events json, voided bigint[], voids bigint[], notes json, unread json,
    by_parent bigint, new_key bigint, out key bigint, out taken text
)
language plpgsql as $$
#variable_conflict use_column
declare
    found_id text := recorded ->> 'id';
begin
    perform pg_advisory_xact_lock(durable.id_key(found_id));
    select r.run into key from durable.run r where r.run = new_key;
    if found then
        return;
    end if;
    select r.status into taken from durable.run r where r.id = found_id and r.current;
    if found then
        return;
    end if;
    key := new_key;
    insert into durable.run (
        run, id, workflow, queue, priority, status, due_at, deadline, last_seq, read_seq, seed,
        versions, report, paused_at, created_at, started_at, closed_at, parent_run, parent_op,
        on_parent_close, depth, origins)
    select adopt.key, n.id, n.workflow, n.queue, n.priority, n.status,
        case when n.closed_at is null then coalesce(n.due_at, durable.now()) end, n.deadline,
        greatest(
            (select max(e.seq) from json_to_recordset(events) e(seq bigint)),
            (select max(u.seq) from json_to_recordset(unread) u(seq bigint)), 0),
        coalesce((select max(e.seq) from json_to_recordset(events) e(seq bigint)), 0),
        decode(n.seed, 'base64'), n.versions, n.report,
        case when n.status = 'paused' then durable.now() end,
        coalesce(n.created_at, durable.now()), n.started_at, n.closed_at, by_parent,
        case when by_parent is not null then n.parent_op end,
        case when by_parent is not null then n.on_parent_close end, n.depth, n.origins
    from json_to_record(recorded) n(
        id text, workflow text, queue text, priority bigint, status text, due_at timestamptz,
        deadline timestamptz, seed text, versions text, report text, created_at timestamptz,
        started_at timestamptz, closed_at timestamptz, parent_op bigint, on_parent_close text,
        depth bigint, origins text);
    insert into durable.input (run, args, digest)
    select adopt.key, decode(n.input, 'base64'), decode(n.input_digest, 'base64')
    from json_to_record(recorded) n(input text, input_digest text);
    insert into durable.result (run, result, failure, failed_at, next_op, reason)
    select adopt.key, decode(n.result, 'base64'), decode(n.failure, 'base64'), n.failed_at,
        coalesce(n.next_op, 1), n.reason
    from json_to_record(recorded) n(
        closed_at timestamptz, result text, failure text, failed_at bigint, next_op bigint,
        reason text)
    where n.closed_at is not null;
    insert into durable.journal (
        run, position, op, kind, name, input, result, failure, at, site, digest, seq, effects, key,
        patches, voids)
    select adopt.key, e.position, e.op, e.kind, e.name, decode(e.input, 'base64'),
        decode(e.result, 'base64'), decode(e.failure, 'base64'), e.at, e.site,
        decode(e.digest, 'base64'), e.seq, decode(e.effects, 'base64'), decode(e.key, 'base64'),
        e.patches, v.voids
    from json_to_recordset(events) e(
        position bigint, op bigint, kind text, name text, input text, result text, failure text,
        at timestamptz, site text, digest text, seq bigint, effects text, key text, patches text[])
    left join unnest(adopt.voided, adopt.voids) v(voided, voids) on v.voided = e.position;
    insert into durable.attempt (
        run, op, name, digest, attempt, since, began_at, failure, next_at, details, worker, nth)
    select adopt.key, a.op, a.name, decode(a.digest, 'base64'), a.attempt, a.since, a.began_at,
        decode(a.failure, 'base64'), a.next_at, decode(a.details, 'base64'),
        '00000000-0000-0000-0000-000000000000', 0
    from json_to_recordset(notes) a(
        op bigint, name text, digest text, attempt bigint, since timestamptz, began_at timestamptz,
        failure text, next_at timestamptz, details text);
    -- The keys of their senders stay behind: nobody sends them again here.
    insert into durable.inbox (run, seq, kind, name, key, op, payload, at)
    select adopt.key, u.seq, u.kind, u.name, 'imported:' || u.seq, u.op,
        decode(u.payload, 'base64'), u.at
    from json_to_recordset(unread) u(
        seq bigint, kind text, name text, op bigint, payload text, at timestamptz);
end
$$;
