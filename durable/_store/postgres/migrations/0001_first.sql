-- Durable: the whole schema.
--
-- A *run* is one execution of a workflow. Its *journal* holds what has happened to it, event
-- by event, without gaps; a worker that owns the run feeds the journal to fresh code and so
-- has the run in memory again. The *inbox* holds what others have sent it. Whoever reads
-- `run` and `journal` knows everything; the rest is payloads, liveness and settings.
--
-- Who may write what:
--   * Journal rows are only ever inserted, by `commit` (the owner's turns) and by those who
--     close or reopen a run from outside, each at the next position. The key decides races.
--   * A run belongs to `run.worker`. Every write of an owner first locks the owner's row in
--     `worker` (`for key share`, state live): that is the fence. Who takes a dead worker's
--     runs first locks that row `for update`, and so waits for what is in flight.
--   * Lock strengths on `run`: an owner's step `for key share`; messages, parks and closes
--     `for no key update`; claim, hand-back, terminate, replace and retry `for update`. So a
--     message never waits for a step, nor a step for a message.
--   * Nothing on the path of a step updates a run row.
--   * Every start with a caller's id first takes an advisory lock on the id (`id_key`).
--
-- Payloads are opaque bytes (msgpack); `readable` shows them as jsonb. The name of the
-- schema, durable, is replaced on loading by the configured one.

create schema durable;

comment on schema durable is 'Durable execution: runs, their journals and their inboxes';

-- The one clock of runs. Stable, never volatile: a volatile one would keep Postgres from using
-- the indexes on times. A test may replace it; heartbeats go by statement_timestamp().
create function durable.now() returns timestamptz
    language sql stable parallel safe
    return statement_timestamp();

-- The advisory lock that a worker holds as long as its heartbeat connection lives.
create function durable.worker_key(worker uuid) returns bigint
    language sql immutable parallel safe
    return hashtextextended(worker::text, 0);

-- Keys of runs. Workers take blocks in advance, so gaps are normal and order means little.
create sequence durable.run_key as bigint;

create table durable.run (
    run             bigint not null primary key,
    id              text collate "C" not null   -- the caller's name for it; "C": lists by prefix
                    check (char_length(id) between 1 and 255),
    current         boolean not null default true, -- the run that the id names now
    previous        bigint,                     -- the run that the id named before
    workflow        text not null,              -- stable name of the function
    queue           text not null,              -- whose workers may take it
    priority        bigint not null default 0   -- larger goes first; claims try each value
                    check (priority between -2 and 2),
    status          text not null
                    check (status in (
                        'pending',      -- due, or delayed: waits for a worker
                        'running',      -- a worker owns it
                        'waiting',      -- parked until a timer or a message is due
                        'stuck',        -- no code here can continue it
                        'unserved',     -- no live worker knows its workflow
                        'paused',       -- somebody asked it to hold
                        'completed',    -- the function returned
                        'failed',       -- the function raised
                        'cancelled',    -- was asked to stop, and did
                        'terminated',   -- was not asked
                        'continued')),  -- went on as a new run, with a fresh journal
    due_at          timestamptz,                -- when somebody must look: its owner, or a claim
    deadline        timestamptz,                -- when it is asked to cancel; null once it was
    worker          uuid,                       -- the owner
    claim           bigint not null default 0,  -- counts ownerships: with worker, the right to write
    last_seq        bigint not null default 0,  -- of the newest message in its inbox; 0 if none
    read_seq        bigint not null default 0,  -- what the last park had seen: a hint for readers
    seed            bytea not null              -- all chance in the run, and its idempotency keys
                    check (octet_length(seed) = 16),
    versions        text,                       -- what replay depends on; set by the first owner
    waits_for       text,                       -- in words, as of the last park or hand-back
    waits_at        text,                       -- file:line that waits
    length_at_claim bigint not null default 0,  -- of the journal, when it was last claimed
    crashes         bigint not null default 0,  -- owners that died with it in a row, while it did
                                                -- not move; from 2 on it is doubtful
    on_trial        bigint not null default 0,  -- doubtful: runs that its owner tries with it; or 0
    report          text,                       -- why it is stuck
    build           text,                       -- the one that may run it; null: any
    unfit           text[],                     -- builds that could not continue it, and live
    stuck_at        timestamptz,
    paused_at       timestamptz,                -- asked to hold: until a resume nobody claims it,
                                                -- and its owner, if it has one, hands it back
    created_at      timestamptz not null,
    started_at      timestamptz,                -- first claim
    closed_at       timestamptz,
    parent_run      bigint,                     -- the run that began it as its child,
    parent_op       bigint,                     -- and by which of its operations
    on_parent_close text                        -- what becomes of it when that one ends
                    check (on_parent_close in ('cancel', 'terminate', 'abandon')),
    depth           bigint not null default 0,  -- of parents above it
    origins         text,                       -- of a fork, or of a run of another database: whose its
                                                -- first turns were, as JSON: [[until, run, id], ...]
    constraint running_has_owner check ((status = 'running') = (worker is not null)),
    constraint closed_has_time check ((status in
        ('completed', 'failed', 'cancelled', 'terminated', 'continued')) = (closed_at is not null)),
    constraint closed_is_not_due check (closed_at is null or due_at is null),
    constraint stuck_has_report check (status <> 'stuck' or report is not null and due_at is null)
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- An id names one run at a time.
create unique index run_id on durable.run (id) where current;

-- Claims: the unowned that can be due, per queue and priority in order of their time.
create index run_due on durable.run (queue, priority, due_at)
    where worker is null and status in ('pending', 'waiting');

-- Doubtful runs, which are claimed one by one: few, if any.
create index run_doubtful on durable.run (due_at)
    where crashes >= 2 and worker is null and status in ('pending', 'waiting');

-- An owner's runs, and those among them with news (due_at); also what a dead owner leaves.
create index run_owner on durable.run (worker, due_at) where worker is not null;

-- Runs that wait for other code: few, and looked for whenever a worker comes.
create index run_set_aside on durable.run (status, workflow) where status in ('stuck', 'unserved');

-- Lists, the youngest first. A list of all workflows probes one after the other: cheaper than
-- an index more, and than walking past all the others to find those of one.
create index run_listed on durable.run (workflow, created_at, run);

-- Lists by status. What completed is the bulk of all runs, and in the way of no list; what runs is
-- found by its owner, and each run passes through both.
create index run_status on durable.run (status, created_at, run)
    where status not in ('completed', 'running');

-- Lists by the time of the end, and what is old enough to be deleted.
create index run_closed on durable.run (closed_at, run) where closed_at is not null;

-- A run's children: one for each of its operations, however often it is begun.
create unique index run_child on durable.run (parent_run, parent_op)
    where parent_run is not null and current;

-- Who is to be asked to cancel, and when.
create index run_deadline on durable.run (deadline)
    where deadline is not null and closed_at is null;

-- The advisory lock that stands for an id. Salted by the table, so that two schemas in one
-- database do not wait for each other.
create function durable.id_key(id text) returns bigint
    language sql stable parallel safe
    return hashtextextended(id, 'durable.run'::regclass::oid::bigint);

create table durable.input (
    run    bigint not null primary key,
    args   bytea not null,
    digest bytea not null   -- of a canonical form: tells whether a start repeats the same
);

-- How a closed run ended. Written once; a retry removes it.
create table durable.result (
    run       bigint not null primary key,
    result    bytea,
    failure   bytea,
    failed_at bigint,           -- position of the recorded failure that it failed with, if one
    next_op   bigint not null,  -- numbering goes on from here after a retry
    reason    text,             -- for those closed from outside: by what
    heir      bigint            -- of a continued run: the one that it goes on as
);

-- Closed runs with open children, which are still to be told. No more than are on their way.
create table durable.farewell (
    run    bigint not null primary key,
    length bigint not null      -- of its journal: one that was retried says farewell again
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- What an event is. A domain, since a check of the table is read out of the catalogs and compiled
-- anew by each statement that writes: this list took an eighth of a lone step's commit.
create domain durable.event_kind as text check (value in (
    'started', 'activity', 'transaction', 'timer', 'signal', 'cancel', 'update', 'child', 'promise',
    'task', 'refused', 'voided', 'terminated'));

-- The record: one row per event. Never updated; deleted only with its run. No foreign key and
-- no second index: both would cost every step.
create table durable.journal (
    run      bigint not null,
    position bigint not null check (position >= 0), -- 0, 1, 2 ... without gaps
    op       bigint,            -- the operation that the event answers; `voided`: the next free one
    kind     durable.event_kind not null,
    name     text,              -- of the activity, signal ...; `voided`: 'redo' if the voided
                                -- event's facts are to be fed again
    input    bytea,
    result   bytea,
    failure  bytea,
    at       timestamptz not null, -- the only time that workflow code sees
    site     text,              -- file:line that asked
    digest   bytea,             -- of what was asked, where no input tells: a timer's due time
    seq      bigint,            -- of the inbox message that the event is
    effects  bytea,             -- digest of what the turn of this event sent; null if nothing
    patches  text[],            -- that the turn asked for, as ~id if retired; null if none
    key      bytea not null     -- random: tells a repeated send from another writer
             check (octet_length(key) = 16),
    voids    bigint             -- `voided`: the position that is taken back
             check ((kind = 'voided') = (voids is not null)),
    primary key (run, position)
) with (autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05);

-- Messages to a run, in the order in which they were accepted. Read by cursor, never updated,
-- kept until the run is removed: so a repeated send is recognised for ever.
create table durable.inbox (
    run     bigint not null,
    seq     bigint not null check (seq > 0),
    kind    text not null,
    name    text,
    key     text not null,      -- the sender's: a message is accepted once
    op      bigint,             -- the receiver's operation that it answers
    payload bytea,
    at      timestamptz not null,
    primary key (run, seq),
    unique (run, key)           -- duplicates
);

-- Answers of updates, by the message that asked; the first one stands. Of an update that has none
-- the caller learns from `run`: it waits, or the run is over.
create table durable.answer (
    run     bigint not null,
    seq     bigint not null,    -- of the message in its inbox
    status  text not null check (status in ('completed', 'failed', 'rejected')),
    result  bytea,
    failure bytea,
    primary key (run, seq),     -- answered once
    check ((status = 'completed') = (failure is null))
);

-- Outcomes of `ctx.transaction`, written in the user's own transaction.
create table durable.outcome (
    run     bigint not null,
    op      bigint not null,
    name    text not null,
    digest  bytea,
    result  bytea,
    primary key (run, op)       -- the transaction happens once
);

-- Activities under way that are worth knowing of: longer than a second, retrying, or with
-- `record_start`. Written and removed by the owner's commits; it tells the next owner what has
-- begun. Rows change and vanish often: room in the page, and no index but the key.
create table durable.attempt (
    run      bigint not null,
    op       bigint not null,
    name     text not null,     -- of the activity
    digest   bytea not null,    -- of its input: what has begun must not become something else
    attempt  bigint not null check (attempt >= 0), -- under way, or the last one; 0: none yet
    since    timestamptz not null, -- when the first attempt began
    began_at timestamptz not null, -- when this one did
    failure  bytea,             -- of the attempt before the next
    next_at  timestamptz,       -- when the next one begins; null while one is under way
    details  bytea,             -- of its latest heartbeat
    worker   uuid not null,     -- that wrote this
    nth      bigint not null,   -- of its notes: a commit that hung must not replace a newer one
    primary key (run, op)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Live processes. The row is the fence. No index but the key, and room in the page: a beat
-- is a HOT update.
create table durable.worker (
    worker         uuid not null primary key,   -- random, new at every start
    name           text not null,               -- host:pid, for people
    state          text not null check (state in ('live', 'dead')),
    host           text not null,               -- boot id and pid namespace; '' if unknown
    pid            bigint not null,
    pid_started    bigint not null,             -- tells a reused pid
    workflows      text[] not null,             -- what it serves
    queues         text[] not null,
    build          text not null,               -- its version of the code
    lease_seconds  double precision not null,   -- how long it may be silent
    locks          boolean not null,            -- it holds worker_key; false behind a pooler
    backend_pids   int[] not null default '{}', -- its own sessions: a takeover may end them
    backend_starts timestamptz[] not null default '{}',
    started_at     timestamptz not null,
    beat_at        timestamptz not null
) with (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- What a run shows to others under a name: its last value alone. Written by the owner's commits;
-- a row is changed often, so there is room in the page, and no index but the key.
create table durable.state (
    run     bigint not null,
    name    text not null,
    version bigint not null,    -- counts its changes: tells who waits that there is a newer one
    value   bytea not null,
    at      timestamptz not null,
    primary key (run, name)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- What runs have published, value after value: by their code, or from inside an activity. Only
-- ever inserted, by the owner's commits; removed with the run.
create table durable.stream (
    run     bigint not null,
    name    text not null,
    seq     bigint not null,    -- the offset that readers know: it grows for as long as the id
                                -- is in use, whichever run has it
    op      bigint,             -- of the activity that published it; null: the workflow itself
    attempt bigint,             -- of that activity
    value   bytea,              -- null: a mark, which holds no value. With an op: a new attempt
                                -- begins, what earlier ones have published is void. Without:
                                -- where the run before it had come to
    at      timestamptz not null,
    key     bytea not null,     -- of the commit: one that is sent again is known by it
    primary key (run, name, seq)
);

create table durable.setting (
    name  text not null primary key,
    value text not null
);

insert into durable.setting (name, value) values
    ('schema_version', '1'),    -- the last migration
    ('code_min', '1');          -- the oldest schema version whose code may still run beside it
