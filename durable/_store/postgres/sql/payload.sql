-- Payloads for SQL: jsonb to msgpack, byte for byte as the codec writes it
-- (durable/_codec/values.py); `readable` is the way back. Whole numbers become int, those with
-- a decimal point float; what JSON has no type for is text, and becomes what the annotation says.

-- A length before what it measures: within the tag if it is small enough, else after one of
-- the tags for 1, 2 and 4 bytes (0: there is none).
create or replace function durable.payload_head(size bigint, small int, small_end int, tags int[])
returns bytea
language sql immutable parallel safe
as $$
    select case
        when size < small_end then substring(int2send((small + size)::int2) from 2)
        when size < 256 and tags[1] > 0
            then substring(int2send(tags[1]::int2) from 2) || substring(int2send(size::int2) from 2)
        when size < 65536
            then substring(int2send(tags[2]::int2) from 2) || substring(int4send(size::int) from 3)
        else substring(int2send(tags[3]::int2) from 2) || substring(int8send(size) from 5)
    end
$$;

create or replace function durable.payload_chars(value text) returns bytea
language sql immutable parallel safe
as $$
    select durable.payload_head(octet_length(b.body), 160, 32, '{217, 218, 219}') || b.body
    from (select convert_to(value, 'UTF8') as body) b
$$;

create or replace function durable.payload_extension(kind int, body bytea) returns bytea
language sql immutable parallel safe
as $$
    select case octet_length(body)
            when 1 then '\xd4'::bytea when 2 then '\xd5' when 4 then '\xd6' when 8 then '\xd7'
            when 16 then '\xd8' else durable.payload_head(octet_length(body), 0, 0, '{199, 200, 201}')
        end || substring(int2send(kind::int2) from 2) || body
$$;

-- A whole number in as few bytes as it takes; beyond 64 bits the codec's extension type 4.
create or replace function durable.payload_number(value numeric) returns bytea
language plpgsql immutable parallel safe
as $$
declare
    body bytea := '';
    rest numeric;
begin
    if value between -32 and 127 then
        return substring(int2send(value::int2) from 2);
    elsif value between 0 and 255 then
        return '\xcc'::bytea || substring(int2send(value::int2) from 2);
    elsif value between 0 and 65535 then
        return '\xcd'::bytea || substring(int4send(value::int4) from 3);
    elsif value between 0 and 4294967295 then
        return '\xce'::bytea || substring(int8send(value::bigint) from 5);
    elsif value between 0 and 9223372036854775807 then
        return '\xcf'::bytea || int8send(value::bigint);
    elsif value between 0 and 18446744073709551615 then
        return '\xcf'::bytea || int8send((value - 18446744073709551616)::bigint);
    elsif value between -128 and 0 then
        return '\xd0'::bytea || substring(int2send(value::int2) from 2);
    elsif value between -32768 and 0 then
        return '\xd1'::bytea || int2send(value::int2);
    elsif value between -2147483648 and 0 then
        return '\xd2'::bytea || int4send(value::int4);
    elsif value between -9223372036854775808 and 0 then
        return '\xd3'::bytea || int8send(value::bigint);
    end if;
    -- Two's complement: of a negative number the complement of what is one less in size.
    rest := case when value < 0 then -value - 1 else value end;
    while rest > 0 loop
        body := substring(int2send((rest % 256)::int2) from 2) || body;
        rest := div(rest, 256);
    end loop;
    if get_byte(body, 0) >= 128 then
        body := '\x00'::bytea || body;
    end if;
    if value < 0 then
        for i in 0 .. octet_length(body) - 1 loop
            body := set_byte(body, i, 255 - get_byte(body, i));
        end loop;
    end if;
    return durable.payload_extension(4, body);
end
$$;

-- `canonical`: the form of which starts are compared (durable/_codec/sameness.py), in which an array
-- is a tuple, which is an extension type. Keys are sorted as jsonb sorts them: by length, then bytes.
create or replace function durable.payload_body(value jsonb, depth int, canonical boolean default false)
returns bytea
language plpgsql immutable parallel safe
as $$
declare
    number numeric;
    parts bytea;
begin
    if depth = 64 and jsonb_typeof(value) in ('array', 'object') then
        raise exception 'the value is nested more than 64 deep' using errcode = '54000';
    end if;
    case jsonb_typeof(value)
        when 'null' then
            return '\xc0';
        when 'boolean' then
            return case when value = 'true' then '\xc3'::bytea else '\xc2'::bytea end;
        when 'number' then
            number := value::numeric;
            return case when scale(number) = 0 then durable.payload_number(number)
                else '\xcb'::bytea || float8send(number::float8) end;
        when 'string' then
            return durable.payload_chars(value #>> '{}');
        when 'array' then
            select string_agg(durable.payload_body(e.item, depth + 1, canonical), '' order by e.n)
            into parts
            from jsonb_array_elements(value) with ordinality e(item, n);
            parts := durable.payload_head(jsonb_array_length(value), 144, 16, '{0, 220, 221}')
                || coalesce(parts, '');
            return case when canonical then durable.payload_extension(1, parts) else parts end;
        else
            select string_agg(durable.payload_chars(e.key)
                || durable.payload_body(e.item, depth + 1, canonical), '' order by e.n)
            into parts
            from jsonb_each(value) with ordinality e(key, item, n);
            return durable.payload_head((select count(*) from jsonb_object_keys(value)), 128, 16,
                '{0, 222, 223}') || coalesce(parts, '');
    end case;
end
$$;

-- A whole number stays an int, 1.0 becomes a float. Null is None, as 'null' is.
create or replace function durable.payload(value jsonb) returns bytea
language plpgsql immutable parallel safe
as $$
declare
    payload bytea := '\x01'::bytea || durable.payload_body(coalesce(value, 'null'), 0);
begin
    if octet_length(payload) > 2097152 then
        raise exception 'the value takes % bytes; a payload may have 2097152', octet_length(payload)
            using errcode = '54000';
    end if;
    return payload;
end
$$;

-- Of a value that Python calls a bool, int, float or str, that name.
create or replace function durable.payload_kind(value jsonb) returns text
language sql immutable parallel safe
as $$
    select case jsonb_typeof(value)
        when 'boolean' then 'bool'
        when 'string' then 'str'
        when 'number' then case when scale(value::numeric) > 0 then 'float' else 'int' end
        else 'other' end
$$;

-- The digest of a call with these arguments, as `sameness.digest` has it: of plain ones that of the
-- payload itself.
create or replace function durable.payload_digest(args jsonb) returns bytea
language sql immutable parallel safe
as $$
    select substring(sha256(case
        when exists (
            select from jsonb_array_elements(args) e(item)
            where jsonb_typeof(e.item) in ('array', 'object'))
        then '\x01'::bytea || durable.payload_body(args, 0, true)
        else durable.payload(args) end) for 16)
$$;
