-- name: news
-- What is new to many readers, of each a page; and whose runs have closed, or are gone.
select a.n, r.status, i.seq, i.value, i.op, i.attempt
from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[]) with ordinality
    a(run, kind, name, after, n)
left join durable.run r on r.run = a.run
left join lateral (
    select p.seq, p.value, p.op, p.attempt
    from (
        select s.seq, s.value, s.op, s.attempt,
            sum(coalesce(octet_length(s.value), 0)) over (order by s.seq)
                - coalesce(octet_length(s.value), 0) as before
        from (
            select m.seq, m.value, m.op, m.attempt from durable.stream m
            where a.kind = 'stream' and m.run = a.run and m.name = a.name and m.seq > a.after
                and (m.value is not null or m.op is not null)
            order by m.seq
            limit $5
        ) s
    ) p
    where p.before < $6
    union all
    select v.version, v.value, null, null from durable.state v
    where a.kind = 'state' and v.run = a.run and v.name = a.name and v.version > a.after
) i on true
where i.seq is not null or r.run is null or r.closed_at is not null
order by a.n, i.seq

-- name: state
-- Of the run that it goes on as by now.
select s.value from durable.state s where s.run = durable.latest($1) and s.name = $2

-- name: origin
-- The run to begin to read at: of those that continue each other up to this one, the latest
-- whose part of the stream begins at an offset or before.
with recursive chain (run, previous, n) as (
    select r.run, r.previous, 0 from durable.run r where r.run = $1
    union all
    select r.run, r.previous, chain.n + 1
    from chain join durable.run r on r.run = chain.previous
    -- A stream that goes on begins with a mark of where it had come to.
    where r.status = 'continued' and (
        select min(s.seq) from durable.stream s where s.run = chain.run and s.name = $2) > $3
)
select run from chain order by n desc limit 1

-- name: successor
select e.heir from durable.result e where e.run = $1
