-- name: read
select o.name, o.digest, o.result
from durable.outcome o where o.run = $1 and o.op = $2

-- name: fence
-- The last act of a transaction that ran a user's code: it counts only if the worker lives and
-- still owns the run, and neither can change before it commits.
select exists (
    select from durable.worker w where w.worker = $1 and w.state = 'live' for key share
) as alive, exists (
    select from durable.run r
    where r.run = $2 and r.worker = $1 and r.claim = $3 and r.status = 'running'
    for key share
) as owns

-- name: record
insert into durable.outcome (run, op, name, digest, result)
values ($1, $2, $3, $4, $5)
returning pg_current_xact_id()::text

-- name: end_backend
select pg_terminate_backend(s.pid)
from pg_catalog.pg_stat_activity s
where s.pid = $1 and s.backend_start = $2 and s.application_name like 'durable:%'

-- name: is_over
-- Whether a transaction has ended, either way; null for one that ended long ago.
select coalesce(pg_xact_status($1::text::xid8), 'over') <> 'in progress'
