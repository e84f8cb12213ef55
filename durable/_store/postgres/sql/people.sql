-- For people with psql, triggers, other languages: start, cancel, retry, terminate, pause and resume
-- runs. (`signal` and `resolve` have files of their own.) Each is part of the caller's transaction:
-- a roll-back takes it back. Workers find what is due within a second.

-- An error in the words of Postgres: no such run.
create or replace function durable.no_such_run(id text) returns void
language plpgsql as $$
begin
    raise exception 'there is no run with the id %', quote_literal(id) using errcode = 'P0002';
end
$$;

-- Start a run, or find the one that the id names; returns its id, a random one if none is given.
-- `args` is an array of the workflow's arguments after ctx, in order.
--
--     select durable.start('order', '[{"sku": "socks", "cents": 4200}]', id => 'order-42');
create or replace function durable.start(
    workflow text, args jsonb default '[]', id text default null, queue text default 'default',
    priority int default 0, if_exists text default 'use', compare boolean default true,
    delay interval default null, at timestamptz default null, deadline timestamptz default null,
    build text default null
) returns text
language plpgsql as $$
declare
    named text := coalesce(start.id, gen_random_uuid()::text);
    digest bytea;
    answer record;
begin
    if jsonb_typeof(coalesce(start.args, 'null')) <> 'array' then
        raise exception 'args is the array of the arguments of %, as in ''[42]''; it was %',
            start.workflow, left(coalesce(start.args::text, 'null'), 100) using errcode = '22023';
    elsif coalesce(start.workflow, '') = '' or coalesce(start.queue, '') = ''
            or char_length(start.workflow) > 255 or char_length(start.queue) > 255 then
        raise exception 'workflow and queue are texts of 1 to 255 characters' using errcode = '22023';
    elsif start.priority is null or start.priority not between -2 and 2 then
        raise exception 'priority is a whole number from -2 to 2' using errcode = '22023';
    elsif start.delay is not null and start.at is not null then
        raise exception 'delay and at both say when the run begins' using errcode = '22023';
    end if;
    digest := durable.payload_digest(start.args);
    select s.run, s.created, s.status, s.workflow, s.input_digest into answer
    from durable.start_run(
        named, start.workflow, start.queue, start.priority, durable.payload(start.args), digest,
        start.if_exists, start.id is not null, null, start.at, start.delay, start.deadline, null,
        start.build) s;
    if not answer.created and start.if_exists <> 'use' then
        raise exception 'the id % names a run that is %, and if_exists => % does not allow another',
            quote_literal(named), answer.status, quote_literal(start.if_exists)
            using errcode = '23505';
    elsif not answer.created and (answer.workflow <> start.workflow
            or start.compare and answer.input_digest <> digest) then
        raise exception 'the id % names a run of % already, with other arguments or another workflow',
            quote_literal(named), quote_literal(answer.workflow) using errcode = '23505';
    end if;
    return named;
end
$$;

-- Ask a run to stop; false if it is closed already.
create or replace function durable.cancel(id text) returns boolean
language plpgsql as $$
declare
    answer record;
begin
    select d.state into answer
    from durable.deliver(
        cancel.id, 'cancel', null, gen_random_uuid()::text, null, false) d;
    if answer.state = 'absent' then
        perform durable.no_such_run(cancel.id);
    end if;
    return answer.state = 'accepted';
end
$$;

-- Let a failed or stuck run go on.
create or replace function durable.retry(id text) returns void
language plpgsql as $$
declare
    refusal text := durable.retry_run(retry.id, null);
begin
    if refusal = 'absent' then
        perform durable.no_such_run(retry.id);
    elsif refusal is not null then
        raise exception 'run % cannot be retried: %', quote_literal(retry.id), refusal
            using errcode = '55000';
    end if;
end
$$;

-- Close a run at once, its code has no say; false if it is closed already.
create or replace function durable.terminate(id text, reason text default null) returns boolean
language plpgsql as $$
declare
    refusal text := durable.terminate_run(terminate.id, terminate.reason, null);
begin
    if refusal = 'absent' then
        perform durable.no_such_run(terminate.id);
    end if;
    return refusal is null;
end
$$;

-- Let a run hold; false if it is closed.
create or replace function durable.pause(id text) returns boolean
language plpgsql as $$
declare
    refusal text := durable.pause_run(pause.id, true, null);
begin
    if refusal = 'absent' then
        perform durable.no_such_run(pause.id);
    end if;
    return refusal is null;
end
$$;

-- Let only workers of one build take a run up, or (null) any again; false if it is closed.
create or replace function durable.pin(id text, build text) returns boolean
language plpgsql as $$
declare
    refusal text := durable.pin_run(pin.id, pin.build, null);
begin
    if refusal = 'absent' then
        perform durable.no_such_run(pin.id);
    end if;
    return refusal is null;
end
$$;

-- Let it go on; false if it is closed.
create or replace function durable.resume(id text) returns boolean
language plpgsql as $$
declare
    refusal text := durable.pause_run(resume.id, false, null);
begin
    if refusal = 'absent' then
        perform durable.no_such_run(resume.id);
    end if;
    return refusal is null;
end
$$;
