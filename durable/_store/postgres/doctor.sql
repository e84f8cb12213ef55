-- name: settings
select current_setting('server_version') as version,
    current_setting('fsync') as fsync,
    current_setting('full_page_writes') as full_page_writes,
    current_setting('synchronous_commit') as synchronous_commit,
    current_setting('autovacuum') as autovacuum,
    current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int as connections_max,
    (select count(*)::int from pg_catalog.pg_stat_activity s
        where s.backend_type = 'client backend') as connections,
    (select g.setting::float8 / 1000 from pg_catalog.pg_settings g
        where g.name = 'statement_timeout') as statement_timeout,
    clock_timestamp() as now

-- name: versions
select max(s.value) filter (where s.name = 'schema_version') as version,
    max(s.value) filter (where s.name = 'code_min') as code_min
from durable.setting s

-- name: holding
-- Transactions and slots that keep dead rows from being cleaned up.
select coalesce('the session ' || s.pid || ' (' || nullif(s.application_name, '') || ')',
        'the session ' || s.pid) as who,
    coalesce(s.state, 'active') as state,
    extract(epoch from clock_timestamp() - s.xact_start)::float8 as seconds
from pg_catalog.pg_stat_activity s
where s.xact_start < clock_timestamp() - interval '60 s' and s.backend_type = 'client backend'
    and s.pid <> pg_backend_pid()
union all
select 'the prepared transaction ' || p.gid, 'prepared',
    extract(epoch from clock_timestamp() - p.prepared)::float8
from pg_catalog.pg_prepared_xacts p
where p.prepared < clock_timestamp() - interval '60 s'
order by 3 desc
limit 10

-- name: bloated
select t.relname as name, t.n_dead_tup as dead, t.n_live_tup as live
from pg_catalog.pg_stat_all_tables t
join pg_catalog.pg_class c on c.oid = t.relid
where c.relnamespace = (
        select o.relnamespace from pg_catalog.pg_class o where o.oid = 'durable.run'::regclass)
    and t.n_dead_tup > greatest(t.n_live_tup, 10000)
order by 2 desc

-- name: missing
-- What a worker's role must be allowed.
select needed.privilege || ' on ' || needed.name as grant
from (values ('run', 'select'), ('run', 'insert'), ('run', 'update'), ('journal', 'select'),
    ('journal', 'insert'), ('inbox', 'select'), ('inbox', 'insert'), ('input', 'select'),
    ('input', 'insert'), ('result', 'select'), ('result', 'insert'), ('outcome', 'select'),
    ('outcome', 'insert'), ('worker', 'select'), ('worker', 'insert'), ('worker', 'update'),
    ('worker', 'delete'), ('setting', 'select')) needed(name, privilege)
join pg_catalog.pg_class c on c.relname = needed.name
where c.relnamespace = (
        select o.relnamespace from pg_catalog.pg_class o where o.oid = 'durable.run'::regclass)
    and not has_table_privilege(c.oid, needed.privilege)

-- name: others
-- Other roles whose sessions are ours, if this one may not end them.
select distinct s.usename as role
from pg_catalog.pg_stat_activity s
where s.application_name like 'durable:%' and s.usename <> current_user
    and not (pg_has_role(current_user, 'pg_signal_backend', 'member')
        and pg_has_role(current_user, 'pg_read_all_stats', 'member'))

-- name: waiting
select count(*)::int as due,
    extract(epoch from durable.now() - min(r.due_at))::float8 as seconds
from durable.run r
where r.worker is null and r.status in ('pending', 'waiting') and r.due_at <= durable.now()

-- name: counts
select r.status, count(*)::int as count from durable.run r group by r.status order by r.status

-- name: workers
select w.name, w.state, w.lease_seconds as lease,
    extract(epoch from durable.now() - w.beat_at)::float8 as silent
from durable.worker w
order by w.name
