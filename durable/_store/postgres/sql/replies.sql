-- The answers of updates, written with the turns that gave them. `going`: only those of these
-- runs; null: all. An answer that stands stays: a retry may run the turn again.
create or replace function durable.reply(replies json, going bigint[]) returns void
language sql as $$
    insert into durable.answer (run, seq, status, result, failure)
    select a.run, a.seq, a.status, decode(a.result, 'base64'), decode(a.failure, 'base64')
    from json_to_recordset(replies) a(
        run bigint, seq bigint, status text, result text, failure text)
    where going is null or a.run = any(going)
    on conflict do nothing
$$;
