-- name: commit
-- Rows alone: the path of a plain step.
select verdicts, parked
from durable.commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
    $18, $19, $20)

-- name: commit_all
-- With births, closes, parks, deliveries and notes of attempts.
select verdicts, parked
from durable.commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
    $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35,
    $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52,
    $53, $54, $55, $56, $57, $58, $59, $60)

-- name: read
-- Events of many runs (sorted), each from a position of its own, until $3 bytes or $4 rows are
-- full. Sizes come from the length word: nothing large is read to be dropped.
select j.run, j.position, j.op, j.kind, j.name, j.input, j.result, j.failure, j.at, j.site,
    j.digest, j.seq, j.key
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
