-- name: notify
-- A hint without a payload; identical ones of one transaction are one.
select pg_notify('durable', '')

-- name: notify_ends
-- Runs have closed: a hint to those who wait for results.
select pg_notify('durable_ends', '')

-- name: notify_published
-- Runs have published: a hint to those who read.
select pg_notify('durable_published', '')
