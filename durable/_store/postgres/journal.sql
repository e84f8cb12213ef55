-- name: commit
-- Called where it is one value: as a table its answer is put into a store of rows first.
select durable.commit($1, $2, $3, $4, $5) as verdicts

-- name: read
-- Events of many runs (sorted), each from a position of its own, until $3 bytes or $4 rows are
-- full. Sizes come from the length word: nothing large is read to be dropped.
select j.run, j.position, j.kind, j.at, j.key, j.op, j.name, j.input, j.result, j.failure, j.site,
    j.digest, j.seq, j.effects, j.patches
from (
    select k.run, k.position, sum(k.size) over (order by k.n, k.position) - k.size as before
    from (
        select a.n, e.run, e.position,
            64 + coalesce(octet_length(e.input), 0) + coalesce(octet_length(e.result), 0)
                + coalesce(octet_length(e.failure), 0) as size
        from unnest($1::bigint[], $2::bigint[]) with ordinality a(run, start, n)
        cross join lateral (
            select f.run, f.position, f.input, f.result, f.failure from durable.journal f
            where f.run = a.run and f.position >= a.start
            order by f.position
            limit $4
        ) e
        limit $4
    ) k
) page
join durable.journal j on j.run = page.run and j.position = page.position
where page.before < $3
order by j.run, j.position

-- name: notes
select a.run, a.op, a.name, a.digest, a.attempt, a.since, a.began_at, a.failure, a.next_at,
    a.details, a.nth
from durable.attempt a
where a.run = any($1::bigint[])
