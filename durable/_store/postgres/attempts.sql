-- name: read
select a.run, a.op, a.name, a.digest, a.attempt, a.since, a.began_at, a.failure, a.next_at,
    a.details, a.nth
from durable.attempt a
where a.run = any($1::bigint[])
