-- Promises: a token that can be sent to anybody names a run, one of its operations and the kind
-- of answer, under a MAC of the run's seed, which never leaves the database and the workers.
--
--   base64url of (run, 8 bytes; op, 8 bytes; HMAC-SHA256, its first 16 bytes), then the kind,
--   `.bool` and the like, if there is one.

-- As in RFC 2104, for keys of up to 64 bytes.
create or replace function durable.hmac_sha256(key bytea, message bytea) returns bytea
language plpgsql immutable parallel safe strict
as $$
declare
    inner_pad bytea := decode(repeat('36', 64), 'hex');
    outer_pad bytea := decode(repeat('5c', 64), 'hex');
begin
    for n in 0 .. octet_length(key) - 1 loop
        inner_pad := set_byte(inner_pad, n, get_byte(inner_pad, n) # get_byte(key, n));
        outer_pad := set_byte(outer_pad, n, get_byte(outer_pad, n) # get_byte(key, n));
    end loop;
    return sha256(outer_pad || sha256(inner_pad || message));
end
$$;

-- Answer what a token asks for: once. `state` is
--   accepted  it is answered by this
--   answered  it was answered before
--   closed    the run ended before
--   forged    nothing here has made this token, or its run has been removed
--   unfit     the token says what kind of answer it takes, and this one is another
-- A send that is repeated after a lost answer says so (`again`) and finds its own.
create or replace function durable.answer_promise(
    token text, answer bytea, answer_kind text, rejects boolean, again boolean,
    out run bigint, out id text, out state text, out status text, out expected text
)
language plpgsql as $$
#variable_conflict use_column
declare
    moment timestamptz := durable.now();
    message_key text;
    message_name text := case when rejects then 'reject' end;
    told bytea;
    answered_op bigint;
    old record;
begin
    state := 'forged';
    if token is null or token !~ '^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048](\.(bool|int|float|str))?$' then
        return;
    end if;
    expected := nullif(substring(token from 45), '');
    told := decode(translate(left(token, 43), '-_', '+/') || '=', 'base64');
    if get_byte(told, 0) >= 128 or get_byte(told, 8) >= 128 then
        return;
    end if;
    run := durable.payload_uint(substring(told for 8), 1, 7);
    answered_op := durable.payload_uint(substring(told from 9 for 8), 1, 7);
    select r.run, r.id, r.status, r.seed, r.closed_at, r.last_seq into old
    from durable.run r where r.run = answer_promise.run for no key update;
    -- Compared as hashes, whose first difference tells nothing about that of the MACs.
    if not found or sha256(substring(told from 17 for 16)) <> sha256(substring(
            durable.hmac_sha256(old.seed, '\x00'::bytea || convert_to('promise', 'UTF8')
                || substring(told for 16) || convert_to(coalesce(expected, ''), 'UTF8')) for 16)) then
        run := null;
        return;
    end if;
    id := old.id;
    status := old.status;
    message_key := 'promise/' || answered_op;
    if exists (select from durable.inbox i where i.run = old.run and i.key = message_key) then
        state := case when again and exists (
            select from durable.inbox i where i.run = old.run and i.key = message_key
                and i.payload = answer and i.name is not distinct from message_name)
            then 'accepted' else 'answered' end;
    elsif old.closed_at is not null then
        state := 'closed';
    elsif not rejects and (expected <> answer_kind
            and not (expected = 'float' and answer_kind = 'int')) then
        state := 'unfit';
    else
        insert into durable.inbox (run, seq, kind, name, key, op, payload, at)
        values (old.run, old.last_seq + 1, 'promise', message_name, message_key, answered_op,
            answer, moment);
        update durable.run r
        set last_seq = r.last_seq + 1,
            due_at = case when r.status in ('pending', 'running', 'waiting', 'unserved')
                then least(r.due_at, moment) else r.due_at end
        where r.run = old.run;
        state := 'accepted';
    end if;
end
$$;

-- The same for SQL: true if this was the answer, false if there was one before; all else is an
-- error.
create or replace function durable.answer_or_raise(
    token text, answer bytea, answer_kind text, rejects boolean
) returns boolean
language plpgsql as $$
declare
    found record;
begin
    select a.id, a.state, a.status, a.expected into found
    from durable.answer_promise(token, answer, answer_kind, rejects, false) a;
    if found.state = 'forged' then
        raise exception 'this token was not made here, or its run has been removed'
            using errcode = 'DU002';
    elsif found.state = 'closed' then
        raise exception 'run % has ended (%) and takes no answer', found.id, found.status
            using errcode = 'DU003';
    elsif found.state = 'unfit' then
        raise exception 'this promise takes a value of type %', found.expected
            using errcode = 'DU004';
    end if;
    return found.state = 'accepted';
end
$$;

-- Answer a promise by its token. True; false if it was answered before.
--   select durable.resolve('AAAA...bool', 'true')
create or replace function durable.resolve(token text, value jsonb) returns boolean
language sql as $$
    select durable.answer_or_raise(token, durable.payload(value), durable.payload_kind(value), false)
$$;

-- Let whoever awaits it get PromiseRejected with this message instead.
create or replace function durable.reject(token text, message text) returns boolean
language sql as $$
    select durable.answer_or_raise(token, durable.payload(to_jsonb(message)), null, true)
$$;
