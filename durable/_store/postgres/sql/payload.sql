-- Values of SQL as payloads: jsonb to msgpack, as the codec reads it (durable/_codec/values.py).
-- The other way is `readable`.

-- What a text, an array or an object begins with: its size, in the tag itself if it is below
-- `short`, else after it. `tags`: of the short form, then of sizes of 8 (0: there is none), 16
-- and 32 bits.
create or replace function durable.payload_head(size int, short int, tags int[]) returns bytea
language sql immutable parallel safe
as $$
    select case
        when size < short then set_byte('\x00'::bytea, 0, tags[1] + size)
        when size < 256 and tags[2] > 0
            then set_byte('\x00'::bytea, 0, tags[2]) || substring(int4send(size) from 4)
        when size < 65536
            then set_byte('\x00'::bytea, 0, tags[3]) || substring(int4send(size) from 3)
        else set_byte('\x00'::bytea, 0, tags[4]) || int4send(size) end
$$;

create or replace function durable.payload_body(value jsonb, depth int) returns bytea
language plpgsql immutable parallel safe
as $$
declare
    number numeric;
    body bytea;
    size int;
begin
    if depth > 64 then
        raise exception 'the value is nested more than 64 deep' using errcode = '54000';
    end if;
    case jsonb_typeof(value)
        when 'null' then
            return '\xc0';
        when 'boolean' then
            return case when value::boolean then '\xc3'::bytea else '\xc2'::bytea end;
        when 'number' then
            number := value::numeric;
            if scale(number) > 0 or abs(number) > 18446744073709551616
                    and number::float8::text::numeric = number then
                return '\xcb'::bytea || float8send(number::float8);
            elsif number between -9223372036854775808 and 9223372036854775807 then
                return '\xd3'::bytea || int8send(number::bigint);
            elsif number between 0 and 18446744073709551615 then
                return '\xcf'::bytea || int8send((number - 18446744073709551616)::bigint);
            end if;
            raise exception 'the number % has more than 64 bits', number using errcode = '22003';
        when 'string' then
            body := convert_to(value #>> '{}', 'UTF8');
            return durable.payload_head(octet_length(body), 32, '{160,217,218,219}') || body;
        when 'array' then
            select count(*), string_agg(durable.payload_body(e.value, depth + 1), ''::bytea order by e.n)
            into size, body
            from jsonb_array_elements(value) with ordinality e(value, n);
            return durable.payload_head(size, 16, '{144,0,220,221}') || coalesce(body, '');
        else
            select count(*), string_agg(durable.payload_body(to_jsonb(e.key), depth + 1)
                || durable.payload_body(e.value, depth + 1), ''::bytea order by e.n)
            into size, body
            from jsonb_each(value) with ordinality e(key, value, n);
            return durable.payload_head(size, 16, '{128,0,222,223}') || coalesce(body, '');
    end case;
end
$$;

-- A whole number stays an int, 1.0 becomes a float. Null is None, as 'null' is.
create or replace function durable.payload(value jsonb) returns bytea
language plpgsql immutable parallel safe
as $$
declare
    payload bytea := '\x01'::bytea || durable.payload_body(coalesce(value, 'null'), 1);
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
