-- Payloads for people: msgpack to jsonb.
--
-- What the codec writes (durable/_codec/values.py): one header byte, one msgpack value,
-- extension types for what msgpack lacks. Dates, decimals and UUIDs become text, tuples and
-- sets arrays, keys text, NUL the replacement character. Never an error: an odd payload is
-- shown as {"unreadable": why}.

-- One msgpack value that begins at byte `at` (from 0), and where the next one begins.
create or replace function durable.msgpack(
    body bytea, at int, depth int, out value jsonb, out next int
)
language plpgsql immutable parallel safe
as $$
declare
    tag int := get_byte(body, at);
    size int;
begin
    next := at + 1;
    if depth > 64 then
        raise exception 'nested more than 64 deep';
    elsif tag < 128 then
        value := to_jsonb(tag);
    elsif tag >= 224 then
        value := to_jsonb(tag - 256);
    elsif tag < 144 then
        select m.value, m.next into value, next from durable.msgpack_map(body, next, tag - 128, depth) m;
    elsif tag < 160 then
        select a.value, a.next into value, next from durable.msgpack_array(body, next, tag - 144, depth) a;
    elsif tag < 192 then
        size := tag - 160;
        value := to_jsonb(durable.msgpack_text(substr(body, next + 1, size)));
        next := next + size;
    elsif tag = 192 then
        value := 'null';
    elsif tag in (194, 195) then
        value := to_jsonb(tag = 195);
    elsif tag between 196 and 198 then      -- bin 8, 16, 32
        size := durable.msgpack_uint(body, next, 1 << (tag - 196))::int;
        next := next + (1 << (tag - 196));
        value := to_jsonb('\x' || encode(substr(body, next + 1, size), 'hex'));
        next := next + size;
    elsif tag between 199 and 201 then      -- ext 8, 16, 32
        size := durable.msgpack_uint(body, next, 1 << (tag - 199))::int;
        next := next + (1 << (tag - 199));
        value := durable.msgpack_ext(get_byte(body, next), substr(body, next + 2, size), depth + 1);
        next := next + 1 + size;
    elsif tag = 203 then
        value := durable.msgpack_float(durable.msgpack_uint(body, next, 8));
        next := next + 8;
    elsif tag between 204 and 207 then      -- uint 8, 16, 32, 64
        value := to_jsonb(durable.msgpack_uint(body, next, 1 << (tag - 204)));
        next := next + (1 << (tag - 204));
    elsif tag between 208 and 211 then      -- int 8, 16, 32, 64
        size := 1 << (tag - 208);
        value := to_jsonb(durable.msgpack_uint(body, next, size)
            - case when get_byte(body, next) >= 128 then power(2::numeric, 8 * size)::numeric(30, 0)
                else 0 end);
        next := next + size;
    elsif tag between 212 and 216 then      -- fixext 1, 2, 4, 8, 16
        size := 1 << (tag - 212);
        value := durable.msgpack_ext(get_byte(body, next), substr(body, next + 2, size), depth + 1);
        next := next + 1 + size;
    elsif tag between 217 and 219 then      -- str 8, 16, 32
        size := durable.msgpack_uint(body, next, 1 << (tag - 217))::int;
        next := next + (1 << (tag - 217));
        value := to_jsonb(durable.msgpack_text(substr(body, next + 1, size)));
        next := next + size;
    elsif tag in (220, 221) then            -- array 16, 32
        size := 2 * (tag - 219);
        select a.value, a.next into value, next
        from durable.msgpack_array(
            body, next + size, durable.msgpack_uint(body, next, size)::int, depth) a;
    elsif tag in (222, 223) then            -- map 16, 32
        size := 2 * (tag - 221);
        select m.value, m.next into value, next
        from durable.msgpack_map(
            body, next + size, durable.msgpack_uint(body, next, size)::int, depth) m;
    else
        raise exception 'unknown msgpack tag %', tag;
    end if;
end
$$;

create or replace function durable.msgpack_uint(body bytea, at int, size int) returns numeric
language plpgsql immutable parallel safe
as $$
declare
    total numeric := 0;
begin
    for i in 0 .. size - 1 loop
        total := total * 256 + get_byte(body, at + i);
    end loop;
    return total;
end
$$;

-- IEEE 754: sign, 11 bits of exponent, 52 of mantissa. JSON has no NaN and no infinities.
create or replace function durable.msgpack_float(bits numeric) returns jsonb
language plpgsql immutable parallel safe
as $$
declare
    sign int := case when bits >= 9223372036854775808 then -1 else 1 end;
    rest numeric := case when bits >= 9223372036854775808 then bits - 9223372036854775808 else bits end;
    exponent int := div(rest, 4503599627370496)::int;
    mantissa numeric := mod(rest, 4503599627370496);
begin
    if exponent = 2047 then
        return to_jsonb(case when mantissa > 0 then 'NaN'
            when sign < 0 then '-Infinity' else 'Infinity' end);
    elsif exponent = 0 then
        return to_jsonb(sign * (mantissa::float8 * 2::float8 ^ -1022::float8) * 2::float8 ^ -52::float8);
    end if;
    return to_jsonb(sign * (1 + mantissa::float8 * 2::float8 ^ -52::float8)
        * 2::float8 ^ (exponent - 1023)::float8);
end
$$;

create or replace function durable.msgpack_text(body bytea) returns text
language plpgsql immutable parallel safe
as $$
begin
    while position('\x00'::bytea in body) > 0 loop
        body := overlay(body placing '\xefbfbd'::bytea from position('\x00'::bytea in body) for 1);
    end loop;
    return convert_from(body, 'UTF8');
end
$$;

create or replace function durable.msgpack_array(
    body bytea, at int, count int, depth int, out value jsonb, out next int
)
language plpgsql immutable parallel safe
as $$
declare
    items jsonb[] := '{}';
    item jsonb;
begin
    next := at;
    for i in 1 .. count loop
        select m.value, m.next into item, next from durable.msgpack(body, next, depth + 1) m;
        items := items || item;
    end loop;
    value := to_jsonb(items);
end
$$;

create or replace function durable.msgpack_map(
    body bytea, at int, count int, depth int, out value jsonb, out next int
)
language plpgsql immutable parallel safe
as $$
declare
    names text[] := '{}';
    items jsonb[] := '{}';
    item jsonb;
begin
    next := at;
    for i in 1 .. count loop
        select m.value, m.next into item, next from durable.msgpack(body, next, depth + 1) m;
        names := names || case when jsonb_typeof(item) = 'string' then item #>> '{}' else item::text end;
        select m.value, m.next into item, next from durable.msgpack(body, next, depth + 1) m;
        items := items || item;
    end loop;
    select coalesce(jsonb_object_agg(pair.name, pair.item), '{}') into value
    from unnest(names, items) pair(name, item);
end
$$;

-- The codec's extension types, by number.
create or replace function durable.msgpack_ext(code int, body bytea, depth int) returns jsonb
language plpgsql immutable parallel safe
as $$
declare
    inner_value jsonb;
begin
    case
        when code in (1, 2, 3, 8, 11) then
            select m.value into inner_value from durable.msgpack(body, 0, depth) m;
            if code = 8 then
                return to_jsonb(format('%s d %s.%s s', inner_value ->> 0, inner_value ->> 1,
                    lpad(inner_value ->> 2, 6, '0')));
            end if;
            return inner_value;
        when code = 4 then
            return to_jsonb(convert_from(body, 'UTF8')::numeric);
        when code = 10 then
            return to_jsonb(encode(body, 'hex')::uuid::text);
        when code in (5, 6, 7, 9) then
            return to_jsonb(split_part(convert_from(body, 'UTF8'), '|', 1));
        else
            return jsonb_build_object('extension', code, 'body', encode(body, 'hex'));
    end case;
end
$$;

create or replace function durable.readable(payload bytea) returns jsonb
language plpgsql immutable parallel safe strict
as $$
declare
    value jsonb;
begin
    if length(payload) = 0 or get_byte(payload, 0) <> 1 then
        return jsonb_build_object('unreadable', 'encrypted, or of another version');
    end if;
    select m.value into value from durable.msgpack(payload, 1, 0) m;
    return value;
exception when others then
    return jsonb_build_object('unreadable', sqlerrm);
end
$$;

-- A failure in short: what was raised, and where.
create or replace function durable.readable_failure(payload bytea) returns jsonb
language sql immutable parallel safe strict
as $$
    select jsonb_build_object('type', f.value ->> 'type', 'message', f.value ->> 'message',
        'attempts', f.value -> 'attempts', 'traceback', f.value ->> 'traceback')
    from (select durable.readable(payload) as value) f;
$$;
