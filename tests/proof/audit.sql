-- What the database took, write by write, in the order of the writes. Installed by tests only.
-- A write that was rolled back leaves no trace here either.
create schema audit;

create table audit.entry (
    n       bigserial primary key,
    at      timestamptz not null default clock_timestamp(),
    session text not null default current_setting('application_name'),
    place   text not null,      -- the table
    what    text not null,      -- insert, update, delete
    run     bigint,
    row     jsonb not null,     -- as it stands now; of a delete: as it was
    before  jsonb,              -- of an update
    owner   text,               -- of a journal row: name of the worker that owned its run then
    status  text                -- and the run's status
);

create function audit.note() returns trigger language plpgsql as $$
declare
    now_row jsonb := case when tg_op = 'DELETE' then to_jsonb(old) else to_jsonb(new) end;
    was jsonb := case when tg_op = 'UPDATE' then to_jsonb(old) end;
    owner_name text;
    run_status text;
begin
    if tg_table_name = 'worker' and was ->> 'state' = now_row ->> 'state' then
        return null;  -- a heartbeat
    end if;
    if tg_table_name = 'journal' then
        select w.name, r.status into owner_name, run_status
        from durable.run r left join durable.worker w on w.worker = r.worker
        where r.run = (now_row ->> 'run')::bigint;
    end if;
    insert into audit.entry (place, what, run, row, before, owner, status)
    values (tg_table_name, lower(tg_op), (now_row ->> 'run')::bigint, now_row, was, owner_name,
        run_status);
    return null;
end
$$;

do $$
declare
    place text;
begin
    foreach place in array array['run', 'journal', 'inbox', 'outcome', 'worker', 'result'] loop
        execute format('create trigger audit after insert or update or delete on durable.%I '
            'for each row execute function audit.note()', place);
    end loop;
end
$$;

-- What ctx.transaction of the tests does.
create table audit.booking (run text not null, name text not null);
