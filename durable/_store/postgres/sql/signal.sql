-- For SQL: send a signal to the run that an id names now. In the caller's transaction: a
-- roll-back takes it back. With a `key` of the caller's it is accepted once, however often sent.
--
--     select durable.signal('order-42', 'shipped', '{"carrier": "DHL", "number": "0034"}');
create or replace function durable.signal(
    id text, signal text, value jsonb default 'null', key text default null
) returns void
language plpgsql as $$
declare
    answer record;
begin
    select d.run, d.state, d.status into answer
    from durable.deliver(
        signal.id, 'signal', signal.signal, 'sent/' || coalesce(signal.key, gen_random_uuid()::text),
        durable.payload(coalesce(signal.value, 'null')), false) d;
    if answer.state = 'absent' then
        raise exception 'there is no run with the id %', quote_literal(signal.id)
            using errcode = 'P0002';
    elsif answer.state = 'closed' then
        raise exception 'run % is % and takes no more signals', quote_literal(signal.id), answer.status
            using errcode = '55000';
    end if;
end
$$;
