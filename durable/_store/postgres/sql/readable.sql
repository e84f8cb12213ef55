-- Payloads for people: msgpack to jsonb, as the codec writes it (durable/_codec/values.py).
--
-- Dates, decimals, UUIDs and NaN become text, tuples and sets arrays, bytes "\x…", keys text,
-- NUL the sign ␀ (jsonb has no NUL). An odd payload is shown as {"unreadable": why}, never an
-- error: a view must not fail for one row. Nothing here catches exceptions, since before
-- Postgres 17 that cannot be done in a parallel query; so all is checked before it is done.
--
-- It is one loop that reads value after value and writes JSON text, with a stack of what is
-- open: a call of a function for each value would cost ten times as much.

-- `size` bytes from `at` (from 0), the highest first. At most 7: it must stay below 2^63.
create or replace function durable.payload_uint(body bytea, at int, size int) returns bigint
language plpgsql immutable parallel safe
as $$
begin
    if size = 1 then
        return get_byte(body, at);
    elsif size = 2 then
        return get_byte(body, at) << 8 | get_byte(body, at + 1);
    end if;
    return ('x' || lpad(encode(substring(body from at + 1 for size), 'hex'), 16, '0'))::bit(64)::bigint;
end
$$;

-- IEEE 754: sign, exponent, mantissa. JSON has no NaN and no infinities.
create or replace function durable.payload_float(bits bigint, exponent_bits int) returns text
language plpgsql immutable parallel safe
as $$
declare
    mantissa_bits int := case when exponent_bits = 11 then 52 else 23 end;
    bias int := case when exponent_bits = 11 then 1023 else 127 end;
    exponent int := (bits >> mantissa_bits)::int & (2 * bias + 1);
    mantissa bigint := bits & ((1::bigint << mantissa_bits) - 1);
    sign text := case when bits >> (mantissa_bits + exponent_bits) & 1 = 1 then '-' else '' end;
begin
    if exponent = 2 * bias + 1 then
        return case when mantissa <> 0 then '"NaN"' else '"' || sign || 'Infinity"' end;
    elsif exponent = 0 then
        exponent := 1;
    else
        mantissa := mantissa | (1::bigint << mantissa_bits);
    end if;
    if mantissa = 0 then
        return sign || '0.0';
    end if;
    -- Both factors are exact, and so is their product.
    return sign || (mantissa::float8 * power(2::float8, exponent - bias - mantissa_bits))::text;
end
$$;

-- UTF-8 as text; null if it is none. Checked here, since convert_from would raise an error.
create or replace function durable.payload_text(body bytea) returns text
language plpgsql immutable parallel safe
as $$
declare
    escaped text := encode(body, 'escape');
begin
    if length(escaped) = octet_length(body) then    -- plain ASCII, and no NUL
        return escaped;
    elsif escaped ~ '\\[2-3]' and encode(body, 'hex') !~ ('^(?:[0-7].|(?:c[2-9a-f]|d.)[89ab].'
        '|(?:e0[ab]|e[1-9abcef][89ab]|ed[89]).[89ab].'
        '|(?:f0[9ab]|f[1-3][89ab]|f48).[89ab].[89ab].)*$') then
        return null;
    end if;
    if position('\000' in escaped) > 0 then
        -- Written-out backslashes step aside, lest "\\000" look like a NUL.
        body := decode(replace(replace(escaped, '\\', '\134'), '\000', '\342\220\200'), 'escape');
    end if;
    if getdatabaseencoding() = 'UTF8' then
        return convert_from(body, 'UTF8');
    end if;
    return encode(body, 'escape');
end
$$;

-- The codec's extension types, as a JSON text; null if it is none of them.
create or replace function durable.payload_ext(code int, body bytea) returns text
language plpgsql immutable parallel safe
as $$
declare
    size int := octet_length(body);
    total numeric := 0;
begin
    if code in (5, 6, 7, 8, 9) then                 -- datetime, date, time, timedelta, Decimal
        return to_json(durable.payload_text(body))::text;
    elsif code = 10 and size = 16 then              -- UUID
        return '"' || encode(body, 'hex')::uuid::text || '"';
    elsif code = 4 and size between 1 and 400 then  -- int beyond 64 bits
        for i in 0 .. size - 1 loop
            total := total * 256 + get_byte(body, i);
        end loop;
        if get_byte(body, 0) >= 128 then
            total := total - trunc(power(2::numeric, 8 * size));
        end if;
        return total::text;
    elsif code = 4 and size > 400 then              -- nobody reads a thousand digits
        return '"0x' || encode(body, 'hex') || '"';
    end if;
    return null;
end
$$;

create or replace function durable.readable(payload bytea) returns jsonb
language plpgsql immutable parallel safe strict
as $$
declare
    body constant bytea := payload || ''::bytea;    -- out of its compressed or outlying storage
    stop constant int := octet_length(body);
    at int := 1;
    tag int;
    size bigint;
    code int;
    piece text;
    -- What has been written. Of each open container: how many values are still to come, its
    -- closing bracket, where it begins in `written`, and whether it is a key of a map.
    written text[] := '{}';
    depth int := 0;
    left_over bigint[] := '{}';
    closing text[] := '{}';
    begins int[] := '{}';
    is_key boolean;
begin
    if stop = 0 or stop > 16777216 then
        return jsonb_build_object('unreadable', case stop when 0 then 'it is empty' else 'too large' end);
    elsif get_byte(body, 0) <> 1 then
        return jsonb_build_object('unreadable', 'it is compressed, encrypted, or of another version');
    end if;
    loop
        if at >= stop then
            return jsonb_build_object('unreadable', 'it ends too early');
        end if;
        tag := get_byte(body, at);
        at := at + 1;
        piece := null;
        code := null;
        is_key := depth > 0 and closing[depth] = '}' and left_over[depth] % 2 = 0;

        -- The size of what follows: a length that is written out, or one that the tag tells.
        size := case
            when tag < 128 or tag >= 224 then 0
            when tag < 144 then (tag - 128) * 2
            when tag < 160 then tag - 144
            when tag < 192 then tag - 160
            when tag in (196, 199, 204, 208, 217) then 1
            when tag in (197, 200, 205, 209, 218, 220, 222) then 2
            when tag in (198, 201, 202, 206, 210, 219, 221, 223) then 4
            when tag in (203, 207, 211) then 8
            when tag between 212 and 216 then 1 << (tag - 212)
            else 0 end;
        if tag in (196, 197, 198, 199, 200, 201, 217, 218, 219, 220, 221, 222, 223) then
            if at + size > stop then
                return jsonb_build_object('unreadable', 'it ends too early');
            end if;
            at := at + size::int;
            size := durable.payload_uint(body, at - size::int, size::int);
            if tag in (222, 223) then
                size := size * 2;
            end if;
        end if;
        if tag between 199 and 201 or tag between 212 and 216 then
            if at >= stop then
                return jsonb_build_object('unreadable', 'it ends too early');
            end if;
            code := get_byte(body, at);
            at := at + 1;
        end if;
        -- Each value takes a byte at least, so this bounds the number of values, too.
        if at + size > stop then
            return jsonb_build_object('unreadable', 'it ends too early');
        end if;

        if tag < 128 then
            piece := tag::text;
        elsif tag between 160 and 191 or tag between 217 and 219 then
            piece := to_json(durable.payload_text(substring(body from at + 1 for size::int)))::text;
            if piece is null then
                return jsonb_build_object('unreadable', 'a text in it is not UTF-8');
            end if;
        elsif tag between 128 and 159 or tag between 220 and 223 then
            if depth = 64 then
                return jsonb_build_object('unreadable', 'it is nested more than 64 deep');
            end if;
            written := written || case when tag < 144 or tag > 221 then '{' else '[' end;
            depth := depth + 1;
            left_over[depth] := size;
            closing[depth] := case when tag < 144 or tag > 221 then '}' else ']' end;
            begins[depth] := cardinality(written);
        elsif code in (1, 2, 3, 11) then            -- tuple, set, frozenset, keywords: what is in it
            continue;
        elsif code is not null then
            piece := durable.payload_ext(code, substring(body from at + 1 for size::int));
            if piece is null then
                return jsonb_build_object('unreadable', format('it has an extension type %s', code));
            end if;
        elsif tag >= 224 then
            piece := (tag - 256)::text;
        elsif tag = 192 then
            piece := 'null';
        elsif tag = 194 or tag = 195 then
            piece := case tag when 194 then 'false' else 'true' end;
        elsif tag between 196 and 198 then
            piece := '"\\x' || encode(substring(body from at + 1 for size::int), 'hex') || '"';
        elsif tag = 202 then
            piece := durable.payload_float(durable.payload_uint(body, at, 4), 8);
        elsif tag = 203 then
            piece := durable.payload_float(durable.payload_uint(body, at, 8), 11);
        elsif tag between 204 and 207 then
            piece := (durable.payload_uint(body, at, size::int)
                + case when tag = 207 and get_byte(body, at) >= 128 then 18446744073709551616 else 0 end)::text;
        elsif tag between 208 and 211 then
            piece := (durable.payload_uint(body, at, size::int)
                - case when tag < 211 and get_byte(body, at) >= 128 then 1::bigint << size::int * 8 else 0 end)::text;
        else
            return jsonb_build_object('unreadable', format('it has a byte 0x%s in a wrong place', to_hex(tag)));
        end if;

        if piece is not null then
            at := at + size::int;
            if is_key and left(piece, 1) <> '"' then
                piece := to_json(piece)::text;
            end if;
            written := written || piece;
        end if;
        -- What is full is closed, and what it stands in has one value more.
        loop
            if piece is null then
                exit when left_over[depth] > 0;
                written := written || closing[depth];
                code := begins[depth];
                depth := depth - 1;
                if depth > 0 and closing[depth] = '}' and left_over[depth] % 2 = 0 then
                    written := written[1 : code - 1]
                        || to_json(array_to_string(written[code :], ''))::text;
                end if;
            end if;
            exit when depth = 0;
            left_over[depth] := left_over[depth] - 1;
            if left_over[depth] > 0 then
                written := written
                    || case when closing[depth] = '}' and left_over[depth] % 2 = 1 then ':' else ',' end;
                exit;
            end if;
            piece := null;
        end loop;
        exit when depth = 0;
    end loop;
    if at <> stop then
        return jsonb_build_object('unreadable', 'something follows its end');
    end if;
    return array_to_string(written, '')::jsonb;
end
$$;

-- A failure in short: what was raised, and the last lines of where.
create or replace function durable.readable_failure(payload bytea) returns jsonb
language sql immutable parallel safe strict
as $$
    select case
        when jsonb_typeof(f.value) <> 'object' then jsonb_build_object('unreadable', 'it is no failure')
        when f.value ? 'unreadable' then f.value
        else jsonb_build_object(
            'type', f.value -> 'type', 'message', f.value -> 'message',
            'attempts', f.value -> 'attempts', 'kind', f.value -> 'kind',
            'traceback', right(f.value ->> 'traceback', 2000))
        end
    from (select durable.readable(payload) as value) f
$$;
